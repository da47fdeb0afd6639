"""Environments drawn at random, and what trials of them must be.

A `Script` is data: what an environment shows, pays, and does wrong, as a pure
function of its task, its seed, the time and the action. `make_batch` makes an
environment of it that behaves as badly as a user's may (it writes into one
buffer, and into the tasks and actions that it gets), in the adapter of its
kind. `reference` plays one rollout, slowly and alone. The strategies are
hypothesis's.
"""

import copy
import dataclasses
from typing import Any
import zlib

import dm_env
from dm_env import specs
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import environments, types

NUM_STEPS = 4
_LARGEST = float(np.finfo(np.float32).max)


class LieError(Exception):
  """Raised by the reference where the environment does what is refused."""


@dataclasses.dataclass(frozen=True)
class Leaf:
  """One array of an observation.

  Attributes:
    shape: of it.
    dtype: its name.
    high: for integers, the largest one; None without bounds.
  """

  shape: tuple[int, ...]
  dtype: str
  high: int | None = None

  def spec(self) -> specs.Array:
    if self.high is None:
      return specs.Array(self.shape, self.dtype)
    return specs.BoundedArray(self.shape, self.dtype, 0, self.high)

  def value(self, number: int) -> np.ndarray:
    """Some member of the spec."""
    rng = np.random.default_rng(number)
    if np.dtype(self.dtype).kind == 'f':
      return rng.normal(size=self.shape).astype(self.dtype)
    high = 1 if self.dtype == 'bool' else self.high or 100
    return rng.integers(high + 1, size=self.shape).astype(self.dtype)


@dataclasses.dataclass(frozen=True)
class Action:
  """What an environment takes.

  Attributes:
    kind: 'discrete', 'integers', or 'box'.
    low: lower bounds, one a dimension.
    high: upper bounds.
    dtype: of a box.
    scale: whether it is to be scaled.
  """

  kind: str
  low: tuple[float, ...]
  high: tuple[float, ...]
  dtype: str = 'float32'
  scale: bool = True

  def spec(self) -> specs.Array:
    if self.kind == 'discrete':
      return specs.DiscreteArray(int(self.high[0]) + 1)
    return specs.BoundedArray(
      (len(self.low),),
      'int32' if self.kind == 'integers' else self.dtype,
      self.low,
      self.high,
    )

  def seen(self, action: np.ndarray) -> np.ndarray:
    """The action as the environment must see it."""
    if self.kind != 'box':
      return np.asarray(action, float)
    low, high = np.array(self.low), np.array(self.high)
    low, high = (
      np.where(np.abs(x) >= _LARGEST, np.copysign(np.inf, x), x)
      for x in (low, high)
    )
    action = np.asarray(action, float)
    if self.scale and np.isfinite([low, high]).all():
      action = low + (action + 10) * (high - low) / 20
    return np.clip(action, low, high)


@dataclasses.dataclass(frozen=True)
class Script:
  """All that an environment does.

  Attributes:
    kind: 'dm_env' or 'gymnasium'.
    leaves: of the observation; one alone is no tree.
    container: of several leaves, 'dict' or 'tuple'.
    action: what it takes.
    tasks: are drawn in turn.
    reward: 'number', 'constant', 'bool', 'half', 'scalar array'.
    end_every: rollouts whose seed this divides end at `end_at`.
    end_at: when.
    is_cut: whether they end by a time limit rather than a termination.
    diverge_at: when rollouts of even seeds show something that is not finite.
    diverges_in: 'reward' or 'observation'.
    lie: what it does wrong at `lie_at`, one of `LIES`, or ''.
    lie_at: when; 0 is the reset.
    reuses_buffer: whether it shows one buffer again and again.
    writes: whether it writes to tasks and actions.
  """

  kind: str
  leaves: tuple[Leaf, ...]
  container: str
  action: Action
  tasks: tuple[Any, ...]
  reward: str
  end_every: int
  end_at: int
  is_cut: bool
  diverge_at: int
  diverges_in: str
  lie: str
  lie_at: int
  reuses_buffer: bool
  writes: bool

  def assemble(self, leaves: list[Any]) -> Any:
    """A tree of the leaves."""
    if len(self.leaves) == 1:
      return leaves[0]
    if self.container == 'tuple':
      return tuple(leaves)
    return {f'part{i}': leaf for i, leaf in enumerate(leaves)}

  def observation(self, seed: int, time: int) -> list[np.ndarray]:
    return [
      leaf.value(1000 * time + 10 * (seed % 97) + i)
      for i, leaf in enumerate(self.leaves)
    ]

  def pay(self, task: Any, time: int, action: np.ndarray) -> Any:
    """The reward, of the type that the environment gives."""
    if self.reward == 'constant':
      return -1.0
    if self.reward == 'bool':
      return bool(time % 2)
    if self.reward == 'half':
      return np.float16(time / 2)
    number = task_number(task) + time + float(np.sum(action))
    return np.array(number) if self.reward == 'scalar array' else number

  def ends(self, seed: int, time: int) -> bool:
    return time >= self.end_at and seed % self.end_every == 0

  def diverges(self, seed: int, time: int) -> bool:
    return time == self.diverge_at and seed % 2 == 0

  def lies(self, time: int) -> bool:
    return bool(self.lie) and time == self.lie_at


