"""`compare` as its user runs it, and results that it made."""

import importlib.util
import json
import pathlib
import shlex

from absl import flags
import pytest

from acme_metarl.launchers import compare as compare_main
from acme_metarl.launchers.comparison import processes, stored_runs
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import tables

_ROOT = pathlib.Path(__file__).parents[2]
_COMMITTED = _ROOT / 'launchers' / 'results' / 'compare_smoke'


def _committed_command():
  versions = json.loads((_COMMITTED / 'versions.json').read_text())
  (made_by,) = versions['runs']
  python, m, module, *arguments = shlex.split(made_by['command'])
  assert (python, m) == ('python', '-m')
  assert module == 'acme_metarl.launchers.compare'
  return arguments


@pytest.fixture
def compare(tmp_path, monkeypatch, compilation_cache, call_main):
  """Compares below an empty directory; returns what was printed."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setenv('PYTHONPATH', str(_ROOT))
  # Compiles in half the time; the programs are tiny.
  monkeypatch.setenv('XLA_FLAGS', '--xla_backend_optimization_level=0')

  def compare(*arguments):
    cache = f'--compilation_cache={compilation_cache}'
    return call_main('compare', *arguments, cache)[0]

  return compare


def test_regenerates_committed_results(tmp_path, compare, refused):
  whole = _committed_command()
  linearised = 'vpg_maml:meta_gradient=linearised'
  first = compare(*whole, f'--algorithms={linearised}', '--num_iterations=2')
  # Goes on with what has begun, and adds an algorithm.
  second = compare(*whole)
  assert compare(*whole) == second
  assert 'VPG-MAML, meta gradient linearised' in first
  assert 'PROMP-TayPO-2' in second and 'PROMP-TayPO-2' not in first
  output = tmp_path / 'results' / 'compare_smoke'
  # Finished runs were not repeated.
  for name, count in (
    ('promp_taypo2', 1),
    ('vpg_maml+meta_gradient=linearised', 2),
  ):
    log = output / 'runs' / 'navigation_2d' / name / 'seed_0' / 'output.log'
    assert log.read_text().count('Training in') == count
  # A part of it: one of the seeds, the first two of the iterations.
  report = ['--logdir=results/compare_smoke', '--only_report']
  only = compare(*report, '--algorithms=promp_taypo2', '--seeds=1')
  assert only.count('PROMP-TayPO-2 | 1 ') == 1
  compare(*report, '--num_iterations=2')
  rows = tables.read_csv(output / 'curves.csv')
  assert max(int(row['iteration']) for row in rows) == 2
  other = refused('compare', *whole, '--num_tasks=5')
  assert 'algorithm.num_tasks is 4 there, not 5' in other

  text = compare(*report)
  _assert_same_points(output / 'curves.csv', _COMMITTED / 'curves.csv')
  table = (output / 'final_returns.md').read_text()
  assert table in text
  committed = (_COMMITTED / 'final_returns.md').read_text()
  assert (
    table.splitlines()[2].split('|')[1:3]
    == (committed.splitlines()[2].split('|')[1:3])
  )
  assert (output / 'navigation_2d.png').exists()


def _configure(text, *arguments, **overrides):
  values = flags.FlagValues()
  compare_main.define(values)
  values(['compare', *arguments])
  return compare_main.configure(
    values, overrides, 'navigation_2d', stored_runs.parse_variant(text)
  )


def test_a_variant_is_a_preset_with_fields_set():
  own = _configure(
    'promp:num_outer_epochs=2:reuse=3:horizon=7',
    '--num_tasks=4',
    '--horizon=9',
    hidden_sizes='8',
  )
  algorithm = own.config.algorithm
  assert own.config.preset == 'promp' and own.config.agent['reuse'] == 3
  assert (algorithm.num_outer_epochs, algorithm.horizon) == (2, 7)
  assert (algorithm.num_tasks, algorithm.hidden_sizes) == (4, (8,))
  # Published results have the published step size in every environment.
  assert algorithm.inner_learning_rate == 0.1
  assert not own.arguments and not own.given


def test_a_process_is_told_what_a_file_may_not_say():
  evaluator = 'acme_metarl.evaluators:doubly_robust'
  own = _configure(
    f'promp:evaluator={evaluator}', '--tensorboard', '--num_devices=2'
  )
  assert own.arguments == (
    f'--config.evaluator={evaluator}',
    '--num_devices=2',
    '--tensorboard',
  )
  assert list(own.given) == [evaluator]
  # The rest is in the file.
  values = json.loads(json.dumps(own.config.to_dict()))
  assert run_config.RunConfig.from_dict(values, own.given) == own.config


def _assert_same_points(path, committed):
  """Rounding differs between machines, and three iterations amplify it."""
  rows, expected = (tables.read_csv(x) for x in (path, committed))
  assert len(rows) == len(expected)
  for row, want in zip(rows, expected, strict=True):
    for name, value in want.items():
      if not name.startswith('return'):
        assert row[name] == value
    assert float(row['return_mean']) == pytest.approx(
      float(want['return_mean']), rel=1e-3
    )
    assert float(row['return_stderr']) == pytest.approx(
      float(want['return_stderr']), rel=0.1
    )


_MISTAKES = {
  '--algorithms=promp,prompt': 'promp, promp_taypo2, promp_taypo3',
  '--algorithms=': '--algorithms: got none',
  '--algorithms=promp,promp': 'promp is there twice',
  '--algorithms=promp:reuze=2': 'no such field',
  '--algorithms=promp:reuse=many': 'flag --reuse=many: need a whole number',
  '--algorithms=promp:num_outer_epochs=x': 'need a whole number',
  '--environments=navigation_3d': 'navigation_2d, tabular_mdp',
  '--environments=navigation_2d,navigation_2d': 'is there twice',
  '--environment_options={"size": 3}': 'no option size',
  '--seeds=0,0': '--seeds: 0 is there twice',
  '--seeds=x': 'need whole numbers',
  '--seeds=-1': 'seed: got -1',
  '--num_seeds=0': '--num_seeds: got 0',
  '--seed=3': 'use --seeds',
  '--resume': 'begun runs always go on',
  '--eval_every=0': '--eval_every: got 0',
  '--num_parallel=0': '--num_parallel: got 0',
  '--confidence=1': 'need a number in (0, 1)',
  '--reference=vpg_maml': "'vpg_maml' is not among the algorithms",
  '--config.foo=1': 'no such field',
  '--logdir=file/below': 'cannot write to the output directory',
  '--only_report': 'there is no run in',
  '--config_file=x': 'a comparison has one of its own for each run',
  '--seeds=1 --num_seeds=2': 'give one of them',
}


@pytest.mark.parametrize('mistake', _MISTAKES)
def test_mistakes_end_at_once_with_one_line(
  tmp_path, monkeypatch, refused, mistake
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'file').touch()
  # One of the flags has a space in it.
  arguments = mistake.split(' --')
  arguments[1:] = [f'--{x}' for x in arguments[1:]]
  assert _MISTAKES[mistake] in refused('compare', *arguments)
  assert not list(tmp_path.glob('results/compare/*'))


@pytest.mark.parametrize('missing', ['acme', 'reverb'])
def test_the_agent_needs_acme_and_nothing_else(
  tmp_path, monkeypatch, refused, missing
):
  made = []
  monkeypatch.setattr(
    importlib.util, 'find_spec', lambda name: None if name == missing else name
  )
  monkeypatch.setattr(
    processes,
    'execute',
    lambda jobs, *_: made.extend(jobs) or processes.Outcome({}, None),
  )
  told = refused(
    'compare', f'--logdir={tmp_path}', '--runner=train', '--num_seeds=2'
  )
  # Elsewhere the agent has a queue of its own.
  assert ('has an evaluation yet' in told) == (missing == 'reverb')
  assert ('need the agent with Acme' in told) == (missing == 'acme')
  assert bool(made) == (missing == 'reverb')


def test_a_report_of_tables_is_not_of_a_part_of_them(tmp_path, refused):
  for name in ('curves.csv', 'final_returns.csv', 'versions.json'):
    (tmp_path / name).write_bytes((_COMMITTED / name).read_bytes())
  message = refused(
    'compare', f'--logdir={tmp_path}', '--only_report', '--seeds=0'
  )
  assert message.startswith('--seeds: no runs are stored in ')
