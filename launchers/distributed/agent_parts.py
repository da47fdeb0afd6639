"""The agent's parts that several nodes make, each for itself."""

from collections.abc import Callable
from typing import Any, NamedTuple

from acme import specs

from acme_metarl import environments
from acme_metarl.agents import maml
from acme_metarl.launchers.distributed import shared as shared_lib
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import evaluation, references


class Parts(NamedTuple):
  """Parts of the agent around an environment.

  Attributes:
    config: of the run.
    environment: of the stream that was asked for.
    spec: of the environment.
    builder: of the agent.
    networks: of the agent.
    policy: what actors run.
  """

  config: run_config.RunConfig
  environment: environments.TrialEnvironment
  spec: specs.EnvironmentSpec
  builder: maml.MAMLBuilder
  networks: maml.MAMLNetworks
  policy: maml.MAMLPolicy


def make(
  shared: shared_lib.Shared,
  stream: str,
  should_stop: Callable[[], bool],
  devices: list[Any] | None = None,
  replay_kind: str | None = None,
) -> Parts:
  """Makes them.

  Args:
    shared: what every node is told.
    stream: of the environment; trials of training have an actor's tasks, those
      of evaluation a meta-batch's.
    should_stop: asked while waiting for replay.
    devices: of the learner; all local ones if not given.
    replay_kind: of the table; see `replay.make_table`.

  Raises:
    ValueError: if the configuration cannot be done.
  """
  config = run_config.RunConfig.from_dict(
    shared.config, {text: references.load('', text) for text in shared.given}
  )
  sizes = {}
  if stream == 'train':
    sizes['num_tasks'] = shared.options.tasks_per_actor
  environment = config.trial_environment(stream, **sizes)
  spec = specs.make_environment_spec(environment)
  builder = maml.MAMLBuilder(
    config.agent_config, should_stop, devices, replay_kind
  )
  networks = evaluation.make_networks(config, environment)
  return Parts(
    config,
    environment,
    spec,
    builder,
    networks,
    builder.make_policy(networks, spec),
  )
