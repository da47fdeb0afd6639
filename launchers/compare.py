r"""Compares algorithms: every one of them, in every environment, on every seed.

    python -m acme_metarl.launchers.compare --logdir=results/figure_1d \
      --num_iterations=500
    python -m acme_metarl.launchers.compare --logdir=results/figure_2 \
      --environments=half_cheetah_direction,ant_goal --num_seeds=2 \
      --algorithms=promp,promp_taypo2 --num_iterations=100
    python -m acme_metarl.launchers.compare --logdir=results/meta_gradients \
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
* `final_returns.csv` and `.md`: final returns, of every seed or with intervals,
  and differences to --reference, seed by seed and task by task;
* `curves_tasks.csv`: returns after adaptation, of every task;
* where environments report more, say successes: `ENVIRONMENT_success.png`, its
  columns in `curves.csv`, tables in `final_returns.md`, all of it in
  `final_scalars.csv`, and `curves_classes.csv` for each class of tasks;
* `versions.json`: the commands and package versions that made the runs.
"""

from collections.abc import Mapping, Sequence
import copy
import dataclasses
import importlib.util
import pathlib
import sys

from absl import flags
import jax

from acme_metarl import config as config_lib
from acme_metarl.agents import maml
from acme_metarl.launchers.comparison import (
  job_making,
  processes,
  report,
  stored_runs,
  study,
)
from acme_metarl.launchers.runs import (
  dataclass_flags,
  entry,
  outputs,
  recommended,
  references,
)
from acme_metarl.launchers.runs import flags as run_flags

# Flags of a single run that a comparison sets itself, and what to say instead.
_PER_RUN = {
  'environment': 'use --environments.',
  'algorithm': 'use --algorithms.',
  'seed': 'use --seeds.',
  'resume': 'here, begun runs always go on.',
  'config_file': 'a comparison has one of its own for each run.',
}
# What a run is told besides its configuration.
_PASSED_ON = ('num_devices', 'tensorboard', 'compilation_cache')


def define(values: flags.FlagValues) -> None:
  """Defines the flags."""
  run_flags.define(values)
  # Published results have the published step size in every environment.
  published = recommended.PUBLISHED_INNER_LEARNING_RATE
  values.set_default('inner_learning_rate', published)
  own = ' and '.join(recommended.INNER_LEARNING_RATES)
  values['inner_learning_rate'].help = (
    'Step size of adaptation; its initial value where it is learned. A'
    f' comparison uses the published {published} in every environment, so that'
    f' its figures are the published ones; single runs use another on {own}.'
  )
  for name, instead in _PER_RUN.items():
    values[name].help = f'A flag of single runs alone; {instead}'
  defaults = study.Config()
  values.set_default('logdir', defaults.logdir)
  values['logdir'].help = 'Directory of runs, tables and figures.'
  dataclass_flags.define(defaults, values, __name__, skip=['logdir'])


def _check(values: flags.FlagValues) -> None:
  """Refuses what cannot be meant, before anything is looked at."""
  for name, instead in _PER_RUN.items():
    if values[name].present:
      raise ValueError(f'--{name} belongs to a single run; {instead}')
  if values['eval_every'].value < 1:
    raise ValueError(
      f'--eval_every: got {values["eval_every"].value}; figures are made of '
      'evaluations, so need at least 1.'
    )


def configure(
  values: flags.FlagValues,
  overrides: Mapping[str, str],
  environment: str,
  variant: stored_runs.Variant,
) -> study.Configured:
  """Says how a variant is run in an environment.

  Raises:
    ValueError: if there is none.
  """
  own, fields = copy.deepcopy(values), {**overrides}
  own['environment'].parse(environment)
  own['algorithm'].parse(variant.preset)
  with_flag = {
    field.name
    for kind in (config_lib.AlgorithmConfig, maml.MAMLConfig)
    for field in dataclasses.fields(kind)
  } & (set(own) - {'algorithm'})
  for name, text in variant.fields.items():
    if name not in with_flag:
      fields[name] = text
      continue
    try:
      own[name].parse(text)
    except flags.Error as error:
      raise ValueError(str(error)) from error
  named = {
    name: own[name].value
    for name in ('environment', 'evaluation_environment', 'network')
  } | {f'config.{name}': text for name, text in fields.items()}
  arguments = [
    f'--{name}={text}'
    for name, text in named.items()
    if references.is_one(text)
  ]
  arguments += [
    own[name].serialize() for name in _PASSED_ON if own[name].present
  ]
  return study.Configured(
    run_flags.config_from_flags(fields, own),
    tuple(arguments),
    run_flags.imported(fields, own),
  )


