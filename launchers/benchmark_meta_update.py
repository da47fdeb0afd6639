r"""Times the meta-update of a meta-batch, and says where the time goes.

    python -m acme_metarl.launchers.benchmark_meta_update \
        --logdir=results/meta_update

Random trials, so no environment. Prints the seconds of a whole update and of
programs that do less and less of it, compilation apart; the split that follows;
and which share of the rate of a plain product of matrices, (80000 x 64) by (64
x 64) in float32, the update reaches. The operations are those of one epoch
without a scan, as the compiler counts them. Everything is timed in turns and
every ratio taken within a turn, so that they mean something on a busy machine.

On two Zen 5 cores: 0.22 to 0.24 s, 52 % to 57 % of the product's 350 Gflop/s
where 80 % were hoped for. One device with a core to itself reaches 62 %. There
the network takes

* 59 % of its time for the twelve products of a hidden layer, of which the four
  that sum over the steps run at 0.7 of the yardstick's rate;
* 20 % for products with its two inputs and outputs, at 15 Gflop/s: as much
  memory is read for two columns as for 64;
* 8 % for tanh and 13 % for the other functions of single numbers, which are not
  counted as operations.

The rest is lost because all devices of a process share one pool of threads, to
which XLA hands parts of every product: 120 instead of 75 microseconds for one
of 2000 steps. No flag prevents that. A process that may use one core only has
no such pool, so several runs are best given a process and a core each, as
`compare --num_parallel` does.
"""

from collections.abc import Sequence

from acme_metarl.launchers.benchmarks import benchmark, meta_update_timing


def main(argv: Sequence[str] | None = None) -> None:
  """Measures what flags ask for, this process's by default."""
  benchmark.main(
    'benchmark_meta_update',
    __doc__,
    meta_update_timing.Config(),
    meta_update_timing.measure,
    argv,
  )


if __name__ == '__main__':
  main()
