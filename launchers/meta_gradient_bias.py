r"""Bias and variance of MAML's meta-gradient on random MDPs, part by part.

Five studies, after Liu et al. (2022), https://arxiv.org/abs/2112.15400:

* `decomposition`: inner gradient, Hessian and outer gradient estimated one at a
  time or all together, correlation with the exact meta-gradient against the
  number of trajectories;
* `reference`: the points of it that the authors' code was run at, on more MDPs,
  always at their setting;
* `compositional`: the bias of an estimated inner gradient alone, against the
  number of trajectories, the step size and the number of inner steps;
* `hessian`: the bias of estimated Hessians alone against the number of inner
  steps, and of an injected Hessian error against its size;
* `off_policy`: data from another policy than the current one.

    python -m acme_metarl.launchers.meta_gradient_bias --logdir=results/bias

writes into the output directory
* `results.json`: rows, fitted exponents, the comparison with the authors'
  numbers, and timings;
* `results.csv`: the rows as a table, one per point;
* `decomposition.png`, `compositional.png`, `hessian.png`, `off_policy.png`.
While it runs, the rows so far are in `results.partial.json`.

Squared biases are unbiased estimates: a point can be negative, and
`squared_bias_noise` is its standard error from the trials alone.
"""

from collections.abc import Sequence

from acme_metarl.launchers.studies import meta_gradient_bias, study


def main(argv: Sequence[str] | None = None) -> None:
  """Makes the study that flags ask for, this process's by default."""
  study.main(
    'meta_gradient_bias',
    __doc__,
    meta_gradient_bias.Config(),
    meta_gradient_bias.run,
    argv,
  )


if __name__ == '__main__':
  main()
