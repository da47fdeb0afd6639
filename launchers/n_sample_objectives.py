r"""Bias and variance of gradients of an N-sample objective, on a 1-D toy.

Score function, linearised score function and path-wise estimates of the
gradient of E[-(mean of N samples - 1)²], Gaussian samples, against N; and
gradient ascent with them. Everything is known in closed form as well, so the
fitted slopes are compared with it. See `acme_metarl.studies.n_sample_toy`.

    python -m acme_metarl.launchers.n_sample_objectives \
        --logdir=results/n_sample_objectives

writes into the output directory
* `results.json`: settings, `moments` (a row per estimator and N), `slopes` (a
  row per power law) and `optimisation` (a row per estimator, with its curve);
* `results.csv`: the moments as a table;
* `n_sample_objectives.png`.
"""

from collections.abc import Sequence

from acme_metarl.launchers.studies import n_sample_objectives, study


def main(argv: Sequence[str] | None = None) -> None:
  """Makes the study that flags ask for, this process's by default."""
  study.main(
    'n_sample_objectives',
    __doc__,
    n_sample_objectives.Config(),
    n_sample_objectives.run,
    argv,
  )


if __name__ == '__main__':
  main()
