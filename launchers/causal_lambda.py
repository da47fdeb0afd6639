r"""Measures which causal λ gives the best derivatives, and why.

Causal λ, κ, weighs what a Hessian pairs by κ^lag, the distance of the two
steps: 0 is first order, 1 the whole. Three measurements:

    python -m acme_metarl.launchers.causal_lambda --horizons=10,40
    python -m acme_metarl.launchers.causal_lambda --measure=lags \
      --logdir=results/causal_lambda/lags
    python -m acme_metarl.launchers.causal_lambda --measure=agent \
      --checkpoint=results/train/RUN --logdir=results/causal_lambda/agent

* derivatives: on random MDPs, how well Hessian and meta-gradient correlate with
  the exact ones, against κ, the number of trajectories and the distance of
  target and behaviour policy; the best κ of each point; and its law,
  1 - best = coefficient * N^exponent * T^exponent, with 95 % intervals over
  MDPs. Tables `results.md`, `meta_gradient.md`, `laws.md`.
* lags: on the same MDPs, signal and noise of the Hessian's terms lag by lag,
  what weight of each makes the error least, and what κ^lag is worth beside it.
  Tables `lags.md`, `weights.md`.
* agent: plays a checkpoint of any run on the same tasks again and again, and
  says for each κ how much its meta-gradient varies over tasks, how well two
  halves of the tasks agree, and how well a batch agrees with the mean of all
  others at κ = 1. Table `agent.md`.

Each writes `results.json`, `results.csv` and a picture besides. See
`docs/reproduction.md` and `docs/which_estimator.md`.
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
