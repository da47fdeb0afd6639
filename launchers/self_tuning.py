r"""Agents that tune themselves: discount, λ and loss coefficients.

A2C beside meta-gradients through K of its own updates, with the evaluators of
this library for the policy loss, with and without an outer critic. See
`acme_metarl.self_tuning` and docs/self_tuning.md.

    python -m acme_metarl.launchers.self_tuning --game=discounting_chain \
        --num_seeds=10 --seeds_at_once=10

Games, each with its published settings: `discounting_chain`, `snake` (needs
jumanji), and MinAtar's `asterix`, `breakout`, `freeway`, `seaquest` and
`space_invaders` (all but Snake need gymnax). In `snake_shared_torso` policy and
critics share a torso.

Arms of the chain and of Snake: `a2c`, `mg` and `bmg` (meta-gradient, and a
bootstrapped one), `mg_outer` and `bmg_outer` with an outer critic. Arms of
MinAtar: `a2c`, `mgrl_k1`, and `mgrl_k3`, `lvc_k3`, `order_2_k3` and `causal_k3`
through three updates, which differ in the evaluator; each of the four with
`_outer` too.

Writes into the output directory
* `GAME/ARM/seed_N.json`: a run, with its curve. What is there is not made
  again, and what was ended goes on;
* `GAME.csv`: a row per arm; scores are mean returns of the last tenth of
  training, of Snake of whole episodes by the policy's mode; `training_mean` is
  that of all training, `training_end` that of a curve's last point;
* `GAME.png`;
* `GAME_meta_gradients.csv` and `GAME_speed.csv` with those `--measure`s.
"""

from collections.abc import Sequence

from acme_metarl.launchers.studies import self_tuning, study


def main(argv: Sequence[str] | None = None) -> None:
  """Makes the study that flags ask for, this process's by default."""
  study.main(
    'self_tuning', __doc__, self_tuning.Config(), self_tuning.run, argv
  )


if __name__ == '__main__':
  main()
