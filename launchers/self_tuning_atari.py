r"""A self-tuning agent on real Atari games, through Acme's loop.

The Nature network, DeepMind's preprocessing (frame skip 4, 84 by 84, stack 4),
sticky actions; the agent of `acme_metarl.agents.self_tuning` in one process.

    pip install "acme-metarl[atari]"
    python -m acme_metarl.launchers.self_tuning_atari --game=breakout

Writes a row per episode to `GAME_SEED.csv`, and `GAME_SEED.png`. A run that was
ended goes on where it was saved last, every two minutes. `ale-py` is
GPL-2.0-only; nothing else of this package imports it.
"""

from collections.abc import Sequence

from acme_metarl.launchers.studies import self_tuning_atari, study


def main(argv: Sequence[str] | None = None) -> None:
  """Makes the run that flags ask for, this process's by default."""
  study.main(
    'self_tuning_atari',
    __doc__,
    self_tuning_atari.Config(),
    self_tuning_atari.run,
    argv,
  )


if __name__ == '__main__':
  main()