def _stored(
  output: pathlib.Path,
  config: study.Config,
  values: flags.FlagValues,
  overrides: Mapping[str, str],
) -> report.Points:
  """What is stored of that which flags choose.

  Raises:
    ValueError: if that is nothing.
  """
  chosen = {
    name: getattr(config, name)
    for name in ('environments', 'algorithms')
    if values[name].present
  }
  if values['seeds'].present or values['num_seeds'].present:
    chosen['seeds'] = config.all_seeds
  if values['num_iterations'].present:
    chosen['num_iterations'] = values['num_iterations'].value
  if (output / stored_runs.RUNS).exists():
    given = run_flags.imported(overrides, values) | {
      text: references.load('--environments', text)
      for text in chosen.get('environments', ())
      if references.is_one(text)
    }
    runs = stored_runs.stored(output, **chosen, given=given)
    return report.points_of_runs(runs)
  if chosen:
    raise ValueError(
      f'--{min(chosen)}: no runs are stored in {str(output)!r}, only their '
      'tables, which one of a part would replace; leave it out.'
    )
  return report.points_of_tables(output)


def _reference(given: str | None, labels: Sequence[str]) -> str | None:
  if given is None:
    if len(labels) == 1:
      return None
    return 'promp' if 'promp' in labels else labels[0]
  reference = stored_runs.parse_variant(given).label
  if reference not in labels:
    raise ValueError(
      f'--reference: {given!r} is not among the algorithms {", ".join(labels)}.'
    )
  return reference


def _make_runs(
  runs: Sequence[stored_runs.Run], config: study.Config
) -> processes.Outcome:
  """Makes what is not finished.

  Raises:
    ValueError: if it cannot be made here.
  """
  to_do = [run for run in runs if not run.is_finished]
  jobs = job_making.make_jobs(to_do, config.runner)
  needs_agent = any(job.launcher == stored_runs.TRAIN for job in jobs)
  if needs_agent and not importlib.util.find_spec('acme'):
    raise ValueError(
      '--runner: these runs need the agent with Acme, which is not installed '
      '(see README, "Install parts of it").'
    )
  if not jobs:
    return processes.Outcome({}, None)
  print(
    f'{len(runs) - len(to_do)} of {len(runs)} runs are finished;'
    f' {len(to_do)} to make in {len(jobs)} processes.',
    file=sys.stderr,
  )
  try:
    return processes.execute(jobs, config.num_parallel, runs)
  except KeyboardInterrupt:
    return processes.Outcome({}, 'a second SIGINT')


def run(values: flags.FlagValues, overrides: Mapping[str, str]) -> None:
  """Compares as the flags say.

  Raises:
    ValueError: if that cannot be done.
  """
  _check(values)
  config = dataclass_flags.read(study.Config(), values)
  # Accelerators are for the processes that train; nothing is computed here.
  jax.config.update('jax_platforms', 'cpu')
  output = outputs.writable_directory(config.logdir)
  outcome = processes.Outcome({}, None)
  if config.only_report:
    points = _stored(output, config, values, overrides)
    reference = _reference(config.reference, sorted(points.labels))
  else:
    runs = study.plan(
      output, config, lambda *one: configure(values, overrides, *one)
    )
    labels = list(dict.fromkeys(one.label for one in runs))
    reference = _reference(config.reference, labels)
    outcome = _make_runs(runs, config)
    points = report.points_of_runs(runs)
  if outcome.signal_name:
    print(
      f'compare: stopped by {outcome.signal_name}; the same command goes on, '
      '--only_report shows what there is.'
    )
    sys.exit(130)
  if points.rows or not outcome.failures:
    settings = report.Settings(
      reference, config.num_final_evaluations, config.confidence
    )
    print(report.write(output, points, settings))
    print(f'Wrote tables and figures to {output}.')
  if outcome.failures:
    sys.exit(
      f'compare: {len(outcome.failures)} failed; the same command tries '
      'again:\n' + '\n'.join(f'  {k}: {v}' for k, v in outcome.failures.items())
    )


def main(argv: Sequence[str] | None = None) -> None:
  """Compares as flags say, this process's by default."""
  entry.main('compare', __doc__, define, run, argv)


if __name__ == '__main__':
  main()
