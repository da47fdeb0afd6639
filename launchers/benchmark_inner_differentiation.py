r"""Measures memory and time of differentiating inner updates in mixed mode.

    python -m acme_metarl.launchers.benchmark_inner_differentiation \
        --num_inner_steps=1,5,20 --hidden_sizes=64,512

The meta-gradient of one task, through K inner updates, in plain reverse mode
and with `inner_differentiation='mixed'` (MixFlow-MG), in turns. Memory is what
the compiler reserves for intermediate results.
"""

from collections.abc import Sequence

from acme_metarl.launchers.benchmarks import benchmark, inner_differentiation


def main(argv: Sequence[str] | None = None) -> None:
  """Measures what flags ask for, this process's by default."""
  benchmark.main(
    'benchmark_inner_differentiation',
    __doc__,
    inner_differentiation.Config(),
    inner_differentiation.measure,
    argv,
  )


if __name__ == '__main__':
  main()
