r"""Measures how many environment steps per second all rollouts take together.

    python -m acme_metarl.launchers.benchmark_environments \
        --logdir=results/environments

MuJoCo: one call of `step` for all G × B rollouts against MuJoCo's own batch
call on the same models, states and controls, with everything prepared
beforehand. 2-D navigation: a compiled loop of steps under random actions
against drawing those random numbers only. Both sides take turns in one run and
are compared turn by turn, by the median, so that a busy machine slows both.

Prints a table, a row per environment: steps per second, those of the bare
computation, their ratio, and the ratio that we want where we want one. With
`--logdir` it also goes to `results.json` and `results.csv` in that directory.
"""

from collections.abc import Sequence

from acme_metarl.launchers.benchmarks import benchmark, environment_throughput


def main(argv: Sequence[str] | None = None) -> None:
  """Measures what flags ask for, this process's by default."""
  benchmark.main(
    'benchmark_environments',
    __doc__,
    environment_throughput.Config(),
    environment_throughput.measure,
    argv,
  )


if __name__ == '__main__':
  main()
