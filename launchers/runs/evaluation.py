"""Plays trials of a trained policy on tasks drawn anew."""

from collections.abc import Callable
import itertools
from typing import Any

from acme import core, specs
from acme.utils import loggers
import dm_env
import jax
import numpy as np

from acme_metarl import environments, types
from acme_metarl.agents import environment_loop, maml
from acme_metarl.launchers.runs import checkpointing, loading
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import played as played_lib
from acme_metarl.meta import learner as learner_lib


class Evaluator:
  """Returns after 0 … K adaptation steps, by the agent's own actor."""

  def __init__(
    self,
    environment: environments.TrialEnvironment,
    builder: maml.MAMLBuilder,
    policy: maml.MAMLPolicy,
    variable_source: core.VariableSource,
    key: Any,
  ):
    """Makes an evaluator.

    Args:
      environment: of the evaluation stream.
      builder: of the agent.
      policy: of the agent; one that acts elsewhere too is compiled once.
      variable_source: of the parameters to evaluate.
      key: of the actions.
    """
    self._environment = environment
    self._key = key
    self._select_action = jax.jit(policy.select_action)
    self._actor = builder.make_actor(
      key, policy, specs.make_environment_spec(environment), variable_source
    )
    self._returns = maml.TrialReturns()
    self._scalars = environments.InfoRecorder()
    self._stages = _StageParams(self._actor)
    self._loop = environment_loop.EnvironmentLoop(
      environment,
      self._actor,
      logger=loggers.NoOpLogger(),
      observers=[self._returns, self._scalars, self._stages],
    )

  def stage_policies(self, num_tasks: int) -> list[Callable[[Any], Any]]:
    """The policies of the last trial's stages, for its first tasks.

    Args:
      num_tasks: how many tasks.

    Returns:
      Functions of observations `[num_tasks, B, ...]` to actions, which draw
      anew at every call.
    """

    def make(stage, params):
      params = jax.tree_util.tree_map(lambda x: x[:num_tasks], params)
      steps = itertools.count()
      return lambda observation: np.asarray(
        self._select_action(
          params, observation, self._key, stage, next(steps)
        ).action
      )

    return [make(i, params) for i, params in enumerate(self._stages.params)]

  def play(self, trial_index: int) -> played_lib.Played:
    """Plays one trial.

    Args:
      trial_index: says which tasks, start states and actions are drawn.
    """
    self._environment.trial_index = trial_index
    self._actor.restore({'num_trials': trial_index})
    self._loop.run_episode()
    return played_lib.Played(
      self._returns.returns,
      {name: rows.T for name, rows in self._scalars.summaries().items()},
      self._environment.task_classes,
      environments.tasks_in_words(self._environment),
    )


class _StageParams(environment_loop.EnvLoopObserver):
  """Remembers with what parameters each stage was played."""

  def __init__(self, actor: maml.MAMLActor):
    self._actor = actor
    self.params: list[types.PyTree] = []

  def observe_first(
    self, env: dm_env.Environment, timestep: dm_env.TimeStep
  ) -> None:
    self.params = [self._actor.params]

  def observe(
    self, env: dm_env.Environment, timestep: dm_env.TimeStep, action: Any
  ) -> None:
    if timestep.observation.is_first:
      self.params.append(self._actor.params)

  def get_metrics(self) -> dict[str, Any]:
    return {}


class FixedVariables(core.VariableSource):
  """Parameters that do not change, say those of a checkpoint."""

  def __init__(self, params: types.PyTree, learner_step: int):
    self._variables = {
      'params': jax.device_get(params),
      'learner_step': np.int32(learner_step),
    }

  def get_variables(self, names: Any) -> list[Any]:
    return [self._variables[name] for name in names]


def confidence_rows(
  played: played_lib.Played, confidence: float
) -> list[dict[str, Any]]:
  """Means and their intervals after each number of steps.

  Args:
    played: what was evaluated.
    confidence: of Student's interval over the means of the G tasks.

  Returns:
    A row per number of steps: of the return and of each scalar the mean, its
    standard error and the ends of the interval.
  """
  from scipy import stats

  num_tasks, num_stages, num_rollouts = played.returns.shape
  tables = {'return': played.returns.mean(axis=2), **played.scalars}
  rows = []
  for stage in range(num_stages):
    row = {'num_inner_steps_taken': stage}
    for name, table in tables.items():
      values = table[:, stage][~np.isnan(table[:, stage])]
      mean, stderr = played_lib.mean_and_stderr(values)
      width = stderr * stats.t.ppf(
        0.5 + confidence / 2, max(len(values) - 1, 1)
      )
      row |= {
        'return_mean' if name == 'return' else name: mean,
        f'{name}_stderr': stderr,
        f'{name}_low': mean - width,
        f'{name}_high': mean + width,
      }
    rows.append({**row, 'num_tasks': num_tasks, 'num_rollouts': num_rollouts})
  return rows


def make_networks(
  config: run_config.RunConfig, environment: environments.TrialEnvironment
) -> maml.MAMLNetworks:
  """The networks of a run: the user's, or the default ones."""
  policy = config.make_policy(environment.environment)
  if policy is not None:
    return maml.MAMLNetworks(policy)
  spec = specs.make_environment_spec(environment)
  return maml.make_networks(spec, config.algorithm)


def meta_params(
  config: run_config.RunConfig, checkpoint: checkpointing.Checkpoint
) -> learner_lib.MetaParams:
  """The meta-parameters that a checkpoint holds."""
  environment = environments.batch(config.make_environment('evaluation'))
  return loading.restored(config, checkpoint, environment)[-1]
