r"""Evaluates a checkpoint on tasks drawn afresh, and draws what it does.

    python -m acme_metarl.launchers.evaluate --checkpoint=results/train/RUN

prints the return after 0, 1, ... adaptation steps with confidence intervals
over tasks, and writes `results.json`, `results.csv` and a picture (or, for
robots, a film). Adaptation is the one of training, on the checkpoint's own
settings; its number of steps may be larger than in training.
"""

from collections.abc import Sequence
import dataclasses
import logging
import pathlib
import sys

from absl import app, flags
from acme import specs
import jax

from acme_metarl import environments
from acme_metarl.agents import maml
from acme_metarl.environments import rendering
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import evaluation, outputs

_CHECKPOINT = flags.DEFINE_string(
  'checkpoint',
  None,
  'A checkpoint, or the log directory of a run, whose newest one is taken.',
)
_NUM_TASKS = flags.DEFINE_integer(
  'num_tasks', None, 'Tasks to draw; as many as in training by default.'
)
_NUM_ROLLOUTS = flags.DEFINE_integer(
  'num_rollouts', None, 'Rollouts per task; as in training by default.'
)
_NUM_INNER_STEPS = flags.DEFINE_integer(
  'num_inner_steps', None, 'Adaptation steps; as in training by default.'
)
_SEED = flags.DEFINE_integer(
  'seed', 0, 'Says which tasks are drawn; none of them is one of training.'
)
_CONFIDENCE = flags.DEFINE_float(
  'confidence', 0.95, 'Of the intervals, in (0, 1).'
)
_OUTPUT = flags.DEFINE_string(
  'output',
  None,
  'Directory for the results; by default evaluation-ITERATION beside the '
  'checkpoints.',
)
_RENDER = flags.DEFINE_integer(
  'render', 4, 'How many of the tasks to draw; 0 for none.'
)
_RENDER_ROLLOUTS = flags.DEFINE_integer(
  'render_rollouts', 10, 'Rollouts to draw of each.'
)


def _draw(
  config: run_config.RunConfig,
  environment: environments.TrialEnvironment,
  evaluator: evaluation.Evaluator,
  directory: pathlib.Path,
) -> pathlib.Path:
  """Plays the policies of every stage once more, on the first tasks."""
  algorithm = config.agent.algorithm
  num_tasks = min(_RENDER.value, algorithm.num_tasks)
  is_planar = config.environment == 'navigation_2d'
  return rendering.render(
    environment,
    evaluator.stage_policies(num_tasks),
    directory / ('behaviour.png' if is_planar else 'behaviour.mp4'),
    tasks=jax.tree_util.tree_map(lambda x: x[:num_tasks], environment.tasks),
    num_rollouts=_RENDER_ROLLOUTS.value,
    horizon=algorithm.horizon,
    seed=_SEED.value,
  )


def run() -> None:
  """Evaluates as the flags say.

  Raises:
    ValueError: if that cannot be done.
  """
  if not _CHECKPOINT.value:
    raise ValueError('checkpoint: need --checkpoint=FILE_OR_LOG_DIRECTORY.')
  if not 0 < _CONFIDENCE.value < 1:
    raise ValueError(f'confidence: got {_CONFIDENCE.value}, need in (0, 1).')
  if _SEED.value < 0:
    raise ValueError(f'seed: got {_SEED.value}, need no negative number.')
  checkpoint = run_config.find_checkpoint(_CHECKPOINT.value)
  config = run_config.RunConfig.from_dict(checkpoint.metadata['config'])
  params = evaluation.meta_params(config, checkpoint)
  config = _resized(config)
  directory = outputs.writable_directory(
    _OUTPUT.value
    or checkpoint.path.parent.parent / f'evaluation-{checkpoint.step:08d}'
  )
  # Seeded by both, so never with the tasks of the run's own evaluations.
  environment = config.trial_environment(
    'evaluation', seed=(config.seed, _SEED.value)
  )
  builder = maml.MAMLBuilder(config.agent)
  spec = specs.make_environment_spec(environment)
  networks = maml.make_networks(spec, config.agent.algorithm)
  evaluator = evaluation.Evaluator(
    environment,
    builder,
    builder.make_policy(networks, spec, evaluation=True),
    evaluation.FixedVariables(params, checkpoint.step),
    jax.random.fold_in(jax.random.PRNGKey(config.seed), _SEED.value),
  )
  returns = evaluator.play(trial_index=0)
  rows = evaluation.confidence_rows(returns, _CONFIDENCE.value)
  outputs.write_json(
    directory / 'results.json',
    {
      'checkpoint': str(checkpoint.path),
      'iteration': checkpoint.step,
      'seed': _SEED.value,
      'confidence': _CONFIDENCE.value,
      'rows': rows,
    },
  )
  outputs.write_csv(directory / 'results.csv', rows)
  print(
    f'Iteration {checkpoint.step}, {rows[0]["num_tasks"]} tasks of '
    f'{rows[0]["num_rollouts"]} rollouts, {_CONFIDENCE.value:.0%} intervals:'
  )
  for row in rows:
    print(
      f'  after {row["num_inner_steps_taken"]} adaptation steps: '
      f'{row["return_mean"]:.4g} '
      f'[{row["return_low"]:.4g}, {row["return_high"]:.4g}]'
    )
  if _RENDER.value:
    try:
      path = _draw(config, environment, evaluator, directory)
      print(f'Drawn in {path}.')
    except (RuntimeError, ValueError) as error:
      print(f'No picture: {error}', file=sys.stderr)
  print(f'Wrote results.json and results.csv to {directory}.')


def _resized(config: run_config.RunConfig) -> run_config.RunConfig:
  """The run's configuration with the sizes that the flags ask for."""
  sizes = {
    flag.name: flag.value
    for flag in (_NUM_TASKS, _NUM_ROLLOUTS, _NUM_INNER_STEPS)
    if flag.value is not None
  }
  algorithm = dataclasses.replace(config.agent.algorithm, **sizes)
  agent = maml.MAMLConfig(
    algorithm=algorithm, actor_backend=config.agent.actor_backend
  )
  return dataclasses.replace(config, agent=agent)


def main(argv: Sequence[str]) -> None:
  """Runs, and tells mistakes without a traceback."""
  logging.getLogger('jax').setLevel(logging.WARNING)
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected argument {argv[1]!r}; use flags only.')
    run()
  except (OSError, ValueError) as error:
    sys.exit(f'evaluate: {error}')


if __name__ == '__main__':
  app.run(main)