def task_number(task: Any) -> int:
  """A number that is the same for equal tasks, whatever NumPy prints."""
  plain = jax.tree_util.tree_map(
    lambda x: x.tolist() if isinstance(x, np.generic | np.ndarray) else x, task
  )
  return zlib.crc32(repr(plain).encode()) % 11


def reference(script: Script, task: Any, seed: int, actions: Any) -> Any:
  """One rollout: observations `[T + 1]`, rewards, discounts, masks `[T]`.

  Raises:
    LieError: where the environment does what must be refused.
  """
  shown = script.observation(seed, 0)
  if script.lies(0) or script.diverges(seed, 0):
    raise LieError
  observations, rows, is_alive = [shown], [], True
  for time, action in enumerate(actions, 1):
    is_alive = is_alive and bool(np.isfinite(action).all())
    if is_alive and script.lies(time):
      raise LieError
    is_alive = is_alive and not script.diverges(seed, time)
    reward = discount = 0.0
    mask = float(is_alive)
    if is_alive:
      shown = script.observation(seed, time)
      reward = float(script.pay(task, time, script.action.seen(action)))
      is_alive = not script.ends(seed, time)
      discount = float(is_alive and time < len(actions))
    observations.append(shown)
    rows.append((reward, discount, mask))
  return observations, *map(np.array, zip(*rows, strict=True))


class _Scripted:
  """What both kinds of environment share.

  Attributes:
    log: (task, seed) of each reset, of all environments of one batch.
  """

  def __init__(self, script: Script, log: list[Any]):
    self._script, self._log = script, log
    self._task = self._seed = self._buffers = None
    self._time = 0

  def __repr__(self) -> str:
    return 'Scripted()'

  def set_task(self, task: Any) -> None:
    self._task = copy.deepcopy(task)
    if self._script.writes:
      for leaf in task.values() if isinstance(task, dict) else [task]:
        if isinstance(leaf, np.ndarray):
          leaf += 1

  def set_seed(self, seed: int) -> None:
    self._seed = seed

  def start(self) -> Any:
    self._time = 0
    self._log.append((self._task, self._seed))
    return self._show()

  def advance(self, action: np.ndarray) -> tuple[Any, Any, bool]:
    """Observation, reward, and whether the rollout ends."""
    script = self._script
    self._time += 1
    reward = script.pay(self._task, self._time, action)
    if script.writes and isinstance(action, np.ndarray) and action.ndim:
      action += 1
    observation = self._show()
    diverges = script.diverges(self._seed, self._time)
    if diverges and (
      script.diverges_in == 'reward' or not _has_float(script.leaves)
    ):
      reward = np.nan
    if script.lies(self._time) and script.lie in _REWARD_LIES:
      reward = _REWARD_LIES[script.lie]
    return observation, reward, script.ends(self._seed, self._time)

  def _show(self) -> Any:
    script = self._script
    leaves = script.observation(self._seed, self._time)
    if script.diverges(self._seed, self._time) and (
      script.diverges_in == 'observation' or self._time == 0
    ):
      for leaf in leaves:
        if leaf.dtype.kind == 'f' and leaf.size:
          leaf[...] = np.inf
          break
    if script.reuses_buffer:
      if self._buffers is None:
        self._buffers = [leaf.copy() for leaf in leaves]
      for buffer, leaf in zip(self._buffers, leaves, strict=True):
        buffer[...] = leaf
      leaves = list(self._buffers)
    if script.lies(self._time) and script.lie in _OBSERVATION_LIES:
      leaves[0] = _OBSERVATION_LIES[script.lie](leaves[0])
    if script.lies(self._time) and script.lie == 'no tree':
      return object()
    return script.assemble(leaves)


