"""Causal λ in whole agents: how noisy the meta-gradient of a checkpoint is.

See `acme_metarl.studies.meta_gradient_noise`.
"""

from collections.abc import Sequence
import pathlib
from typing import Any

from acme import specs
from acme.utils import loggers
import jax
import numpy as np

from acme_metarl import environments, types
from acme_metarl.agents import environment_loop, maml
from acme_metarl.agents.maml import items
from acme_metarl.agents.maml import networks as networks_lib
from acme_metarl.launchers.runs import (
  evaluation,
  loading,
  outputs,
  played,
  plotting,
  progress,
  seeds,
)
from acme_metarl.launchers.studies import causal_lambda_config, study
from acme_metarl.studies import meta_gradient_noise

Config = causal_lambda_config.Config
_FIGURE, _TABLE = 'agent.png', 'agent.md'
_Row = dict[str, Any]


class SameTasks:
  """An environment whose tasks are drawn once; all else is as it was."""

  def __init__(self, environment: environments.BatchedEnvironment):
    self._environment = environment
    self._tasks: types.PyTree = None

  def __getattr__(self, name: str) -> Any:
    return getattr(self._environment, name)

  def sample_tasks(
    self, rng: np.random.Generator, num_tasks: int
  ) -> types.PyTree:
    if self._tasks is None:
      self._tasks = self._environment.sample_tasks(rng, num_tasks)
    return jax.tree_util.tree_map(np.array, self._tasks)


class Player:
  """Plays trials of a policy on the same tasks, as the agent's own actor."""

  def __init__(
    self,
    run: loading.Trained,
    environment: SameTasks,
    num_tasks: int,
    num_rollouts: int,
    seed: tuple[int, int],
  ):
    """Makes a player.

    Args:
      run: of the policy.
      environment: to play in; may be shared with other players.
      num_tasks: G.
      num_rollouts: B.
      seed: of actions and start states.
    """
    config = run.config.replace_algorithm(
      num_tasks=num_tasks, num_rollouts=num_rollouts
    )
    algorithm = config.algorithm
    self._environment = environments.TrialEnvironment(
      environment,
      num_tasks=num_tasks,
      num_rollouts=num_rollouts,
      horizon=algorithm.horizon,
      num_inner_steps=algorithm.num_inner_steps,
      seed=(config.seed, *seed),
      stream='evaluation',
      bootstrap_on_timeout=config.bootstrap_on_timeout,
    )
    spec = specs.make_environment_spec(self._environment)
    builder = maml.MAMLBuilder(config.agent_config)
    policy = builder.make_policy(
      evaluation.make_networks(config, self._environment), spec
    )
    self._recorder = maml.TrialRecorder(
      items.item_spec(
        spec,
        networks_lib.sampled_actions_spec(policy, spec),
        num_stages=algorithm.num_inner_steps + 1,
        horizon=algorithm.horizon,
      ),
      num_tasks,
    )
    key = seeds.key(config.seed)
    for number in seed:
      key = seeds.fold_in(key, number)
    actor = maml.MAMLActor(
      policy,
      key,
      evaluation.FixedVariables(run.meta_params, run.iteration),
      self._recorder,
    )
    self._loop = environment_loop.EnvironmentLoop(
      self._environment, actor, logger=loggers.NoOpLogger()
    )

  @property
  def tasks(self) -> types.PyTree:
    """The tasks `[G, ...]`, once one trial is played."""
    return self._environment.tasks

  def play(self) -> types.Stage:
    """Plays one trial; `[G, K+1, B, T, ...]`."""
    self._loop.run_episode()
    return jax.tree_util.tree_map(np.array, self._recorder.trial)


