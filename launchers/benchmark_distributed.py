r"""Measures `train_distributed`: its load, and how it scales with actors.

    python -m acme_metarl.launchers.benchmark_distributed
    python -m acme_metarl.launchers.benchmark_distributed \
      --num_actors=8 --minutes=10 --logdir=results/distributed_load

Runs the program with each number of actors and prints what an iteration takes;
how much memory the processes have at a fifth of the time and at the end; and
whether every trial that was inserted was learned from once. With `--logdir`
that also goes to `results.json` and `results.csv`.
"""

from collections.abc import Sequence

from acme_metarl.launchers.benchmarks import benchmark, distributed_load


def main(argv: Sequence[str] | None = None) -> None:
  """Measures what flags ask for, this process's by default."""
  benchmark.main(
    'benchmark_distributed',
    __doc__,
    distributed_load.Config(),
    distributed_load.measure,
    argv,
  )


if __name__ == '__main__':
  main()