def _has_float(leaves: tuple[Leaf, ...]) -> bool:
  return any(
    np.dtype(leaf.dtype).kind == 'f' and 0 not in leaf.shape for leaf in leaves
  )


class ScriptedDmEnv(_Scripted, dm_env.Environment):
  """A script as a dm_env environment."""

  def reset(self):
    return dm_env.restart(self.start())

  def step(self, action):
    observation, reward, ends = self.advance(action)
    if self._script.lies(self._time):
      if self._script.lie == 'four values':
        return observation, reward, ends, {}
      if self._script.lie == 'discount':
        return dm_env.transition(reward, observation, discount=1.5)
    if not ends:
      return dm_env.transition(reward, observation)
    if self._script.is_cut:
      return dm_env.truncation(reward, observation)
    return dm_env.termination(reward, observation)

  def observation_spec(self):
    return self._script.assemble([leaf.spec() for leaf in self._script.leaves])

  def action_spec(self):
    return self._script.action.spec()


class ScriptedGymnasium(_Scripted):
  """A script as a gymnasium environment."""

  def __init__(self, script: Script, log: list[Any]):
    super().__init__(script, log)
    from gymnasium import spaces

    parts = []
    for leaf in script.leaves:
      is_float = np.dtype(leaf.dtype).kind == 'f'
      if leaf.dtype == 'bool':
        # Gymnasium has no other binary space of these shapes.
        is_box = leaf.shape in [(), (0,)]
        parts.append(
          spaces.Box(0, 1, leaf.shape, np.uint8)
          if is_box
          else spaces.MultiBinary(leaf.shape)
        )
      elif is_float:
        parts.append(spaces.Box(-1.0, 1.0, leaf.shape, leaf.dtype))
      else:
        parts.append(spaces.Box(0, leaf.high or 100, leaf.shape, leaf.dtype))
    self.observation_space = parts[0]
    if len(parts) > 1:
      tree = script.assemble(parts)
      kind = spaces.Dict if isinstance(tree, dict) else spaces.Tuple
      self.observation_space = kind(tree)
    action = script.action
    if action.kind == 'discrete':
      self.action_space = spaces.Discrete(int(action.high[0]) + 1)
    elif action.kind == 'integers':
      self.action_space = spaces.MultiDiscrete(np.array(action.high, int) + 1)
    else:
      self.action_space = spaces.Box(
        np.array(action.low, action.dtype),
        np.array(action.high, action.dtype),
        dtype=action.dtype,
      )

  def reset(self, *, seed=None, options=None):
    self.set_seed(seed)
    return self.start(), {}

  def step(self, action):
    assert self.action_space.contains(action), action
    observation, reward, ends = self.advance(action)
    if self._script.lies(self._time):
      if self._script.lie == 'four values':
        return observation, reward, ends, {}
      if self._script.lie == 'discount':
        return observation, reward, None, False, {}
    is_cut = self._script.is_cut
    return observation, reward, ends and not is_cut, ends and is_cut, {}


_OBSERVATION_LIES = {
  'shape': lambda x: x[None],
  'type': lambda x: np.full(x.shape, 'a'),
  'complex': lambda x: x + 1j,
  'none': lambda x: None,
  'large': lambda x: np.full(x.shape, 10**6),
  'fraction': lambda x: x + 0.5,
}
_REWARD_LIES = {
  'reward of shape (1,)': np.zeros(1),
  'no reward': None,
  'reward of text': 'a',
  'complex reward': 1j,
}
LIES = ('', *_OBSERVATION_LIES, *_REWARD_LIES, 'no tree', 'four values')
LIES = (*LIES, 'discount')
# These are none of an array of floats.
_INTEGER_LIES = ('large', 'fraction')


def make_batch(script: Script) -> tuple[Any, list[Any], list[Any]]:
  """The script in its adapter.

  Returns:
    The batch; (task, seed) of every reset so far; the tasks drawn so far. The
    lists grow.
  """
  log, drawn = [], []

  def sample_task(rng):
    del rng
    task = script.tasks[len(drawn) % len(script.tasks)]
    drawn.append(copy.deepcopy(task))
    return task

  def set_task(environment, task):
    environment.set_task(task)

  options = dict(scale_actions=script.action.scale)
  if script.kind == 'gymnasium':
    batch = environments.GymnasiumBatch(
      lambda: ScriptedGymnasium(script, log), sample_task, set_task, **options
    )
  else:
    batch = environments.DmEnvBatch(
      lambda: ScriptedDmEnv(script, log),
      sample_task,
      set_task,
      set_seed=lambda environment, seed: environment.set_seed(seed),
      **options,
    )
  return batch, log, drawn


