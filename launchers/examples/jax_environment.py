r"""Your environment in pure JAX: a point on a line that must find its goal.

    python -m acme_metarl.launchers.train_on_device --inner_learning_rate=0.5 \
      --environment=acme_metarl.launchers.examples.jax_environment:Line

`docs/your_environment.md` goes through it.
"""

from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import types


class Line:
  """Rewards nearness to a goal that no observation shows."""

  has_finite_tasks = False  # Every draw is a new task.

  def sample_task(self, key):
    return jax.random.uniform(key, minval=-1.0, maxval=1.0)

  def reset(self, key, task):
    place = 0.1 * jax.random.normal(key, (1,))
    return (place, task), types.TimeStep(place, 0.0, 1.0)

  def step(self, state, action):
    place, goal = state
    place += 0.1 * jnp.clip(action, -1, 1)
    reward = -jnp.abs(place[0] - goal)
    # A discount of 0 would end the episode.
    return (place, goal), types.TimeStep(place, reward, jnp.ones(()))

  def observation_spec(self):
    return specs.Array((1,), np.float32, 'place')

  def action_spec(self):
    return specs.Array((1,), np.float32, 'push')

  # The rest may be left out: what else to report, and a picture.

  def info(self, state):
    (place,), goal = state
    return {'success': jnp.abs(place - goal) < 0.1}

  def render(self, state):
    (place,), goal = state
    frame = np.full((32, 128, 3), 255, np.uint8)
    for x, color in ((goal, (213, 94, 0)), (place, (0, 114, 178))):
      column = int(np.clip(64 + 40 * x, 0, 123))
      frame[4:28, column : column + 4] = color
    return frame
