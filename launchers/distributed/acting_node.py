"""An actor of the program."""

from collections.abc import Callable
from typing import Any

from acme.utils import loggers
import dm_env

from acme_metarl.agents import environment_loop, maml
from acme_metarl.launchers.distributed import agent_parts
from acme_metarl.launchers.distributed import peers as peers_lib
from acme_metarl.launchers.distributed import shared as shared_lib
from acme_metarl.launchers.runs import agent_trainer


class _Stop(environment_loop.EnvLoopObserver):
  """Leaves a trial between two steps when asked to stop."""

  def __init__(self, should_stop: Callable[[], bool]):
    self._should_stop = should_stop

  def observe_first(
    self, env: dm_env.Environment, timestep: dm_env.TimeStep
  ) -> None:
    pass

  def observe(
    self, env: dm_env.Environment, timestep: dm_env.TimeStep, action: Any
  ) -> None:
    if timestep.observation.is_first and self._should_stop():
      raise peers_lib.StoppedError

  def get_metrics(self) -> dict[str, Any]:
    return {}


def run(
  shared: shared_lib.Shared,
  peers: peers_lib.Peers,
  should_stop: Callable[[], bool],
) -> None:
  """Plays trials of training until asked to stop.

  The counter numbers the trials of all actors, and all randomness of a trial
  derives from its number: no two are alike, not even after a restart.
  """
  with shared.session.reporting():
    parts = agent_parts.make(shared, 'train', should_stop)
    client = peers.replay()
    actor = parts.builder.make_actor(
      agent_trainer.Keys(parts.config.seed).actor,
      parts.policy,
      parts.spec,
      peers_lib.Variables(peers),
      parts.builder.make_adder(client, parts.spec, parts.policy),
    )
  returns = maml.TrialReturns()
  loop = environment_loop.EnvironmentLoop(
    parts.environment,
    actor,
    logger=loggers.NoOpLogger(),
    observers=[returns, _Stop(should_stop)],
  )
  num_diverged = 0
  try:
    while not should_stop():
      counts = peers.call('counter', 'increment', trials=1)
      trial = counts['trials'] - 1
      parts.environment.trial_index = trial
      actor.restore({'num_trials': trial})
      loop.run_episode()
      peers.call(
        'counter',
        'increment',
        inserted_tasks=shared.options.tasks_per_actor,
        collected_steps=returns.num_steps,
        num_diverged=parts.environment.num_diverged - num_diverged,
      )
      num_diverged = parts.environment.num_diverged
  except peers_lib.StoppedError:
    pass
  finally:
    parts.environment.close()
