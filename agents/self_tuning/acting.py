"""The actor: one environment, one step at a time."""

from collections.abc import Callable
from typing import Any

from acme import core
import chex
import dm_env
import jax
import numpy as np

from acme_metarl import self_tuning, types
from acme_metarl.agents.self_tuning import adding

# (parameters, observation, key, step) -> (action, its log-probability).
SelectAction = Callable[..., tuple[Any, Any]]


def make_policy(
  networks: self_tuning.ActorCritic, takes_mode: bool = False
) -> SelectAction:
  """What actors run, for one unbatched observation.

  Args:
    networks: the actor-critic.
    takes_mode: whether to act by the mode of the distribution.
  """
  numbers = self_tuning.Hyperparameters()

  def select_action(params, observation, key, step):
    # A batch of one: torsos and heads see a batch axis.
    observation = jax.tree_util.tree_map(lambda x: x[None], observation)
    distribution = networks.apply(params, observation, numbers).distribution
    if takes_mode:
      action = distribution.mode()
    else:
      action = distribution.sample(seed=jax.random.fold_in(key, step))
    return action[0], distribution.log_prob(action)[0]

  return select_action


class SelfTuningActor(core.Actor):
  """Acts, and fetches parameters where a new item of replay begins.

  So all actions of an item are of one policy. Without an adder parameters are
  fetched at the start of an episode.
  """

  def __init__(
    self,
    policy: SelectAction,
    key: chex.PRNGKey,
    variable_source: core.VariableSource,
    adder: adding.RolloutAdder | None = None,
    device: jax.Device | None = None,
  ):
    """Makes an actor.

    Args:
      policy: what `make_policy` makes.
      key: of all randomness, with the number of actions taken.
      variable_source: a learner, or what gives access to one.
      adder: where steps go; None for an actor that only acts.
      device: to act on.
    """
    self._select_action = jax.jit(policy)
    self._key = jax.device_put(key, device)
    self._variable_source = variable_source
    self._adder = adder
    self._device = device
    self._num_actions = 0
    self._params: types.PyTree = None
    self._learner_step = -1
    self._extras: Any = None

  def select_action(self, observation: Any) -> Any:
    if self._adder is not None and self._adder.is_empty:
      self._fetch()
    action, log_prob = self._select_action(
      self._params,
      observation,
      self._key,
      np.uint32(self._num_actions % 2**32),
    )
    self._num_actions += 1
    self._extras = adding.Extras(np.asarray(log_prob), self._learner_step)
    return np.asarray(action)

  def observe_first(self, timestep: dm_env.TimeStep) -> None:
    if self._params is None or self._adder is None:
      self._fetch()
    if self._adder is not None:
      self._adder.add_first(timestep)

  def observe(self, action: Any, next_timestep: dm_env.TimeStep) -> None:
    if self._adder is not None:
      self._adder.add(action, next_timestep, self._extras)

  def update(self, wait: bool = False) -> None:
    """Does nothing: parameters are fetched where an item begins."""

  def save(self) -> dict[str, int]:
    """What a checkpoint must hold; JSON can."""
    return {'num_actions': self._num_actions}

  def restore(self, state: dict[str, int]) -> None:
    """Goes on from `save`."""
    self._num_actions = int(state['num_actions'])

  def _fetch(self) -> None:
    (step,) = self._variable_source.get_variables(['learner_step'])
    if int(step) == self._learner_step:
      return
    params, step = self._variable_source.get_variables(
      ['policy', 'learner_step']
    )
    self._params = jax.device_put(params, self._device)
    self._learner_step = int(step)


class LearningActor(core.Actor):
  """An actor that lets a learner step whenever its batch is there.

  For one process: every batch is then of the parameters that it updates.
  """

  def __init__(
    self,
    actor: core.Actor,
    learner: core.Learner,
    can_learn: Callable[[], bool],
  ):
    """Makes an actor.

    Args:
      actor: acts.
      learner: learns.
      can_learn: whether replay has a batch.
    """
    self._actor = actor
    self._learner = learner
    self._can_learn = can_learn

  def select_action(self, observation: Any) -> Any:
    return self._actor.select_action(observation)

  def observe_first(self, timestep: dm_env.TimeStep) -> None:
    self._actor.observe_first(timestep)

  def observe(self, action: Any, next_timestep: dm_env.TimeStep) -> None:
    self._actor.observe(action, next_timestep)

  def update(self, wait: bool = False) -> None:
    while self._can_learn():
      self._learner.step()
    self._actor.update(wait)
