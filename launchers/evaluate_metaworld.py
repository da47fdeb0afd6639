r"""Evaluates a checkpoint by Meta-World's own protocol.

    .venv-metaworld/bin/python -m acme_metarl.launchers.evaluate_metaworld \
      --checkpoint=results/train/RUN

calls `metaworld.evaluation.metalearning_evaluation`, unchanged: the policy
adapts on 10 episodes of each test task, as in training, and then plays 3 with
the modes of its actions, which end where they succeed; 20 environments share 40
of the goals of each class. It prints success and return, and writes
`metaworld.json`. Of a class it counts the 3 episodes that *end* first (release
3.1.1), and episodes end where they succeed, so that a policy seems the better
the more environments a class has; `--meta_batch_size` as large as the number of
classes gives each one environment, whose episodes all count. For training see
`train --environment=metaworld`.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import sys
from typing import Any

from absl import flags

from acme_metarl.launchers.runs import (
  compilation_cache,
  entry,
  loading,
  metaworld_agent,
  outputs,
  seeds,
)
from acme_metarl.launchers.runs import config as run_config

_NUMBERS = {
  'num_evals': (10, 'How often the test tasks are drawn.'),
  'meta_batch_size': (
    20,
    'Environments, a multiple of the number of classes of tasks; each is a '
    'process.',
  ),
  'tasks_per_class': (
    40,
    'Goals of each class that are played, a multiple of the environments of a'
    ' class; 40 of 50 are those of the protocol.',
  ),
  'adaptation_episodes': (10, 'Episodes of each adaptation step.'),
  'evaluation_episodes': (3, 'Episodes of each class that count.'),
  'max_episode_steps': (500, 'Steps of an episode.'),
}


def define(values: flags.FlagValues) -> None:
  """Defines the flags."""
  here = dict(flag_values=values, module_name=__name__)
  flags.DEFINE_string(
    'checkpoint',
    None,
    'A checkpoint, or the log directory of a run, whose newest one is taken.',
    **here,
  )
  for name, (default, text) in _NUMBERS.items():
    flags.DEFINE_integer(name, default, text, lower_bound=1, **here)
  flags.DEFINE_integer('seed', 0, 'Of the actions while it adapts.', **here)
  flags.DEFINE_enum(
    'split', 'test', ['train', 'test'], 'Whose tasks are played.', **here
  )
  flags.DEFINE_enum(
    'vector_strategy',
    'async',
    ['sync', 'async'],
    'Whether environments are in processes of their own.',
    **here,
  )
  flags.DEFINE_string(
    'output',
    None,
    'Directory for the results; by default metaworld-ITERATION beside the '
    'checkpoints.',
    **here,
  )
  flags.DEFINE_string(
    'compilation_cache',
    None,
    'Directory for what JAX compiles, or off; see train.',
    **here,
  )


def run(values: flags.FlagValues, overrides: Mapping[str, str]) -> None:
  """Evaluates as the flags say.

  Raises:
    ValueError: if that cannot be done.
    OSError: if results cannot be written.
  """
  if overrides:
    raise ValueError(f'config: {", ".join(overrides)} cannot be set here.')
  if not values['checkpoint'].value:
    raise ValueError('checkpoint: need --checkpoint=FILE_OR_LOG_DIRECTORY.')
  seed = seeds.check('seed', values['seed'].value)
  checkpoint = run_config.find_checkpoint(values['checkpoint'].value)
  config = run_config.config_of(checkpoint)
  if config.environment != 'metaworld':
    raise ValueError(
      f'checkpoint: the run trained on {config.environment}, need one of '
      'train --environment=metaworld; others have evaluate.'
    )
  options = {**config.environment_options, 'num_processes': 0}
  config = dataclasses.replace(config, environment_options=options)
  print(
    compilation_cache.set_up(values['compilation_cache'].value),
    file=sys.stderr,
  )
  trained = loading.Trained(config, checkpoint)
  directory = outputs.writable_directory(
    values['output'].value
    or checkpoint.path.parent.parent / f'metaworld-{checkpoint.step:08d}'
  )
  numbers = {name: values[name].value for name in _NUMBERS}
  results = evaluate(
    trained,
    split=values['split'].value,
    vector_strategy=values['vector_strategy'].value,
    seed=seed,
    **numbers,
  )
  with outputs.writing():
    outputs.write_json(
      directory / 'metaworld.json',
      {
        'checkpoint': str(checkpoint.path),
        'iteration': checkpoint.step,
        'benchmark': options.get('benchmark', 'reach-v3'),
        'split': values['split'].value,
        'seed': seed,
        **numbers,
        **results,
      },
    )
  print(
    f'Iteration {checkpoint.step}: success {results["success"]:.3g}, return '
    f'{results["return"]:.4g}'
  )
  for name, success in results['success_of_class'].items():
    print(f'  {name}: success {success:.3g}')
  print(f'Wrote metaworld.json to {directory}.')


def evaluate(
  trained: loading.Trained,
  *,
  split: str,
  vector_strategy: str,
  seed: int,
  num_evals: int,
  meta_batch_size: int,
  tasks_per_class: int,
  adaptation_episodes: int,
  evaluation_episodes: int,
  max_episode_steps: int,
) -> dict[str, Any]:
  """Calls Meta-World's protocol.

  Args:
    trained: a run on the environment 'metaworld'.
    split: whose tasks are played.
    vector_strategy: 'sync' or 'async'.
    seed: of the actions while it adapts.
    num_evals: how often tasks are drawn.
    meta_batch_size: how many environments there are.
    tasks_per_class: goals that the environments of a class share.
    adaptation_episodes: of each adaptation step.
    evaluation_episodes: of each class that count.
    max_episode_steps: of an episode.

  Returns:
    `success` and `return`, means over classes, and `success_of_class`.

  Raises:
    ValueError: if environments cannot share the classes and their tasks.
  """
  import metaworld
  from metaworld import evaluation

  options = trained.config.environment_options
  make = {
    'train': metaworld.make_ml_envs_train,
    'test': metaworld.make_ml_envs_test,
  }[split]
  # The tasks that the run knew, or those that it did not.
  try:
    environments = make(
      options.get('benchmark', 'reach-v3'),
      seed=options.get('seed', 0),
      meta_batch_size=meta_batch_size,
      total_tasks_per_cls=tasks_per_class,
      vector_strategy=vector_strategy,
      max_episode_steps=max_episode_steps,
    )
  except AssertionError as error:
    raise ValueError(
      f'meta_batch_size: got {meta_batch_size} environments for '
      f'{tasks_per_class} tasks_per_class, need a multiple of the number of '
      'classes, and the environments of a class must share its tasks evenly '
      f'(Meta-World says: {error}).'
    ) from error
  try:
    agent = metaworld_agent.MetaWorldAgent(trained, meta_batch_size, seed)
    success, mean_return, of_class = evaluation.metalearning_evaluation(
      agent,
      environments,
      num_evals=num_evals,
      adaptation_steps=trained.config.algorithm.num_inner_steps,
      adaptation_episodes=adaptation_episodes,
      evaluation_episodes=evaluation_episodes,
    )
  finally:
    environments.close()
  return {
    'success': float(success),
    'return': float(mean_return),
    'success_of_class': {k: float(v) for k, v in sorted(of_class.items())},
  }


def main(argv: Sequence[str] | None = None) -> None:
  """Evaluates as a command line says, this process's by default."""
  entry.main('evaluate_metaworld', __doc__, define, run, argv)


if __name__ == '__main__':
  main()
