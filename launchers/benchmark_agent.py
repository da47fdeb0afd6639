r"""Measures what an iteration costs through Acme and Reverb.

    python -m acme_metarl.launchers.benchmark_agent --logdir=results/agent
    python -m acme_metarl.launchers.benchmark_agent \
        --environment=half_cheetah_direction --algorithm=promp

An iteration of training (play a trial, insert, sample, learn) and the same work
by direct calls of the same compiled functions take turns in one run, and are
compared turn by turn. Prints where the time of an iteration goes; with
`--logdir` that also goes to `results.json` in the directory.
"""

from collections.abc import Sequence

from acme_metarl.launchers.benchmarks import agent_overhead, benchmark


def main(argv: Sequence[str] | None = None) -> None:
  """Measures what flags ask for, this process's by default."""
  benchmark.main(
    'benchmark_agent',
    __doc__,
    agent_overhead.Config(),
    agent_overhead.measure,
    argv,
  )


if __name__ == '__main__':
  main()
