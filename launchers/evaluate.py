r"""Evaluates a checkpoint on tasks drawn anew, and draws what it does.

    python -m acme_metarl.launchers.evaluate --checkpoint=results/train/RUN

prints the return after 0, 1, ... adaptation steps with confidence intervals
over tasks, and successes where the environment reports them. It writes
`results.json`, `results.csv`, `tasks.csv` (a row per task), `classes.csv` where
tasks fall into classes, and a picture (or, for robots, a film). Adaptation is
the one of training, on the checkpoint's own settings. With more steps than the
policy was trained for, returns may collapse; a warning says so. The run's
`report.html` is written anew, with the film.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
import sys
from typing import Any

from absl import flags
from acme import specs
import jax

from acme_metarl import environments
from acme_metarl.agents import maml
from acme_metarl.environments import rendering
from acme_metarl.launchers.runs import (
  compilation_cache,
  entry,
  evaluation,
  outputs,
  references,
  run_report,
  seeds,
  tables,
)
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import flags as run_flags

_SIZES = ('num_tasks', 'num_rollouts', 'num_inner_steps')
_OPTIONS = 'evaluation_environment_options'
_REFERENCES = ('environment', 'evaluation_environment', 'network')


def define(values: flags.FlagValues) -> None:
  """Defines the flags."""
  here = dict(flag_values=values, module_name=__name__)
  flags.DEFINE_string(
    'checkpoint',
    None,
    'A checkpoint, or the log directory of a run, whose newest one is taken.',
    **here,
  )
  for name, text in zip(
    _SIZES,
    (
      'Tasks to draw',
      'Rollouts per task',
      'Adaptation steps; after more than in training, returns may collapse',
    ),
    strict=True,
  ):
    flags.DEFINE_integer(
      name, None, f'{text}. By default as in training.', **here
    )
  flags.DEFINE_integer(
    'seed',
    0,
    'Says which tasks are drawn, in [0, 2**64); none of them is drawn for '
    'training or for its own evaluations, unless there are but a few.',
    **here,
  )
  flags.DEFINE_float(
    'confidence',
    0.95,
    'How likely an interval holds the mean, in (0, 1).',
    **here,
  )
  flags.DEFINE_string(
    'logdir',
    None,
    'Directory for the results; by default evaluation-ITERATION beside the '
    'checkpoints.',
    **here,
  )
  flags.DEFINE_integer(
    'render', 4, 'How many of the tasks to draw; 0 for none.', **here
  )
  flags.DEFINE_integer(
    'render_rollouts', 10, 'Rollouts to draw of each.', **here
  )
  for name in ('environment', 'network'):
    flags.DEFINE_string(
      name,
      None,
      f'If the run has a {name} of your own: package.module:function again, as '
      'what a file names is not imported.',
      **here,
    )
  flags.DEFINE_string(
    'evaluation_environment',
    None,
    'Plays there, in place of the environment of the run.',
    **here,
  )
  flags.DEFINE_string(
    _OPTIONS,
    None,
    'Its options, as a JSON object, in place of those that the evaluations of'
    ' the run had; such as \'{"split": "train"}\'.',
    **here,
  )
  flags.DEFINE_string(
    'compilation_cache',
    None,
    'Directory for what JAX compiles, or off; see train.',
    **here,
  )


def _draw(
  config: run_config.RunConfig,
  environment: environments.TrialEnvironment,
  evaluator: evaluation.Evaluator,
  directory: pathlib.Path,
  values: flags.FlagValues,
) -> pathlib.Path:
  """Plays the policies of every stage once more, on the first tasks."""
  num_tasks = min(values['render'].value, config.algorithm.num_tasks)
  return rendering.render(
    environment,
    evaluator.stage_policies(num_tasks),
    directory / f'behaviour{rendering.ending(environment)}',
    tasks=jax.tree_util.tree_map(lambda x: x[:num_tasks], environment.tasks),
    num_rollouts=values['render_rollouts'].value,
    horizon=config.algorithm.horizon,
    seed=values['seed'].value,
  )


def run(values: flags.FlagValues, overrides: Mapping[str, str]) -> None:
  """Evaluates as the flags say.

  Raises:
    ValueError: if that cannot be done.
    OSError: if results cannot be written.
  """
  confidence = values['confidence'].value
  if not values['checkpoint'].value:
    raise ValueError('checkpoint: need --checkpoint=FILE_OR_LOG_DIRECTORY.')
  if not 0 < confidence < 1:
    raise ValueError(f'confidence: got {confidence}, need in (0, 1).')
  seed = seeds.check('seed', values['seed'].value)
  print(
    compilation_cache.set_up(values['compilation_cache'].value),
    file=sys.stderr,
  )
  checkpoint = run_config.find_checkpoint(values['checkpoint'].value)
  config = _config(checkpoint, values, overrides)
  trained = config
  params = evaluation.meta_params(config, checkpoint)
  config = _resized(config, values)
  # Seeded by both, so never with the tasks of the run's own evaluations.
  environment = config.trial_environment('evaluation', seed=(config.seed, seed))
  builder = maml.MAMLBuilder(config.agent_config)
  spec = specs.make_environment_spec(environment)
  networks = evaluation.make_networks(config, environment)
  evaluator = evaluation.Evaluator(
    environment,
    builder,
    builder.make_policy(networks, spec, evaluation=True),
    evaluation.FixedVariables(params, checkpoint.step),
    seeds.fold_in(seeds.key(config.seed), seed),
  )
  directory = outputs.writable_directory(
    values['logdir'].value
    or checkpoint.path.parent.parent / f'evaluation-{checkpoint.step:08d}'
  )
  played = evaluator.play(trial_index=0)
  rows = evaluation.confidence_rows(played, confidence)
  class_rows = [
    {'task_class': name, **row}
    for name in played.class_names
    for row in evaluation.confidence_rows(played.of_class(name), confidence)
  ]
  with outputs.writing():
    outputs.write_json(
      directory / 'results.json',
      {
        'checkpoint': str(checkpoint.path),
        'iteration': checkpoint.step,
        'seed': seed,
        'confidence': confidence,
        'rows': rows,
        'classes': class_rows,
      },
    )
    outputs.write_csv(directory / 'results.csv', rows)
    outputs.write_csv(directory / 'tasks.csv', played.tasks())
    if class_rows:
      outputs.write_csv(directory / 'classes.csv', class_rows)
  print(
    f'Iteration {checkpoint.step}, {rows[0]["num_tasks"]} '
    f'{played.tasks_in_words} of {rows[0]["num_rollouts"]} rollouts, '
    f'{confidence:.0%} intervals:'
  )
  for row in rows:
    print(f'  {_in_words(row)}')
  for row in class_rows:
    print(f'  {row["task_class"]}, {_in_words(row)}')
  if values['render'].value:
    try:
      path = _draw(config, environment, evaluator, directory, values)
      print(f'Drawn in {path}.')
    except (RuntimeError, ValueError) as error:
      print(f'No picture: {error}', file=sys.stderr)
  run_directory = checkpoint.path.parent.parent
  if (run_directory / run_config.CONFIG_JSON).exists():
    with outputs.writing():
      run_report.write(run_directory, trained)
  print(f'Wrote results.json, results.csv and tasks.csv to {directory}.')


def _in_words(row: Mapping[str, Any]) -> str:
  """Return and success of a stage."""

  def interval(name, mean):
    return f'{mean:.4g} [{row[f"{name}_low"]:.4g}, {row[f"{name}_high"]:.4g}]'

  text = (
    f'after {row["num_inner_steps_taken"]} adaptation steps: '
    f'{interval("return", row["return_mean"])}'
  )
  if tables.SUCCESS in row:
    success = interval(tables.SUCCESS, row[tables.SUCCESS])
    text += f', success {success}'
  return text


def _config(
  checkpoint, values: flags.FlagValues, overrides: Mapping[str, str]
) -> run_config.RunConfig:
  """The run's configuration, and where to play.

  Values of `--config.FIELD` say what of the run's own may be imported.
  """
  texts = {name: values[name].value for name in _REFERENCES}
  texts |= {f'config.{name}': text for name, text in overrides.items()}
  given = {
    text: references.load(name, text)
    for name, text in texts.items()
    if references.is_one(text)
  }
  config = run_config.config_of(checkpoint, given)
  has = config.to_dict()
  has |= {f'config.{name}': text for name, text in has['algorithm'].items()}
  for name, text in texts.items():
    is_other = text is not None and text != has.get(name)
    if is_other and name != 'evaluation_environment':
      raise ValueError(
        f'{name}: the run has {has.get(name)}, not {text}; leave it out.'
      )
  changes = {}
  other = texts['evaluation_environment']
  if other is not None and other != has['evaluation_environment']:
    changes['evaluation_environment'] = given.get(other, other)
    changes[_OPTIONS] = {}  # Those of the run are another environment's.
  if values[_OPTIONS].value is not None:
    changes[_OPTIONS] = run_flags.options(_OPTIONS, values[_OPTIONS].value)
  return dataclasses.replace(config, **changes)


def _resized(
  config: run_config.RunConfig, values: flags.FlagValues
) -> run_config.RunConfig:
  """The configuration with the sizes that the flags ask for."""
  sizes: dict[str, Any] = {
    name: values[name].value
    for name in _SIZES
    if values[name].value is not None
  }
  trained = config.algorithm.num_inner_steps
  if sizes.get('num_inner_steps', 0) > trained:
    print(
      f'Trained with {trained} adaptation steps; returns after more of them '
      'may collapse.',
      file=sys.stderr,
    )
  # Nothing is stored or learned, so what replay and the meta-update need does
  # not matter.
  agent = {'actor_backend': config.agent['actor_backend']}
  if config.algorithm.meta_gradient == 'evolution_strategies':
    sizes['meta_gradient'] = 'full'  # The agent has no other.
  return dataclasses.replace(config, agent=agent).replace_algorithm(**sizes)


def main(argv: Sequence[str] | None = None) -> None:
  """Evaluates as a command line says, this process's by default."""
  entry.main('evaluate', __doc__, define, run, argv)


if __name__ == '__main__':
  main()
