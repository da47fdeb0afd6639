"""Training on one machine: act, insert, sample, learn, in turn."""

from collections.abc import Sequence
import contextlib
import pathlib
import time
from typing import Any

from acme import specs
from acme.utils import loggers
import jax

from acme_metarl import environments
from acme_metarl.agents import environment_loop, maml
from acme_metarl.agents.maml import replay
from acme_metarl.launchers.runs import (
  checkpointing,
  evaluation,
  loop,
  played,
  seeds,
  tables,
)
from acme_metarl.launchers.runs import config as run_config


class Keys:
  """Random keys of a run, by purpose; all from its seed."""

  def __init__(self, seed: int):
    self.learner, self.actor, self.evaluation = jax.random.split(
      seeds.key(seed), 3
    )


class Trainer:
  """All parts of a run in one process: a `loop.Trainer`.

  Between two calls of `iterate` replay is empty, and `save` holds everything
  that the next one depends on.

  Attributes:
    environment: of training.
    actor: acts in it.
    learner: learns.
    iteration: how many iterations are done.
    environment_steps: how many steps they took, frozen rollouts not counted.
  """

  def __init__(self, config: run_config.RunConfig):
    """Makes the parts; `close` them."""
    self._config = config
    keys = Keys(config.seed)
    builder = maml.MAMLBuilder(config.agent_config)
    self._resources = contextlib.ExitStack()
    self.environment = config.trial_environment('train')
    self._resources.callback(self.environment.close)
    spec = specs.make_environment_spec(self.environment)
    networks = evaluation.make_networks(config, self.environment)
    policy = builder.make_policy(networks, spec)
    client = self._resources.enter_context(
      replay.serve(builder.make_replay_tables(spec, policy))
    )
    self._learner_rows = tables.RowCollector()
    self.learner = builder.make_learner(
      keys.learner,
      networks,
      builder.make_dataset_iterator(client),
      lambda label: self._learner_rows,
      spec,
      client,
    )
    self.actor = builder.make_actor(
      keys.actor,
      policy,
      spec,
      self.learner,
      builder.make_adder(client, spec, policy),
    )
    self._returns = maml.TrialReturns()
    self._scalars = environments.InfoRecorder()
    self._loop = environment_loop.EnvironmentLoop(
      self.environment,
      self.actor,
      logger=loggers.NoOpLogger(),
      observers=[self._returns, self._scalars],
    )
    evaluation_environment = config.trial_environment('evaluation')
    self._resources.callback(evaluation_environment.close)
    self._evaluator = evaluation.Evaluator(
      evaluation_environment,
      builder,
      policy,
      self.learner,
      keys.evaluation,
    )
    self.iteration = 0
    self.environment_steps = 0
    self._done = self._state()

  def advance(self, most: int = 1) -> list[list[dict[str, Any]]]:
    """Plays one trial and learns from it, see `loop.Trainer`."""
    del most  # One at a time, so that it can be stopped between any two.
    return [[self.iterate()]]

  def iterate(self) -> dict[str, Any]:
    """Plays one trial and learns from it; returns a row of `learner.csv`."""
    start = time.perf_counter()
    self._loop.run_episode()
    acted = time.perf_counter()
    for _ in range(self._config.agent['reuse']):
      self.learner.step()
    learned = time.perf_counter()
    self.iteration += 1
    metrics = self._returns.get_metrics()
    self.environment_steps += metrics.pop('environment_steps')
    metrics.pop('episode_return')  # Over all stages; theirs are there.
    self._done = self._state()
    learner_row = self._learner_rows.take_mean()
    for name in ('steps', 'walltime'):
      learner_row.pop(name)
    return {
      'iteration': self.iteration,
      'environment_steps': self.environment_steps,
      **metrics,
      **self._scalars.get_metrics(),
      'acting_seconds': round(acted - start, 4),
      'learning_seconds': round(learned - acted, 4),
      'num_diverged': self.environment.num_diverged,
      **learner_row,
    }

  def evaluate(self, trial_index: int | None = None) -> list[played.Played]:
    """Plays a trial of the evaluation stream, see `loop.Trainer`.

    Args:
      trial_index: says which tasks are drawn; new ones at every iteration if
        not given.
    """
    return [
      self._evaluator.play(
        self.iteration if trial_index is None else trial_index
      )
    ]

  def _state(self) -> tuple[Any, dict[str, Any]]:
    """References to what the next iteration replaces."""
    return self.learner.state, {
      'environment_steps': self.environment_steps,
      'environment': self.environment.save(),
      'actor': self.actor.save(),
    }

  def save(self) -> list[tuple[Any, dict[str, Any]]]:
    """The state after the last iteration, see `loop.Trainer`."""
    arrays, metadata = self._done
    return [(jax.device_get(arrays), metadata)]

  def restore(self, checkpoints: Sequence[checkpointing.Checkpoint]) -> None:
    """Goes on where `save` was called.

    Raises:
      ValueError: if the checkpoint is of another configuration.
    """
    (checkpoint,) = checkpoints
    environment, actor = (checkpoint.get(x) for x in ('environment', 'actor'))
    self.learner.restore(
      checkpointing.restore_tree(self.learner.save(), checkpoint.arrays)
    )
    self.iteration = checkpoint.get('iteration')
    self.environment_steps = checkpoint.get('environment_steps')
    self.environment.restore(environment)
    self.actor.restore(actor)
    self._done = self._state()

  def close(self) -> None:
    self._resources.close()


def run(
  config: run_config.RunConfig,
  directory: pathlib.Path,
  checkpoint: checkpointing.Checkpoint | None = None,
  use_tensorboard: bool = False,
) -> bool:
  """Trains the agent in this process, see `loop.train`."""
  plan = run_config.Plan(config, directory, checkpoint)
  return loop.train(lambda: Trainer(config), [plan], use_tensorboard)
