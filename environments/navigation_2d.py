"""A point in the plane that must find out which corner pays."""

import dataclasses
from typing import NamedTuple

import chex
from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import types as environment
from acme_metarl.environments import action_scaling

# Half the width of the square that goals lie in; corners are at (±2, ±2).
GOAL_RANGE = 2.0
# Start positions are uniform in a square of this half-width.
START_RANGE = 0.2
# Largest displacement per step, in each direction.
MAX_STEP = 0.2
# Largest change of velocity per step with momentum, and half-width of the
# start velocities.
MAX_ACCELERATION = 0.1
# Without momentum, the sparse reward is zero within this 1-norm of the origin.
DEAD_ZONE = 0.5
# With momentum, the sparse reward is positive within this 2-norm of the goal.
SPARSE_RADIUS = 2.0

_REWARDS = ('sparse', 'dense', 'dense_squared')
_GOALS = ('corners', 'uniform')


class State(NamedTuple):
  """Where the point is, and which task it is in.

  Attributes:
    position: `[2]`.
    velocity: `[2]` with momentum, otherwise `()`.
    goal: `[2]`, the task.
  """

  position: chex.Array
  velocity: chex.ArrayTree
  goal: chex.Array


@dataclasses.dataclass(frozen=True)
class Navigation2D:
  """2-D navigation: the task is a goal, seen only through the reward.

  s₀ ~ U(-.2, .2)², s' = s + clip(u, ±.2); it never terminates. With the goal g
  at a corner (±2, ±2) and the sparse reward, this is the task of ProMP's
  Figure "2-D" (Rothfuss et al. 2019, https://arxiv.org/abs/1810.06784) and of
  Figure 1(d) of Tang et al. 2021 (https://arxiv.org/abs/2106.13125).

  Attributes:
    reward: `'sparse'`: 0 while ‖s'‖₁ < .5, else the progress ‖s-g‖ - ‖s'-g‖ if
      no corner is nearer to s' than g, else 0 (with momentum: max(2 - ‖s'-g‖,
      0)); `'dense'`: -‖s'-g‖; `'dense_squared'`: -‖s'-g‖².
    goals: `'corners'`, or `'uniform'` in the square between them; the latter
      with a reward that does not speak of corners. (ProMP's cousin with uniform
      goals starts at the origin and moves by ±.1 at most; here all variants
      move alike.)
    momentum: the action accelerates: v' = v + clip(u, ±.1), s' = s + v', with
      v₀ ~ U(-.1, .1)², and the observation is (s, v).

  Raises:
    ValueError: on other values, or a sparse reward for uniform goals without
      momentum.
  """

  reward: str = 'sparse'
  goals: str = 'corners'
  momentum: bool = False

  def __post_init__(self):
    if self.reward not in _REWARDS:
      raise ValueError(
        f'reward: got {self.reward!r}, need one of {", ".join(_REWARDS)}.'
      )
    if self.goals not in _GOALS:
      raise ValueError(
        f'goals: got {self.goals!r}, need one of {", ".join(_GOALS)}.'
      )
    if self.goals == 'uniform' and self._is_corner_reward:
      raise ValueError(
        "reward: 'sparse' without momentum asks which corner is nearest, so "
        "goals='uniform' needs reward='dense' or 'dense_squared', or momentum."
      )

  @property
  def has_finite_tasks(self) -> bool:
    """Corners are four."""
    return self.goals == 'corners'

  @property
  def _is_corner_reward(self) -> bool:
    return self.reward == 'sparse' and not self.momentum

  def sample_task(self, key: chex.PRNGKey) -> chex.Array:
    """Draws a goal, `[2]`."""
    if self.goals == 'uniform':
      return _uniform(key, GOAL_RANGE)
    signs = jax.random.bernoulli(key, shape=(2,))
    return jnp.where(signs, GOAL_RANGE, -GOAL_RANGE).astype(jnp.float32)

  def reset(
    self, key: chex.PRNGKey, task: chex.Array
  ) -> tuple[State, environment.TimeStep]:
    """Starts near the origin; `task` is the goal, `[2]`."""
    velocity = ()
    if self.momentum:
      key, velocity_key = jax.random.split(key)
      velocity = _uniform(velocity_key, MAX_ACCELERATION)
    state = State(_uniform(key, START_RANGE), velocity, task)
    return state, self._time_step(state, jnp.float32(0))

  def step(
    self, state: State, action: chex.Array
  ) -> tuple[State, environment.TimeStep]:
    """Moves by the raw action `[2]`, scaled as `action_scaling` says."""
    limit = MAX_ACCELERATION if self.momentum else MAX_STEP
    move = action_scaling.scale_action(action, -limit, limit)
    velocity = ()
    if self.momentum:
      move = velocity = state.velocity + move
    new_state = State(state.position + move, velocity, state.goal)
    return new_state, self._time_step(new_state, self._reward(state, new_state))

  def _reward(self, state: State, new_state: State) -> chex.Array:
    goal, position = state.goal, new_state.position
    distance = _norm(position - goal)
    if self.reward == 'dense':
      return -distance
    if self.reward == 'dense_squared':
      return -jnp.square(distance)
    if self.momentum:
      return jnp.maximum(SPARSE_RADIUS - distance, 0.0)
    # The nearest corner is that of the position's own quadrant.
    is_nearest = jnp.all(position * goal >= 0)
    is_outside = jnp.sum(jnp.abs(position)) >= DEAD_ZONE
    progress = _norm(state.position - goal) - distance
    return jnp.where(is_nearest & is_outside, progress, 0.0)

  def _time_step(
    self, state: State, reward: chex.Array
  ) -> environment.TimeStep:
    observation = state.position
    if self.momentum:
      observation = jnp.concatenate([state.position, state.velocity])
    return environment.TimeStep(observation, reward, jnp.float32(1))

  def observation_spec(self) -> specs.Array:
    """Position, and velocity with momentum."""
    return specs.Array((4 if self.momentum else 2,), np.float32, 'observation')

  def action_spec(self) -> specs.Array:
    """Raw actions: unbounded, see `action_scaling`."""
    return action_scaling.raw_action_spec(2)


def _uniform(key: chex.PRNGKey, half_width: float) -> chex.Array:
  return jax.random.uniform(key, (2,), jnp.float32, -half_width, half_width)


def _norm(vector: chex.Array) -> chex.Array:
  return jnp.sqrt(jnp.sum(jnp.square(vector)))
