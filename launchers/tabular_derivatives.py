r"""Regenerates Figure 1(a)-(c) of Tang et al. (2021) on random MDPs.

How well gradients and Hessians of different evaluators correlate with the
exact ones, against the distance of target and behaviour policy (a, b) and the
number of trajectories (c). See
`acme_metarl.studies.derivative_accuracy`.

    python -m acme_metarl.launchers.tabular_derivatives --logdir=results/figure1

writes into the output directory
* `results.json`: a list of rows, one per estimator and point, each with the
  mean and standard error over trials (`null` where there is one trial only);
* `results.csv`: the same as a table;
* `figure1.png`.
While it runs, the rows so far are in `results.partial.json`.
"""

from collections.abc import Sequence

from acme_metarl.launchers.studies import study, tabular_derivatives


def main(argv: Sequence[str] | None = None) -> None:
  """Makes the study that flags ask for, this process's by default."""
  study.main(
    'tabular_derivatives',
    __doc__,
    tabular_derivatives.Config(),
    tabular_derivatives.run,
    argv,
    logdir='results/figure1',
  )


if __name__ == '__main__':
  main()
