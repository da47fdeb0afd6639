r"""Compares algorithms: every one of them, in every environment, on every seed.

    python -m acme_metarl.launchers.compare --output=results/figure_1d \
      --num_iterations=500
    python -m acme_metarl.launchers.compare --output=results/figure_2 \
      --environments=half_cheetah_direction,ant_goal --num_seeds=2 \
      --algorithms=promp,promp_taypo2 --num_iterations=100
    python -m acme_metarl.launchers.compare --output=results/meta_gradients \
      --environments=half_cheetah_direction --seeds=0,1 --algorithms=\
    vpg_maml:meta_gradient=score_function,vpg_maml:meta_gradient=linearised

The defaults are the algorithms and the environment of Figure 1(d) of Tang et
al. (2021). An algorithm is a preset, or a preset with fields of the algorithm
or the agent set, PRESET:FIELD=VALUE:FIELD=VALUE. All flags of a single run hold
for every run; --config.FIELD=VALUE does too.

Every run is stored by itself, in OUTPUT/runs/ENVIRONMENT/ALGORITHM/seed_N, as
`train` and `train_on_device` lay it out (--logdir of theirs may point there).
Finished runs are not repeated, begun ones go on from their last checkpoint, so
after Ctrl-C, a crash, or with more --seeds, --algorithms or --num_iterations,
give the command again. Into OUTPUT go
* `ENVIRONMENT.png`: return after adaptation against environment steps, mean ±
  standard deviation over seeds;
* `curves.csv`: every point;
* `final_returns.csv` and `.md`: final returns with intervals over seeds;
* `versions.json`: the commands and package versions that made the runs.
"""

from collections.abc import Mapping, Sequence
import importlib.util
import sys

from absl import flags
import jax

from acme_metarl import config, environments
from acme_metarl.launchers.comparison import (
  job_making,
  processes,
  report,
  stored_runs,
  study,
)
from acme_metarl.launchers.runs import flags as run_flags
from acme_metarl.launchers.runs import outputs

FLAGS = flags.FLAGS
for _flag in FLAGS.get_flags_for_module(run_flags):
  if _flag.name not in study.PER_RUN:
    flags.declare_key_flag(_flag.name)
# Published results have the published step size in every environment.
FLAGS.set_default(
  'inner_learning_rate', config.AlgorithmConfig().inner_learning_rate
)

_OUTPUT = flags.DEFINE_string(
  'output', 'results/compare', 'Directory of runs, tables and figures.'
)
_ENVIRONMENTS = flags.DEFINE_list(
  'environments',
  ['navigation_2d'],
  f'Task distributions: {", ".join(environments.names())}.',
)
_ALGORITHMS = flags.DEFINE_list(
  'algorithms',
  [
    'trpo_maml',
    'trpo_fmaml',
    'trpo_emaml',
    'trpo_dice',
    'promp',
    'promp_taypo2',
    'promp_taypo3',
  ],
  'Presets, or variants of them, PRESET:FIELD=VALUE:FIELD=VALUE.',
)
_SEEDS = flags.DEFINE_list('seeds', None, 'Seeds of each algorithm.')
_NUM_SEEDS = flags.DEFINE_integer(
  'num_seeds', 5, 'Seeds of each algorithm, 0, 1, ...; instead of --seeds.'
)
_RUNNER = flags.DEFINE_enum(
  'runner',
  job_making.AUTO,
  job_making.RUNNERS,
  'What makes the runs: the agent with Acme and Reverb (train), one compiled '
  'function (train_on_device), or auto: the latter where an environment is '
  'pure JAX and the data is used once.',
)
_NUM_PARALLEL = flags.DEFINE_integer(
  'num_parallel',
  1,
  'Processes at once, each with its share of the cores. One per core is the '
  'fastest; a single process shares its tasks or its seeds out to all cores.',
)
_ONLY_REPORT = flags.DEFINE_bool(
  'only_report',
  False,
  'Whether to make tables and figures of what is stored, and run nothing. '
  '--environments, --algorithms, --seeds and --num_iterations choose from it; '
  'by default it is all there is.',
)
_REFERENCE = flags.DEFINE_string(
  'reference',
  None,
  'Algorithm that the table compares the others with, seed by seed; promp by '
  'default, or else the first one.',
)
_NUM_FINAL = flags.DEFINE_integer(
  'num_final_evaluations',
  5,
  'The final return of a run is the mean of so many evaluations.',
)
_CONFIDENCE = flags.DEFINE_float(
  'confidence', 0.95, 'Of the intervals over seeds, in (0, 1).'
)


