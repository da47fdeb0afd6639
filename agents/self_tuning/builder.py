"""The builder: makes the parts of the agent, in Acme's current contract."""

from collections.abc import Callable, Iterator
from typing import Any

from acme import core, specs
from acme.utils import counting, loggers
import chex
import jax
import jax.numpy as jnp

from acme_metarl import self_tuning
from acme_metarl.agents.maml import items, replay
from acme_metarl.agents.self_tuning import acting, adding, learning
from acme_metarl.agents.self_tuning import config as config_lib


class SelfTuningBuilder:
  """Builds the agent from its configuration.

  The methods, their arguments and the order of those are the ones of
  `ActorLearnerBuilder` on Acme's main branch. The environment is an ordinary
  one, of one episode at a time.
  """

  def __init__(
    self,
    config: config_lib.SelfTuningAgentConfig,
    should_stop: Callable[[], bool] = replay.never,
    replay_kind: str | None = None,
  ):
    """Makes a builder.

    Args:
      config: the agent.
      should_stop: asked by adders and by the dataset while they wait for the
        replay server.
      replay_kind: 'reverb' or 'local'; what is installed if not given, see
        `agents.maml.replay`.
    """
    self._config = config
    self._should_stop = should_stop
    self._replay_kind = replay_kind
    self._handover = replay.Handover()

  @property
  def config(self) -> config_lib.SelfTuningAgentConfig:
    """The configuration."""
    return self._config

  def make_networks(
    self, environment_spec: specs.EnvironmentSpec
  ) -> self_tuning.ActorCritic:
    """Makes the networks that the environment asks for."""
    return self._config.algorithm.make_networks(
      environment_spec.actions, environment_spec.observations
    )

  def make_replay_tables(
    self, environment_spec: specs.EnvironmentSpec, policy: acting.SelectAction
  ) -> list[Any]:
    """Makes the one table, of rollouts."""
    del policy
    return [
      replay.make_table(
        self._config.replay_table_name,
        self._item_spec(environment_spec),
        max_size=self._config.queue_size,
        reuse=1,
        batch_size=self._config.algorithm.num_rollouts,
        handover=self._handover,
        kind=self._replay_kind,
      )
    ]

  def make_dataset_iterator(self, replay_client: Any) -> Iterator[replay.Batch]:
    """Makes an iterator of batches, of a Reverb client or a local one."""
    return replay.batches(
      replay_client,
      self._config.replay_table_name,
      batch_size=self._config.algorithm.num_rollouts,
      reuse=1,
      should_stop=self._should_stop,
      handover=self._handover,
    )

  def make_adder(
    self,
    replay_client: Any,
    environment_spec: specs.EnvironmentSpec | None,
    policy: acting.SelectAction | None = None,
  ) -> adding.RolloutAdder:
    """Makes an adder."""
    del policy
    if environment_spec is None:
      raise ValueError(
        'environment_spec: got None; an adder needs the shapes of what it adds.'
      )
    return adding.RolloutAdder(
      self._item_spec(environment_spec),
      client=replay_client,
      table=self._config.replay_table_name,
      should_stop=self._should_stop,
    )

  def make_actor(
    self,
    random_key: chex.PRNGKey,
    policy: acting.SelectAction,
    environment_spec: specs.EnvironmentSpec,
    variable_source: core.VariableSource | None = None,
    adder: adding.RolloutAdder | None = None,
  ) -> acting.SelfTuningActor:
    """Makes an actor; without an adder it stores nothing."""
    del environment_spec
    if variable_source is None:
      raise ValueError(
        'variable_source: got None; an actor needs a learner to fetch its'
        ' parameters from.'
      )
    device = jax.local_devices(backend=self._config.actor_backend)[0]
    return acting.SelfTuningActor(
      policy, random_key, variable_source, adder, device
    )

  def make_learner(
    self,
    random_key: chex.PRNGKey,
    networks: self_tuning.ActorCritic,
    dataset: Iterator[replay.Batch],
    logger_fn: Callable[..., loggers.Logger],
    environment_spec: specs.EnvironmentSpec,
    replay_client: Any | None = None,
    counter: counting.Counter | None = None,
  ) -> learning.SelfTuningLearner:
    """Makes a learner."""
    del replay_client
    observation = jax.tree_util.tree_map(
      lambda x: jnp.zeros(x.shape, x.dtype), environment_spec.observations
    )
    return learning.SelfTuningLearner(
      self_tuning.Tuner(self._config.algorithm, networks),
      key=random_key,
      observation=observation,
      iterator=dataset,
      counter=counter,
      logger=logger_fn('learner'),
    )

  def make_policy(
    self,
    networks: self_tuning.ActorCritic,
    environment_spec: specs.EnvironmentSpec,
    evaluation: bool = False,
  ) -> acting.SelectAction:
    """Makes what actors run."""
    del environment_spec
    return acting.make_policy(
      networks, evaluation and self._config.evaluates_by_mode
    )

  def _item_spec(self, environment_spec: specs.EnvironmentSpec) -> items.Item:
    return adding.item_spec(environment_spec, self._config.algorithm.horizon)
