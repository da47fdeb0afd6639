"""The agent in the layouts of Acme 0.4.0."""

from collections.abc import Callable, Iterator
import contextlib
from typing import Any

from acme import core, specs
from acme.utils import counting, loggers
import chex

from acme_metarl.agents.maml import acting, adding, learning, replay
from acme_metarl.agents.maml import builder as builder_lib
from acme_metarl.agents.maml import networks as networks_lib


class LayoutBuilder:
  """`MAMLBuilder` with the five methods that 0.4.0's layouts call.

  They pass less to the builder than Acme's main branch does, so the rest is
  given here. A `LocalLayout` needs `batch_size=num_tasks`; it recognises queues
  by `reuse=1`, and counts loop steps otherwise. The layouts need
  `agents.compatibility`.
  """

  def __init__(
    self,
    builder: builder_lib.MAMLBuilder,
    environment_spec: specs.EnvironmentSpec,
    networks: networks_lib.MAMLNetworks,
    logger_fn: Callable[..., loggers.Logger] = loggers.make_default_logger,
  ):
    """Wraps a builder.

    Args:
      builder: of the agent.
      environment_spec: of the actors' trial environments.
      networks: of the agent.
      logger_fn: makes the learner's logger from a label.
    """
    self._builder = builder
    self._environment_spec = environment_spec
    self._networks = networks
    self._logger_fn = logger_fn

  @property
  def policy(self) -> networks_lib.MAMLPolicy:
    """What layouts want as `policy_network`."""
    return self._builder.make_policy(self._networks, self._environment_spec)

  def make_replay_tables(
    self, environment_spec: specs.EnvironmentSpec
  ) -> list[Any]:
    """Makes the tables."""
    return self._builder.make_replay_tables(environment_spec, self.policy)

  def make_dataset_iterator(self, replay_client: Any) -> Iterator[replay.Batch]:
    """Makes an iterator of meta-batches.

    A learner that takes them itself, as in `LocalLayout`, must not be thought
    to wait for the batch that it has.
    """
    batches: Any = self._builder.make_dataset_iterator(replay_client)
    with contextlib.closing(batches):
      for batch in batches:
        batches.hand_over()
        yield batch

  def make_adder(self, replay_client: Any) -> adding.TrialAdder:
    """Makes an adder."""
    return self._builder.make_adder(
      replay_client, self._environment_spec, self.policy
    )

  def make_actor(
    self,
    random_key: chex.PRNGKey,
    policy_network: networks_lib.MAMLPolicy,
    adder: adding.TrialAdder | None = None,
    variable_source: core.VariableSource | None = None,
  ) -> acting.MAMLActor:
    """Makes an actor."""
    return self._builder.make_actor(
      random_key,
      policy_network,
      self._environment_spec,
      variable_source,
      adder,
    )

  def make_learner(
    self,
    random_key: chex.PRNGKey,
    networks: networks_lib.MAMLNetworks,
    dataset: Iterator[replay.Batch],
    replay_client: Any | None = None,
    counter: counting.Counter | None = None,
  ) -> learning.MAMLLearner:
    """Makes a learner."""
    return self._builder.make_learner(
      random_key,
      networks,
      dataset,
      self._logger_fn,
      self._environment_spec,
      replay_client,
      counter,
    )