@dataclasses.dataclass(frozen=True)
class DrawnJax:
  """A pure-JAX environment; its first leaf says how the rollout started.

  Attributes:
    leaves: further ones.
    task: is drawn around; any pytree of numbers.
    reward: 'number', 'bool', 'integer'.
    end_at: rollouts that started above 0.5 end at this step.
    diverge_at: rollouts that started below 0.25 diverge at this step.
    lie: '', 'reward of shape (1,)', 'shape', 'fraction'.
  """

  leaves: tuple[Leaf, ...]
  task: Any
  reward: str
  end_at: int
  diverge_at: int
  lie: str

  def sample_task(self, key):
    return jax.tree_util.tree_map(
      lambda x: x + jax.random.uniform(key), self.task
    )

  def reset(self, key, task):
    state = (jax.random.uniform(key), jnp.int32(0), task)
    return state, self._time_step(state, 0.0)

  def step(self, state, action):
    start, time, task = state
    state = (start, time + 1, task)
    return state, self._time_step(state, action)

  def _time_step(self, state, action):
    start, time, task = state
    reward = self.pay(task, time, action, jnp)
    reward = jnp.where(self.diverges(start, time, jnp), jnp.nan, reward)
    if self.reward != 'number':
      reward = self.pay(task, time, action, jnp)
    if self.lie == 'reward of shape (1,)':
      reward = jnp.reshape(reward, (1,))
    return types.TimeStep(
      self.show(start, time, jnp),
      reward,
      jnp.float32(~self.ends(start, time, jnp)),
    )

  def show(self, start, time, numpy):
    first = numpy.reshape(start + time, (1,))
    rest = [
      numpy.full(leaf.shape, time % 2).astype(leaf.dtype)
      for leaf in self.leaves
    ]
    if self.lie == 'shape':
      first = numpy.reshape(first, (1, 1))
    if self.lie == 'fraction':
      rest = [x + 0.5 for x in rest]
    return {'start': first, 'rest': rest}

  def pay(self, task, time, action, numpy):
    if self.reward == 'bool':
      return time % 2 == 1
    if self.reward == 'integer':
      return time
    total = sum(numpy.sum(x) for x in jax.tree_util.tree_leaves(task))
    return total + time + action

  def ends(self, start, time, numpy):
    return numpy.logical_and(start > 0.5, time >= self.end_at)

  def diverges(self, start, time, numpy):
    return numpy.logical_and(start < 0.25, time == self.diverge_at)

  def observation_spec(self):
    return {
      'start': specs.Array((1,), np.float32),
      'rest': [leaf.spec() for leaf in self.leaves],
    }

  def action_spec(self):
    return specs.DiscreteArray(3)

  def reference(self, start, task, actions):
    """Observations, rewards, discounts and masks of one rollout."""
    shown, rows, is_alive = self.show(start, 0, np), [], True
    observations = [shown]
    for time, action in enumerate(actions, 1):
      if self.reward == 'number' and self.diverges(start, time, np):
        is_alive = False
      reward = discount = 0.0
      mask = float(is_alive)
      if is_alive:
        shown = self.show(start, time, np)
        reward = float(self.pay(task, time, action, np))
        is_alive = not self.ends(start, time, np)
        discount = float(is_alive and time < len(actions))
      observations.append(shown)
      rows.append((reward, discount, mask))
    return observations, *map(np.array, zip(*rows, strict=True))


# Strategies.


def jax_environments() -> st.SearchStrategy[DrawnJax]:
  """Pure-JAX environments."""
  task = st.sampled_from(
    [None, (), {}, 1.0, {'a': np.ones(2), 'b': (None, 2.0)}, np.ones((1, 2))]
  )
  leaf = st.builds(
    Leaf,
    _SHAPES,
    st.sampled_from(['float32', 'float16', 'int32', 'uint8', 'bool']),
  )
  return st.builds(
    DrawnJax,
    st.lists(leaf, max_size=2).map(tuple),
    task,
    st.sampled_from(['number', 'bool', 'integer']),
    st.integers(1, NUM_STEPS + 1),
    st.integers(1, NUM_STEPS + 1),
    st.sampled_from(['', '', '', 'reward of shape (1,)', 'shape', 'fraction']),
  )


_SHAPES = st.sampled_from([(), (1,), (2,), (2, 3), (0,)])


