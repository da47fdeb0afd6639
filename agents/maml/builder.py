"""The builder: makes the parts of the agent, in Acme's current contract."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from acme import core, specs
from acme.utils import counting, loggers
import chex
import jax

from acme_metarl.agents.maml import (
  acting,
  adding,
  items,
  learning,
  replay,
  task_filter,
)
from acme_metarl.agents.maml import config as config_lib
from acme_metarl.agents.maml import networks as networks_lib
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import task_batching


class _DeviceName(NamedTuple):
  """Which device was asked for, in a process that may not have it."""

  platform: str
  id: int


class MAMLBuilder:
  """Builds MAML from its configuration.

  The methods, their arguments and the order of those are the ones of
  `ActorLearnerBuilder` on Acme's main branch, whose runners call some of them
  by position. (Acme 0.4.0's layouts are served by `layouts.LayoutBuilder`.)
  The environment is a `TrialEnvironment` with the horizon and the number of
  inner steps of the configuration; an actor may have any number of its tasks.

  A builder can be pickled, and making one starts nothing, JAX neither. Its
  tables and its dataset know of one another while they are in one process.
  """

  def __init__(
    self,
    config: config_lib.MAMLConfig,
    should_stop: Callable[[], bool] = replay.never,
    devices: Sequence[jax.Device] | None = None,
    replay_kind: str | None = None,
  ):
    """Makes a builder.

    Args:
      config: the agent.
      should_stop: asked by adders and by the dataset while they wait for the
        replay server; a distributed program's stop event.
      devices: that the learner runs on; all local ones if not given. With those
        of several hosts (`jax.devices()`) each of them has a learner that takes
        its share of a meta-batch.
      replay_kind: 'reverb' or 'local'; what is installed if not given, see
        `replay`.

    Raises:
      ValueError: if hosts cannot share meta-batches out.
    """
    self._config = config
    self._should_stop = should_stop
    self._asked_devices = None if devices is None else tuple(devices)
    self._replay_kind = replay_kind
    self._handover = replay.Handover()
    if devices:
      self._check_hosts()

  def __getstate__(self) -> dict[str, Any]:
    state = dict(self.__dict__)
    if self._asked_devices is not None:
      # Devices cannot be pickled; these are found again where they are used.
      state['_asked_devices'] = tuple(
        device
        if isinstance(device, _DeviceName)
        else _DeviceName(device.platform, device.id)
        for device in self._asked_devices
      )
    return state

  @property
  def config(self) -> config_lib.MAMLConfig:
    """The configuration."""
    return self._config

  def make_replay_tables(
    self,
    environment_spec: specs.EnvironmentSpec,
    policy: networks_lib.MAMLPolicy,
  ) -> list[Any]:
    """Makes the one table, of tasks."""
    num_tasks, _ = environment_spec.rewards.shape
    return [
      replay.make_table(
        self._config.replay_table_name,
        self._item_spec(environment_spec, policy),
        max_size=self._config.queue_size(num_tasks),
        reuse=self._config.reuse,
        batch_size=self._batch_size(),
        handover=self._handover,
        kind=self._replay_kind,
      )
    ]

  def make_dataset_iterator(self, replay_client: Any) -> Iterator[replay.Batch]:
    """Makes an iterator of meta-batches, of a Reverb client or a local one."""
    return replay.batches(
      replay_client,
      self._config.replay_table_name,
      batch_size=self._batch_size(),
      reuse=self._config.reuse,
      should_stop=self._should_stop,
      handover=self._handover,
    )

  def make_adder(
    self,
    replay_client: Any,
    environment_spec: specs.EnvironmentSpec,
    policy: networks_lib.MAMLPolicy,
  ) -> adding.TrialAdder:
    """Makes an adder, which is also what its actor records trials with."""
    return adding.TrialAdder(
      self._item_spec(environment_spec, policy),
      num_tasks=environment_spec.rewards.shape[0],
      client=replay_client,
      table=self._config.replay_table_name,
      should_stop=self._should_stop,
    )

  def make_actor(
    self,
    random_key: chex.PRNGKey,
    policy: networks_lib.MAMLPolicy,
    environment_spec: specs.EnvironmentSpec,
    variable_source: core.VariableSource | None = None,
    adder: adding.TrialAdder | None = None,
  ) -> acting.MAMLActor:
    """Makes an actor; without an adder it adapts and stores nothing."""
    _check_policy(policy)
    if variable_source is None:
      raise ValueError(
        'variable_source: got None; an actor needs a learner to fetch its '
        'parameters from.'
      )
    if adder is None:
      adder = adding.TrialRecorder(
        self._item_spec(environment_spec, policy),
        num_tasks=environment_spec.rewards.shape[0],
      )
    return acting.MAMLActor(
      policy=policy,
      key=random_key,
      variable_source=variable_source,
      recorder=adder,
      device=self._actor_device(),
    )

  def make_learner(
    self,
    random_key: chex.PRNGKey,
    networks: networks_lib.MAMLNetworks,
    dataset: Iterator[replay.Batch],
    logger_fn: Callable[..., loggers.Logger],
    environment_spec: specs.EnvironmentSpec,
    replay_client: Any | None = None,
    counter: counting.Counter | None = None,
  ) -> learning.MAMLLearner:
    """Makes a learner."""
    del replay_client  # For priorities, of which there are none.
    return learning.MAMLLearner(
      learner=self._meta_learner(networks, environment_spec),
      key=random_key,
      observation=networks_lib.example_observation(environment_spec),
      iterator=dataset,
      counter=counter,
      logger=logger_fn('learner'),
      task_filter=task_filter.TaskFilter(
        self._config.reuse, self._config.max_lag, self._config.drops_older
      ),
      devices=self._devices(),
    )

  def make_policy(
    self,
    networks: networks_lib.MAMLNetworks,
    environment_spec: specs.EnvironmentSpec,
    evaluation: bool = False,
  ) -> networks_lib.MAMLPolicy:
    """Makes what actors run.

    Evaluation draws its actions too: adaptation learns from exploration, and
    published returns are those of the stochastic policy. With
    `MAMLConfig.mode_in_last_stage` it takes the mode in the last stage.

    Raises:
      ValueError: if the networks' distributions do not fit.
    """
    networks_lib.check_distribution(networks, environment_spec)
    algorithm = self._config.algorithm
    return networks_lib.make_policy(
      networks,
      self._meta_learner(networks, environment_spec),
      # A trust region measures from the policy before its step, which the
      # learner has; penalties are on the distance from the behaviour policy.
      with_distribution=not algorithm.uses_trust_region,
      chunk_size=algorithm.chunk_size
      or task_batching.default_chunk_size([self._actor_device()]),
      mode_in_last_stage=evaluation and self._config.mode_in_last_stage,
    )

  def _devices(self) -> tuple[jax.Device, ...]:
    """The learner's devices."""
    if self._asked_devices is None:
      return tuple(jax.local_devices())
    return tuple(
      _find_device(device) if isinstance(device, _DeviceName) else device
      for device in self._asked_devices
    )

  def _num_hosts(self) -> int:
    if self._asked_devices is None:
      return 1
    return len({device.process_index for device in self._devices()})

  def _batch_size(self) -> int:
    """Tasks that one host takes."""
    return self._config.algorithm.num_tasks // self._num_hosts()

  def _check_hosts(self) -> None:
    num_tasks = self._config.algorithm.num_tasks
    num_devices = len(self._devices())
    if self._num_hosts() == 1:
      return
    if num_tasks % num_devices:
      raise ValueError(
        f'num_tasks: got {num_tasks}, but several hosts need a multiple of '
        f'their devices, of which there are {num_devices}.'
      )
    if self._config.drops_older:
      raise ValueError(
        f'max_lag: got {self._config.max_lag}, but learners on several hosts '
        'would drop different tasks, and wait for one another for ever. Leave '
        'it None, or use an off-policy algorithm.'
      )

  def _actor_device(self) -> jax.Device:
    backend = self._config.actor_backend
    try:
      return jax.local_devices(backend=backend)[0]
    except RuntimeError as error:
      raise ValueError(
        f'actor_backend: JAX has no {backend!r} here ({error}). Name another '
        'one, None for the default, or let JAX have it (JAX_PLATFORMS).'
      ) from error

  def _meta_learner(
    self,
    networks: networks_lib.MAMLNetworks,
    environment_spec: specs.EnvironmentSpec,
  ) -> learner_lib.MetaLearner:
    return learner_lib.make_meta_learner(
      self._config.algorithm,
      networks.policy,
      self._devices(),
      networks_lib.rollout_spec(environment_spec.observations.observation),
    )

  def _item_spec(
    self,
    environment_spec: specs.EnvironmentSpec,
    policy: networks_lib.MAMLPolicy,
  ) -> items.Item:
    _check_policy(policy)
    algorithm = self._config.algorithm
    _, num_rollouts = environment_spec.rewards.shape
    if num_rollouts != algorithm.num_rollouts:
      raise ValueError(
        f'environment_spec: the environment has {num_rollouts} rollouts, the '
        f'configuration num_rollouts={algorithm.num_rollouts}.'
      )
    return items.item_spec(
      environment_spec,
      networks_lib.sampled_actions_spec(policy, environment_spec),
      num_stages=algorithm.num_inner_steps + 1,
      horizon=algorithm.horizon,
    )


def _check_policy(policy: Any) -> None:
  if not isinstance(policy, networks_lib.MAMLPolicy):
    raise ValueError(
      f'policy: got a {type(policy).__name__}, need the MAMLPolicy that '
      '`make_policy` makes. An ActorCore or an inference server has one set of '
      'parameters for all; here each task acts with parameters of its own, '
      'adapted by its actor. Run without inference servers.'
    )


def _find_device(name: _DeviceName) -> jax.Device:
  for device in jax.devices(name.platform):
    if device.id == name.id:
      return device
  raise ValueError(
    f'devices: number {name.id} of {name.platform} was asked for, which this '
    f'process does not have; it has {jax.devices(name.platform)}.'
  )
