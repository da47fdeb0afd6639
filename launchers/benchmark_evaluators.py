r"""Times derivatives of evaluators against length, order and batch.

    python -m acme_metarl.launchers.benchmark_evaluators \
        --logdir=results/evaluators

Prints a table: the time of gradient, Hessian-vector product and dense Hessian
for every evaluator, trajectory length T and number of trajectories N, with its
ratio to the Taylor expansion of order 1 (LVC); and of the ways to expand, the
ratio to the recurrence as the library solves it here: by either of its methods,
step by step and associative (see `acme_metarl.evaluators.recurrences`), and by
triangular matrix products, which says up to which length these would pay.

Everything compared is timed in turns and the median taken, so that ratios
mean something on a busy machine too. With `--logdir` the rows also go to
`results.json` and `results.csv` in that directory.
"""

from collections.abc import Sequence

from acme_metarl.launchers.benchmarks import benchmark, evaluator_timing


def main(argv: Sequence[str] | None = None) -> None:
  """Measures what flags ask for, this process's by default."""
  benchmark.main(
    'benchmark_evaluators',
    __doc__,
    evaluator_timing.Config(),
    evaluator_timing.measure,
    argv,
  )


if __name__ == '__main__':
  main()