def leaves(has_scalars: bool = True) -> st.SearchStrategy[Leaf]:
  """Arrays of an observation."""
  shapes = _SHAPES if has_scalars else st.sampled_from([(1,), (3,)])
  return st.one_of(
    st.builds(Leaf, shapes, st.sampled_from(['float32', 'float64', 'float16'])),
    st.builds(
      Leaf,
      shapes,
      st.sampled_from(['int32', 'uint8', 'int64']),
      st.integers(1, 200),
    ),
    st.builds(Leaf, shapes, st.just('bool')),
  )


def actions() -> st.SearchStrategy[Action]:
  """What environments take."""

  def box(bounds, dtype, scale):
    low, high = zip(*bounds, strict=True)
    return Action('box', low, high, dtype, scale)

  bounds = st.sampled_from(
    [
      (-1.0, 1.0),
      (-0.25, 3.0),
      (-np.inf, np.inf),
      (0.0, np.inf),
      (-_LARGEST, _LARGEST),
      (2.0, 4.0),
    ]
  )
  high = st.lists(st.integers(0, 4), min_size=1, max_size=2).map(tuple)
  return st.one_of(
    st.integers(0, 4).map(lambda n: Action('discrete', (0,), (n,))),
    high.map(lambda n: Action('integers', (0,) * len(n), n)),
    st.builds(
      box,
      st.lists(bounds, min_size=1, max_size=3),
      st.sampled_from(['float32', 'float64']),
      st.booleans(),
    ),
  )


def tasks() -> st.SearchStrategy[tuple[Any, ...]]:
  """Some tasks of one structure."""
  leaf = st.sampled_from(
    [
      lambda n: n,
      lambda n: n / 2,
      lambda n: bool(n % 2),
      lambda n: np.arange(2.0) + n,
      lambda n: np.full((1, 2), n),
      lambda n: b'a\0' * n,
      lambda n: 'b\0' * n,
      lambda n: None,
      lambda n: (),
      lambda n: 2**70 + n,
    ]
  )
  trees = st.one_of(
    leaf,
    st.lists(leaf, min_size=1, max_size=3).map(
      lambda parts: lambda n: {f'k{i}': part(n) for i, part in enumerate(parts)}
    ),
  )
  return trees.map(lambda make: tuple(make(n) for n in range(1, 4)))


@st.composite
def scripts(draw, may_lie: bool = True, has_scalars: bool = True) -> Script:
  """Environments.

  Args:
    draw: hypothesis's.
    may_lie: whether some do what must be refused.
    has_scalars: whether observations may hold arrays of other shapes than [n].

  Returns:
    A strategy of scripts.
  """
  observed = tuple(draw(st.lists(leaves(has_scalars), min_size=1, max_size=3)))
  lie = draw(st.sampled_from(LIES)) if may_lie else ''
  if lie in _INTEGER_LIES and (
    np.dtype(observed[0].dtype).kind == 'f' or 0 in observed[0].shape
  ):
    lie = 'shape'
  at_reset = lie in _OBSERVATION_LIES or lie == 'no tree'
  diverge_at = draw(st.integers(1, 2 * NUM_STEPS))
  return Script(
    kind=draw(st.sampled_from(['dm_env', 'gymnasium'])),
    leaves=observed,
    container=draw(st.sampled_from(['dict', 'tuple'])),
    action=draw(actions()),
    tasks=draw(tasks()),
    reward=draw(
      st.sampled_from(['number', 'constant', 'bool', 'half', 'scalar array'])
    ),
    end_every=draw(st.integers(1, 4)),
    end_at=draw(st.integers(1, 2 * NUM_STEPS)),
    is_cut=draw(st.booleans()),
    diverge_at=diverge_at,
    diverges_in=draw(st.sampled_from(['reward', 'observation'])),
    lie=lie,
    lie_at=draw(st.integers(0 if at_reset else 1, NUM_STEPS)),
    reuses_buffer=draw(st.booleans()),
    writes=draw(st.booleans()),
  )


def draw_actions(spec: specs.Array, shape: Any, seed: int, nan: bool) -> Any:
  """Random actions `[*shape, ...]` of a spec, some perhaps not finite."""
  rng = np.random.default_rng(seed)
  size = (*shape, *spec.shape)
  if np.dtype(spec.dtype).kind in 'iu':
    return rng.integers(spec.minimum, spec.maximum + 1, size, spec.dtype)
  action = rng.normal(scale=5, size=size)
  if nan and action.size:
    action[rng.random(size) < 0.05] = np.nan
  return action.astype(spec.dtype)
