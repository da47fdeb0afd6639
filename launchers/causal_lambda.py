r"""Measures which causal λ gives the best Hessian, on random MDPs.

How well the second-order Hessian correlates with the exact one, against causal
λ, the number of trajectories and the distance of target and behaviour policy:
0 is first order, 1 the whole Hessian. See `docs/which_estimator.md`.

    python -m acme_metarl.launchers.causal_lambda --logdir=results/causal_lambda

writes into the output directory
* `results.json`: a row for each point and causal λ, with means and standard
  errors over MDPs; the best causal λ of each point; and for each distance the
  law 1 - best = coefficient * N^exponent, with a 95 % interval of the exponent
  over MDPs;
* `results.csv` and `results.md`: the rows as tables;
* `causal_lambda.png`.
"""

from collections.abc import Sequence

from acme_metarl.launchers.studies import causal_lambda, study


def main(argv: Sequence[str] | None = None) -> None:
  """Makes the study that flags ask for, this process's by default."""
  study.main(
    'causal_lambda',
    __doc__,
    causal_lambda.Config(),
    causal_lambda.run,
    argv,
  )


if __name__ == '__main__':
  main()
