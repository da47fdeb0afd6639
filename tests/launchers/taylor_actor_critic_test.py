import re


def test_learns_to_balance(run_launcher):
  out, _ = run_launcher('taylor_actor_critic', '--num_episodes=150')
  returns = [float(x) for x in re.findall(r'return ([\d.]+)', out)]
  assert len(returns) == 6
  # A policy that chooses at random gets 22.
  assert returns[0] < 60
  assert max(returns[-2:]) > 100