def run(config: Config, directory: pathlib.Path) -> list[str]:
  """Measures, writes and draws; returns the names of the files."""
  trained = loading.load(config.checkpoint)
  algorithm = trained.config.algorithm
  environment = SameTasks(
    environments.batch(trained.config.make_environment('evaluation'))
  )
  total = config.num_batches + 2
  with progress.bar(total, unit='batch', desc='agent') as bar:

    def measure(grid, num_rollouts, number, count):
      """Gradients with these causal λ of some batches, and their returns."""
      of_trials = meta_gradient_noise.make_measure(
        algorithm, trained.policy, trained.learner.prepare, grid
      )
      player = Player(
        trained,
        environment,
        config.num_tasks,
        num_rollouts,
        (config.seed, number),
      )
      for _ in range(count):
        trials = player.play()
        found = of_trials(trained.meta_params, trials)
        bar.update()
        total = (trials.reward * trials.mask).sum(-1)
        yield jax.tree_util.tree_map(np.asarray, found), total.mean((0, 2))

    of_batches = measure(
      config.grid, algorithm.num_rollouts, 0, config.num_batches
    )
    batches, returns = zip(*of_batches, strict=True)
    # The whole Hessian, which is unbiased.
    halves = measure((1.0,), config.num_reference_rollouts, 1, 2)
    references = np.stack([found.gradient[0] for found, _ in halves])
  rows, reference_cosine = analyse(config.grid, batches, references)
  results = {
    'environment': trained.config.to_dict()['environment'],
    'preset': trained.config.preset,
    'iteration': trained.iteration,
    'num_tasks': config.num_tasks,
    'num_rollouts': algorithm.num_rollouts,
    'num_batches': config.num_batches,
    'num_reference_rollouts': 2 * config.num_reference_rollouts,
    'cosine_of_reference_halves': reference_cosine,
    'return_mean': np.mean(returns, 0).tolist(),
    'rows': rows,
  }
  names = study.write(directory, results, rows)
  outputs.write(directory / _TABLE, table(rows).encode())
  draw(results, directory / _FIGURE)
  return [*names, _TABLE, _FIGURE]


def analyse(
  grid: Sequence[float],
  batches: Sequence[meta_gradient_noise.Batch],
  references: np.ndarray,
) -> tuple[list[_Row], float]:
  """A row for each causal λ: means over batches and their standard errors.

  Args:
    grid: causal λ.
    batches: what was measured.
    references: `[2, P]` meta-gradients of many rollouts.

  Returns:
    The rows, with variances relative to that of the smallest causal λ; and the
    cosine of the two references.
  """
  gradients = np.stack([batch.gradient for batch in batches])
  agreement = meta_gradient_noise.agreement(gradients, references)
  variance = np.stack([batch.variance for batch in batches])
  columns = {
    'variance': variance,
    'relative_variance': variance / variance.mean(0)[0],
    'half_cosine': np.stack([batch.half_cosine for batch in batches]),
    'reference_cosine': agreement.of_batches,
  }
  rows = []
  for i, value in enumerate(grid):
    row: _Row = {'causal_lambda': value}
    for name, x in columns.items():
      mean, stderr = played.mean_and_stderr(x[:, i])
      row |= {f'{name}_mean': mean, f'{name}_stderr': stderr}
    row['reference_cosine_of_mean'] = float(agreement.of_means[i])
    rows.append(row)
  return rows, agreement.of_halves


def table(rows: Sequence[_Row]) -> str:
  """Returns the rows as Markdown."""
  lines = [
    [
      'κ',
      'variance over tasks, relative',
      'cosine of halves',
      'cosine of a batch with the reference',
      'cosine of all batches with the reference',
    ]
  ]
  for row in rows:
    lines.append(
      [
        f'{row["causal_lambda"]:g}',
        f'{row["relative_variance_mean"]:.2f} ± '
        f'{row["relative_variance_stderr"]:.2f}',
        f'{row["half_cosine_mean"]:.3f} ± {row["half_cosine_stderr"]:.3f}',
        f'{row["reference_cosine_mean"]:.3f} ± '
        f'{row["reference_cosine_stderr"]:.3f}',
        f'{row["reference_cosine_of_mean"]:.3f}',
      ]
    )
  return study.markdown(lines)


def draw(results: dict[str, Any], path: Any) -> Any:
  """Draws variance and cosines against causal λ; returns the figure."""
  rows = results['rows']
  grid = [row['causal_lambda'] for row in rows]
  with plotting.panels(2) as (figure, axes):
    left, right = axes
    for panel, names in (
      (left, {'relative_variance': 'over tasks'}),
      (
        right,
        {'half_cosine': 'of halves', 'reference_cosine': 'with the reference'},
      ),
    ):
      for i, (name, label) in enumerate(names.items()):
        plotting.curve(
          panel,
          grid,
          [row[f'{name}_mean'] for row in rows],
          [row[f'{name}_stderr'] for row in rows],
          plotting.style(label, i),
        )
      panel.set_xlabel(r'causal $\lambda$')
      panel.legend(fontsize=8)
    plotting.log_y(left)
    left.set_title('Variance, first order = 1')
    right.set_title(f'Cosine, iteration {results["iteration"]}')
    outputs.write_figure(path, figure)
    return figure
