"""The actor: plays whole trials, adapting to each task on the way."""

from typing import Any

from acme import core
import chex
import dm_env
import jax
import numpy as np

from acme_metarl.agents.maml import adding, items
from acme_metarl.agents.maml import networks as networks_lib


class MAMLActor(core.Actor):
  """Acts in a `TrialEnvironment`, all tasks and rollouts in one call.

  Parameters are fetched when a trial starts and never inside one; `update` has
  nothing to do. At the end of each stage every task's parameters take an inner
  step on the stage's data, by the functions that the learner differentiates;
  what a recurrent policy remembers is forgotten there.

  All randomness derives from (key, trial, step), so a checkpoint needs only the
  number of trials.
  """

  def __init__(
    self,
    policy: networks_lib.MAMLPolicy,
    key: chex.PRNGKey,
    variable_source: core.VariableSource,
    recorder: adding.TrialRecorder,
    device: jax.Device | None = None,
  ):
    """Makes an actor.

    Args:
      policy: how to act and adapt.
      key: of all randomness.
      variable_source: a learner, or what gives access to one.
      recorder: a `TrialAdder`, or a plain recorder for evaluation.
      device: to act on.
    """
    self._policy = policy
    self._device = device
    self._key = jax.device_put(key, device)
    self._variable_source = variable_source
    self._recorder = recorder
    self._start = jax.jit(policy.start, static_argnums=1)
    self._initial_state = jax.jit(policy.initial_state, static_argnums=(0, 1))
    self._select_action = jax.jit(policy.select_action)
    self._select_last = self._select_action
    if policy.select_last is not None:
      self._select_last = jax.jit(policy.select_last)
    self._adapt = jax.jit(policy.adapt)

    self._num_trials = 0
    self._step = 0
    self._stage = 0
    self._meta_params = None
    self._params: Any = None
    self._state = ()
    self._extras: Any = None
    self._idle_action = None

  @property
  def num_trials(self) -> int:
    """Trials begun."""
    return self._num_trials

  @property
  def params(self) -> networks_lib.TaskParams:
    """What is adapted to each task, as it is now, `[G, ...]`."""
    return self._params

  def save(self) -> dict[str, int]:
    """What a checkpoint must hold between trials; JSON can."""
    return {'num_trials': self._num_trials}

  def restore(self, state: dict[str, int]) -> None:
    """Goes on from `save`."""
    self._num_trials = int(state['num_trials'])

  def observe_first(self, timestep: dm_env.TimeStep) -> None:
    meta_params, learner_step = self._variable_source.get_variables(
      ['params', 'learner_step']
    )
    self._meta_params = jax.device_put(meta_params, self._device)
    self._params = self._start(self._meta_params, self._recorder.num_tasks)
    self._learner_step = np.int32(learner_step)
    self._num_trials += 1
    self._step = 0
    self._start_stage(0)
    self._recorder.add_first(timestep)

  def select_action(self, observation: Any) -> Any:
    if self._recorder.is_stage_over:
      return self._idle_action  # The environment ignores it.
    is_last = self._stage + 1 == self._recorder.num_stages
    select = self._select_last if is_last else self._select_action
    sampled = select(
      self._params,
      observation.observation,
      self._key,
      np.uint32(self._num_trials - 1),
      np.uint32(self._step),
      self._state,
    )
    self._step += 1
    self._state = sampled.state
    action, log_prob, params = jax.tree_util.tree_map(
      np.asarray, (sampled.action, sampled.log_prob, sampled.params)
    )
    self._extras = items.Extras(log_prob, params, self._learner_step)
    self._idle_action = action
    return action

  def observe(self, action: Any, next_timestep: dm_env.TimeStep) -> None:
    observation = next_timestep.observation
    if observation.is_first:
      self._params = self._adapt(
        self._meta_params, self._params, self._recorder.stage(self._stage)
      )
      self._start_stage(int(observation.stage))
    self._recorder.add(action, next_timestep, self._extras)

  def _start_stage(self, stage: int) -> None:
    self._stage = stage
    self._state = self._initial_state(
      self._recorder.num_tasks, self._recorder.num_rollouts
    )

  def update(self, wait: bool = False) -> None:
    """Does nothing: a trial is played with the parameters it began with."""
