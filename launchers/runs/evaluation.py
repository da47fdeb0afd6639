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
from acme_metarl.launchers.runs import checkpointing, loading, tables
from acme_metarl.launchers.runs import config as run_config
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
    self._stages = _StageParams(self._actor)
    self._loop = environment_loop.EnvironmentLoop(
      environment,
      self._actor,
      logger=loggers.NoOpLogger(),
      observers=[self._returns, self._stages],
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

  def play(self, trial_index: int) -> np.ndarray:
    """Plays one trial.

    Args:
      trial_index: says which tasks, start states and actions are drawn.

    Returns:
      `[G, K+1, B]` undiscounted returns.
    """
    self._environment.trial_index = trial_index
    self._actor.restore({'num_trials': trial_index})
    self._loop.run_episode()
    return self._returns.returns


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
  returns: np.ndarray, confidence: float
) -> list[dict[str, Any]]:
  """Mean return and its interval after each number of steps.

  Args:
    returns: `[G, K+1, B]`.
    confidence: of Student's interval over the means of the G tasks.

  Returns:
    A row per number of steps.
  """
  from scipy import stats

  rows = tables.evaluation_rows(returns, 0, 0, 0.0)
  width = stats.t.ppf(0.5 + confidence / 2, max(returns.shape[0] - 1, 1))
  return [
    {
      'num_inner_steps_taken': row['num_inner_steps_taken'],
      'return_mean': row['return_mean'],
      'return_stderr': row['return_stderr'],
      'return_low': row['return_mean'] - width * row['return_stderr'],
      'return_high': row['return_mean'] + width * row['return_stderr'],
      'num_tasks': returns.shape[0],
      'num_rollouts': returns.shape[2],
    }
    for row in rows
  ]


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
