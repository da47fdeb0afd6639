import re

from acme import specs
import numpy as np

from acme_metarl.launchers.examples import taylor_actor_critic


def test_chooses_one_of_two_actions():
  spec = specs.Array((4,), np.float32)
  actor = taylor_actor_critic.TaylorActorCritic(spec, seed=0)
  assert actor.select_action(spec.generate_value()) in (0, 1)


def test_learns_to_balance():
  config = taylor_actor_critic.Config(num_episodes=150)
  returns = np.reshape(taylor_actor_critic.run(config), (6, 25)).mean(axis=1)
  # A policy that chooses at random gets 22.
  assert returns[0] < 60
  assert max(returns[-2:]) > 100


def test_as_a_command(call_main):
  out, _ = call_main('taylor_actor_critic', '--num_episodes=25', '--seed=1')
  assert re.fullmatch(r'Episodes up to 25: return [\d.]+\n', out)
