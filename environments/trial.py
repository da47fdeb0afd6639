"""A whole trial of meta-reinforcement learning as one dm_env episode."""

from collections.abc import Mapping, Sequence
import operator
from typing import Any, NamedTuple
import weakref

from absl import logging
import dm_env
from dm_env import specs
import jax
import numpy as np

from acme_metarl import types
from acme_metarl.environments import batched, checked, checking, task_classes

# Spawn keys of the random streams, never equal.
STREAMS = {'train': 0, 'evaluation': 1}
# Which trial has started the rollouts of an environment, by the latter's id.
# (While the trial lives, so does its environment.)
_PLAYING = weakref.WeakValueDictionary()


class TrialObservation(NamedTuple):
  """What all rollouts of a trial show after one loop step.

  Attributes:
    observation: `[G, B, ...]`, or a pytree of such.
    stage: int32 scalar, 0 … `num_inner_steps`: under how many times adapted a
      policy the rollouts are.
    is_first: bool scalar, whether `observation` starts a stage (x_0); nothing
      led there, so reward, discount and mask of this time step mean nothing.
    mask: `[G, B]` float32, whether the step that led *here* was real: 1 up to
      and including the step that terminated a rollout, 0 for those after it.
      It belongs to the reward and the discount of the same time step, so that
      row t of `[B, T]` blocks of reward, discount and mask all come from the
      time step that action t led to.
  """

  observation: Any
  stage: Any
  is_first: Any
  mask: Any


