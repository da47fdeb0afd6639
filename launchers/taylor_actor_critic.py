r"""An evaluator as the loss of an ordinary Acme agent: no meta-learning here.

    python -m acme_metarl.launchers.taylor_actor_critic --num_episodes=400

See `launchers/examples/taylor_actor_critic.py`.
"""

from collections.abc import Sequence
import functools

from acme_metarl.launchers.examples import taylor_actor_critic as example
from acme_metarl.launchers.runs import dataclass_flags, entry


def main(argv: Sequence[str] | None = None) -> None:
  """Trains as flags say, this process's by default."""
  entry.main(
    'taylor_actor_critic',
    __doc__,
    functools.partial(dataclass_flags.define, example.Config()),
    lambda values, _: example.run(
      dataclass_flags.read(example.Config(), values)
    ),
    argv,
  )


if __name__ == '__main__':
  main()
