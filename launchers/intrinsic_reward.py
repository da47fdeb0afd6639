r"""Meta-gradients of a learned intrinsic reward on random MDPs (LIRPG).

How well estimates of the meta-gradient by an intrinsic-reward table correlate
with the exact one, against the number of trajectories and of inner steps, with
each estimator on the path that is differentiated through the inner steps. See
`acme_metarl.studies.intrinsic_reward`.

    python -m acme_metarl.launchers.intrinsic_reward --logdir=results/lirpg

writes into the output directory
* `results.json`: rows, one a point and estimator;
* `results.csv`: the same as a table;
* `intrinsic_reward.png`.
While it runs, the rows so far are in `results.partial.json`.
"""

from collections.abc import Sequence

from acme_metarl.launchers.studies import intrinsic_reward, study


def main(argv: Sequence[str] | None = None) -> None:
  """Makes the study that flags ask for, this process's by default."""
  study.main(
    'intrinsic_reward',
    __doc__,
    intrinsic_reward.Config(),
    intrinsic_reward.run,
    argv,
  )


if __name__ == '__main__':
  main()