class TrialEnvironment(dm_env.Environment):
  """G tasks × B rollouts × (K+1) stages of T steps, as one episode.

  An ordinary `dm_env.Environment` whose observations, rewards and discounts
  are batched `[G, B]` and whose step type is a scalar, so that Acme's
  `EnvironmentLoop` drives it. An episode has (K+1)(T+1) - 1 loop steps:

  * `reset()` draws G tasks: FIRST with x_0 of stage 0;
  * T steps of stage 0, of which the last carries x_T;
  * one further step, whose action is ignored: MID with reward 0, discount 1
    and x_0 of stage 1 (`is_first` is True), of the same tasks;
  * and so on; the T-th step of stage K is LAST.

  A rollout that terminates early is frozen: its terminal step is real (mask 1,
  discount 0); after it come the same observation, reward 0, discount 0 and mask
  0, until the stage ends. (The code that made the published curves collected
  further, short rollouts instead.) When the last rollout of a stage has ended
  the environment is not stepped any more.

  A rollout that diverges (its observation, reward or discount is not finite, or
  the environment says so) is ended *before* that step: frozen at its last
  finite observation with reward 0, discount 0, mask 0. A rollout that *acts*
  non-finitely is ended in the same way: the action never reaches the
  environment, which gets 0 in its place for the rollout that has just ended.
  `num_diverged` counts both, each rollout once; an action after a rollout's end
  counts for nothing. What is recorded of a step with mask 0 may hold the
  non-finite action, and must not enter any mean. Trials on the device follow
  the same rules.

  Whatever the environment shows is held to its specs, at every step, and
  copied; floating-point observations are float32 without bounds. Tasks and
  actions that it gets are copies.

  The time limit T gives discount 0, as in the published results, so that
  nothing is bootstrapped from x_T; `bootstrap_on_timeout` keeps the
  environment's own discount there.

  All randomness derives from (seed, stream, trial index), so a checkpoint needs
  only `trial_index`: `save` and `restore`, or set it.
  """

  def __init__(
    self,
    environment: Any,
    num_tasks: int = 40,
    num_rollouts: int = 20,
    horizon: int = 100,
    num_inner_steps: int = 1,
    seed: int | Sequence[int] = 0,
    stream: str = 'train',
    bootstrap_on_timeout: bool = False,
  ):
    """Makes a trial of a task distribution.

    Args:
      environment: a `BatchedEnvironment` or a pure-JAX `Environment`.
      num_tasks: G.
      num_rollouts: B, rollouts of each task.
      horizon: T, steps of each rollout.
      num_inner_steps: K, adaptation steps; a trial has one stage more.
      seed: non-negative; several actors need different ones, for example
        `(seed, actor)`.
      stream: `'train'` or `'evaluation'`; the two never use the same random
        numbers. Where there are few tasks (`batched.has_finite_tasks`) they
        meet the same ones all the same.
      bootstrap_on_timeout: whether a rollout that reaches the horizon alive
        keeps its discount.

    Raises:
      ValueError: if a size is too small or no integer, the seed negative, the
        stream unknown, or a spec no spec of numbers.
    """
    for name, value, minimum in (
      ('num_tasks', num_tasks, 1),
      ('num_rollouts', num_rollouts, 1),
      ('horizon', horizon, 1),
      ('num_inner_steps', num_inner_steps, 0),
    ):
      if not _is_integer(value) or value < minimum:
        raise ValueError(
          f'{name}: got {value}, need an integer from {minimum} on.'
        )
    seeds = [seed] if np.ndim(seed) == 0 else list(seed)
    if not seeds or not all(_is_integer(x) and x >= 0 for x in seeds):
      raise ValueError(f'seed: got {seed}, need non-negative integers.')
    if stream not in STREAMS:
      raise ValueError(
        f'stream: got {stream!r}, need one of {", ".join(STREAMS)}.'
      )
    self._environment = batched.batch(environment)
    self._batch_shape = (int(num_tasks), int(num_rollouts))
    self._checked = checked.CheckedBatch(self._environment, self._batch_shape)
    self._horizon = int(horizon)
    self._num_inner_steps = int(num_inner_steps)
    self._seed = tuple(map(int, seeds))
    self._stream = stream
    self._bootstrap_on_timeout = bootstrap_on_timeout

    self._trial_index = 0
    self._num_diverged = 0
    self._is_running = False
    self._tasks = None
    self._stage = 0
    self._step_in_stage = 0
    self._observation = None
    self._is_alive = None
    self._info = {}
    self._has_warned_of_truncation = False

  # What a user of the trial asks about it.

  @property
  def environment(self) -> batched.BatchedEnvironment:
    """The batched environment inside; its specs are those of one rollout."""
    return self._environment

  @property
  def tasks(self) -> types.PyTree:
    """Tasks of the current trial, leading axis `[G]`; None before the first.

    Read-only. A task without arrays, such as (), is shown as the environment's
    `sample_tasks` does.
    """
    return self._tasks

  @property
  def task_classes(self) -> tuple[str, ...]:
    """Names of the classes of the current trial's tasks, G or none."""
    if self._tasks is None:
      return ()
    return task_classes.names_of(
      self._environment, self._tasks, self._batch_shape[0]
    )

  @property
  def has_finite_tasks(self) -> bool:
    """Whether the stream 'evaluation' may meet tasks of the stream 'train'."""
    return batched.has_finite_tasks(self._environment)

  @property
  def info(self) -> Mapping[str, np.ndarray]:
    """Further numbers about the last step, by name: `[G, B]` float32.

    Whatever scalars the environment reports beside the reward, for instance
    `success`. NaN where the mask is 0, or where a rollout does not report the
    number. Empty when a stage has just begun. `trial_info.InfoRecorder` makes
    tables of it.
    """
    return self._info

  @property
  def num_loop_steps(self) -> int:
    """Loop steps in a trial, (K+1)(T+1) - 1."""
    return (self._num_inner_steps + 1) * (self._horizon + 1) - 1

  @property
  def num_diverged(self) -> int:
    """How many rollouts have diverged so far."""
    return self._num_diverged

  @property
  def trial_index(self) -> int:
    """Index of the trial that the next `reset` starts."""
    return self._trial_index

  @trial_index.setter
  def trial_index(self, value: int) -> None:
    if value < 0:
      raise ValueError(f'trial_index: got {value}, need at least 0.')
    self._trial_index = int(value)
    self._is_running = False

  def save(self) -> dict[str, int]:
    """What a checkpoint must hold (Acme's `Saveable`); JSON can."""
    return {
      'trial_index': self._trial_index,
      'num_diverged': self._num_diverged,
    }

  def restore(self, state: dict[str, int]) -> None:
    """Goes on from `save`: an unfinished trial is abandoned."""
    self.trial_index = state['trial_index']
    self._num_diverged = int(state['num_diverged'])

  # dm_env's interface.

  def observation_spec(self) -> TrialObservation:
    return TrialObservation(
      observation=batched.batch_specs(
        self._checked.observation_spec, self._batch_shape
      ),
      stage=specs.BoundedArray(
        (), np.int32, 0, self._num_inner_steps, name='stage'
      ),
      is_first=specs.Array((), np.bool_, name='is_first'),
      mask=specs.BoundedArray(self._batch_shape, np.float32, 0, 1, name='mask'),
    )

  def action_spec(self) -> Any:
    return batched.batch_specs(self._checked.action_spec, self._batch_shape)

  def reward_spec(self) -> specs.Array:
    return specs.Array(self._batch_shape, np.float32, name='reward')

  def discount_spec(self) -> specs.BoundedArray:
    return specs.BoundedArray(
      self._batch_shape, np.float32, 0, 1, name='discount'
    )

  def reset(self) -> dm_env.TimeStep:
    self._trial_index += 1
    self._tasks = self._checked.sample_tasks(self._rng(0))
    self._start_stage(0)
    self._is_running = True
    return dm_env.restart(self._trial_observation(is_first=True))

  def step(self, action: Any) -> dm_env.TimeStep:
    """Steps all rollouts.

    Args:
      action: `[G, B, ...]` raw actions; anything at the end of a stage.

    Returns:
      A time step with reward and discount `[G, B]`.

    Raises:
      ValueError: if the action has a wrong shape or type, if the environment
        does not keep to its specs, or if another trial has reset it.
    """
    if not self._is_running:
      return self.reset()
    if _PLAYING.get(id(self._environment)) is not self:
      raise ValueError(
        'environment: another TrialEnvironment has reset '
        f'{self._environment!r} in the middle of this trial; give each an '
        'environment of its own.'
      )
    if self._step_in_stage == self._horizon:
      self._start_stage(self._stage + 1)
      return dm_env.TimeStep(
        step_type=dm_env.StepType.MID,
        reward=np.zeros(self._batch_shape, np.float32),
        discount=np.ones(self._batch_shape, np.float32),
        observation=self._trial_observation(is_first=True),
      )
    action = batched.check_action(
      action, self._checked.action_spec, self._batch_shape, finite=False
    )
    reward, discount, mask = self._step_rollouts(action)
    is_last = self._step_in_stage == self._horizon and (
      self._stage == self._num_inner_steps
    )
    self._is_running = not is_last
    return dm_env.TimeStep(
      step_type=dm_env.StepType.LAST if is_last else dm_env.StepType.MID,
      reward=reward,
      discount=discount,
      observation=self._trial_observation(mask=mask),
    )

  def close(self) -> None:
    """Closes the environment inside, if it can be."""
    if hasattr(self._environment, 'close'):
      self._environment.close()

  # Inside.

  def _rng(self, purpose: int) -> np.random.Generator:
    """This trial's generator for tasks (0), or for stage `purpose - 1`."""
    # A sequence of seeds is not left to numpy, which takes (1, 0) for 1.
    seed, *others = self._seed
    trial = self._trial_index - 1
    spawn_key = (len(others), *others, STREAMS[self._stream], trial, purpose)
    return np.random.default_rng(
      np.random.SeedSequence(seed, spawn_key=spawn_key)
    )

  def _start_stage(self, stage: int) -> None:
    _PLAYING[id(self._environment)] = self
    observation = self._checked.reset(self._tasks, self._rng(1 + stage))
    if not _is_finite(observation, self._batch_shape).all():
      raise ValueError(
        f'{self._environment!r}: its observation is not finite right after its '
        'reset, need finite numbers there. (A step that diverges ends its '
        'rollout.)'
      )
    self._observation = checking.read_only(observation)
    self._is_alive = np.ones(self._batch_shape, bool)
    self._info = {}
    self._stage = stage
    self._step_in_stage = 0

  def _step_rollouts(
    self, action: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One real step: returns reward, discount and mask, `[G, B]` each."""
    self._step_in_stage += 1
    self._end_who_act_non_finitely(action)
    zeros = np.zeros(self._batch_shape, np.float32)
    if not self._is_alive.any():
      self._info = dict.fromkeys(self._info, np.full_like(zeros, np.nan))
      return zeros, zeros.copy(), zeros.copy()

    observation, reward, discount = self._checked.step(action, self._is_alive)
    is_real = self._drop_diverged(observation, reward, discount)
    self._info = self._checked.info(is_real)
    if not is_real.all():
      observation = jax.tree_util.tree_map(
        lambda new, old: np.where(_like(is_real, new), new, old),
        observation,
        self._observation,
      )
      reward[~is_real] = discount[~is_real] = 0
    self._observation = checking.read_only(observation)
    if self._step_in_stage == self._horizon:
      if not self._bootstrap_on_timeout:
        discount = zeros
    else:
      self._drop_truncated(is_real, discount)
      self._is_alive = is_real & (discount != 0)
    return reward, discount, is_real.astype(np.float32)

  def _end_who_act_non_finitely(self, action: np.ndarray) -> None:
    """Ends them, and writes 0 over what they did, in place."""
    acts = _is_finite(action, self._batch_shape)
    if not acts.all():
      self._count_diverged(~acts, 'the policy acted non-finitely')
      self._is_alive = self._is_alive & acts
      action[~np.isfinite(action)] = 0

  def _drop_diverged(self, observation, reward, discount) -> np.ndarray:
    """Which rollouts were alive and have not diverged, `[G, B]`."""
    is_sound = np.ones(self._batch_shape, bool)
    for what, shown in (
      ('an observation', observation),
      ('a reward', reward),
      ('a discount', discount),
    ):
      is_finite = _is_finite(shown, self._batch_shape)
      if not is_finite.all():
        self._count_diverged(
          is_sound & ~is_finite, f'its step gave {what} that is not finite'
        )
        is_sound &= is_finite
    diverged = self._checked.flags('diverged')
    if diverged is not None and diverged.any():
      self._count_diverged(is_sound & diverged, 'it says that it diverged')
      is_sound &= ~diverged
    return self._is_alive & is_sound

  def _count_diverged(self, diverged: np.ndarray, why: str) -> None:
    # What a rollout shows or does after its end does not matter.
    num_diverged = int(np.sum(self._is_alive & diverged))
    if num_diverged and not self._num_diverged:
      logging.warning(
        '%r: %d of %d rollouts were ended before step %d, because %s; make it '
        'end them itself (discount 0), or stay finite. num_diverged counts '
        'them, this is logged once.',
        self._environment,
        num_diverged,
        self._is_alive.size,
        self._step_in_stage,
        why,
      )
    self._num_diverged += num_diverged

  def _drop_truncated(self, is_real: np.ndarray, discount: np.ndarray) -> None:
    """Ends, in place, rollouts that the environment itself cut short."""
    truncated = self._checked.flags('truncated')
    if truncated is None:
      return
    truncated = is_real & truncated & (discount != 0)
    if not truncated.any():
      return
    message = (
      f'{self._environment!r} reached a limit of its own at step '
      f"{self._step_in_stage}, before the trial's horizon {self._horizon}"
    )
    if self._bootstrap_on_timeout:
      raise ValueError(
        f'horizon: {message}, where it cannot be bootstrapped; lower the '
        "horizon, or lift the environment's limit."
      )
    if not self._has_warned_of_truncation:
      logging.warning('%s, which counts as a termination.', message)
      self._has_warned_of_truncation = True
    discount[truncated] = 0

  def _trial_observation(
    self, is_first: bool = False, mask: np.ndarray | None = None
  ) -> TrialObservation:
    if mask is None:
      mask = np.ones(self._batch_shape, np.float32)
    return TrialObservation(
      observation=self._observation,
      stage=np.int32(self._stage),
      is_first=np.bool_(is_first),
      mask=mask,
    )


def _is_finite(tree: Any, batch_shape: tuple[int, int]) -> np.ndarray:
  """Which rollouts show finite numbers only, `[G, B]`."""
  finite = [np.isfinite(leaf) for leaf in jax.tree_util.tree_leaves(tree)]
  if all(leaf.all() for leaf in finite):
    return np.ones(batch_shape, bool)
  axes = [tuple(range(2, leaf.ndim)) for leaf in finite]
  return np.all(
    [leaf.all(axis) for leaf, axis in zip(finite, axes, strict=True)], axis=0
  )


def _like(mask: np.ndarray, array: np.ndarray) -> np.ndarray:
  """The mask `[G, B]` with as many trailing axes as the array has."""
  return mask.reshape(mask.shape + (1,) * (array.ndim - 2))


def _is_integer(value: Any) -> bool:
  try:
    operator.index(value)
  except TypeError:
    return False
  return not isinstance(value, bool | np.bool_)