def _check_flags() -> None:
  """Refuses what cannot be meant, before anything is looked at."""
  for name in study.PER_RUN:
    if FLAGS[name].present:
      instead = {'logdir': 'output', 'resume': None}.get(name, f'{name}s')
      raise ValueError(
        f'--{name} belongs to a single run; '
        + (f'use --{instead}.' if instead else 'here, begun runs always go on.')
      )
  if FLAGS.eval_every < 1:
    raise ValueError(
      f'--eval_every: got {FLAGS.eval_every}; figures are made of evaluations, '
      'so need at least 1.'
    )
  for flag in (_NUM_PARALLEL, _NUM_FINAL, _NUM_SEEDS):
    if flag.value < 1:
      raise ValueError(f'--{flag.name}: got {flag.value}, need at least 1.')
  if not 0 < _CONFIDENCE.value < 1:
    raise ValueError(
      f'--confidence: got {_CONFIDENCE.value}, need a number in (0, 1).'
    )


def _seeds() -> list[int]:
  if _SEEDS.value is None:
    return list(range(_NUM_SEEDS.value))
  if _NUM_SEEDS.present:
    raise ValueError('--seeds and --num_seeds: give one of them.')
  try:
    return [int(text) for text in _SEEDS.value]
  except ValueError as error:
    raise ValueError(
      f'--seeds: got {",".join(_SEEDS.value)!r}, need integers such as 0,1,2.'
    ) from error


def _stored_runs(output) -> list[stored_runs.Run]:
  """The stored runs that the flags choose."""
  return stored_runs.stored(
    output,
    _ENVIRONMENTS.value if _ENVIRONMENTS.present else None,
    _ALGORITHMS.value if _ALGORITHMS.present else None,
    _seeds() if _SEEDS.present or _NUM_SEEDS.present else None,
    FLAGS.num_iterations if FLAGS['num_iterations'].present else None,
  )


def _settings(runs: Sequence[stored_runs.Run]) -> report.Settings:
  labels = list(dict.fromkeys(run.label for run in runs))
  if _REFERENCE.value is None:
    reference = 'promp' if 'promp' in labels else labels[0]
    if len(labels) == 1:
      reference = None
  else:
    reference = stored_runs.parse_variant(_REFERENCE.value).label
    if reference not in labels:
      raise ValueError(
        f'--reference: {_REFERENCE.value!r} is not among the algorithms '
        f'{", ".join(labels)}.'
      )
  return report.Settings(reference, _NUM_FINAL.value, _CONFIDENCE.value)


def _make_runs(runs: Sequence[stored_runs.Run]) -> processes.Outcome:
  """Makes what is not finished.

  Raises:
    ValueError: if it cannot be made here.
  """
  to_do = [run for run in runs if not run.is_finished]
  jobs = job_making.make_jobs(to_do, _RUNNER.value)
  needs_agent = any(job.launcher == stored_runs.TRAIN for job in jobs)
  if needs_agent and not importlib.util.find_spec('reverb'):
    raise ValueError(
      '--runner: these runs need the agent with Acme and Reverb, which are not '
      'installed (see README, "Install parts of it").'
    )
  if not jobs:
    return processes.Outcome({}, None)
  print(
    f'{len(runs) - len(to_do)} of {len(runs)} runs are finished;'
    f' {len(to_do)} to make in {len(jobs)} processes.',
    file=sys.stderr,
  )
  try:
    return processes.execute(jobs, _NUM_PARALLEL.value, runs)
  except KeyboardInterrupt:
    return processes.Outcome({}, 'a second SIGINT')


def run(overrides: Mapping[str, str]) -> None:
  """Compares as the flags say.

  Raises:
    ValueError: if that cannot be done.
  """
  _check_flags()
  # Accelerators are for the processes that train; nothing is computed here.
  jax.config.update('jax_platforms', 'cpu')
  output = outputs.writable_directory(_OUTPUT.value)
  if _ONLY_REPORT.value:
    runs = _stored_runs(output)
    outcome = processes.Outcome({}, None)
  else:
    runs = study.plan(
      output, _ENVIRONMENTS.value, _ALGORITHMS.value, _seeds(), overrides
    )
  settings = _settings(runs)
  if not _ONLY_REPORT.value:
    outcome = _make_runs(runs)
  if outcome.signal_name:
    print(
      f'compare: stopped by {outcome.signal_name}; the same command goes on, '
      '--only_report shows what there is.'
    )
    sys.exit(130)
  is_empty = all(stored_runs.last_evaluation(r.directory) < 0 for r in runs)
  if not (is_empty and outcome.failures):
    print(report.write(output, runs, settings))
    print(f'Wrote tables and figures to {output}.')
  if outcome.failures:
    sys.exit(
      f'compare: {len(outcome.failures)} failed; the same command tries '
      'again:\n' + '\n'.join(f'  {k}: {v}' for k, v in outcome.failures.items())
    )


if __name__ == '__main__':
  run_flags.start('compare', run)
