r"""Measures meta-training on a device: speed, and what bounds it.

    python -m acme_metarl.launchers.benchmark_on_device --logdir=results/speed

Parts, chosen with `--parts`:

* `navigation`: 2-D navigation; seconds of sampling, learning and a whole
  iteration, and how much longer that takes than its floating-point operations
  would at the rate of a plain product of matrices, measured in the same run.
* `seeds`: several seeds by `jax.vmap` against as many single runs.
* `tabular`: meta-training on tabular MDPs, beside its bare random numbers.
* `environments`: environment steps per second end to end, and compilation, of
  2-D navigation and of half-cheetah and ant on MJX, against the target.

On two Zen 5 cores an iteration of 2-D navigation, 160 000 steps and five
epochs, takes 0.27 s, of which 0.03 s sampling: 2.0 to 2.1 times what its
operations would in the product. `benchmark_meta_update` says where the rest
goes. An iteration of `--algorithm=trpo_maml` takes 0.9 s, most of it ten
products with the curvature, of 1.6 gradients each. To keep what they have in
common, 10 MB a task, was slower than to compute it again.

Without an accelerator `environments` is left out unless it is asked for. All of
them on an accelerator are meant to end within `--time_limit`: what would
probably be late is left out, and the table says so.
"""

from collections.abc import Sequence

from acme_metarl.launchers.benchmarks import benchmark, on_device


def main(argv: Sequence[str] | None = None) -> None:
  """Measures what flags ask for, this process's by default."""
  benchmark.main(
    'benchmark_on_device',
    __doc__,
    on_device.Config(),
    on_device.measure,
    argv,
  )


if __name__ == '__main__':
  main()
