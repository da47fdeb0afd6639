"""Tables of a comparison, and what they say."""

import importlib.metadata
import json
import pathlib
import re
import shutil
import sys

import numpy as np
import pytest

from acme_metarl.launchers.comparison import report, stored_runs
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import tables

# The pinned one, which made the stored tables.
_SCIPY = '1.15.3'
_SETTINGS = report.Settings('promp', num_final=1, confidence=0.95)


def _run(output, label, seed, returns, environment='navigation_2d'):
  config = run_config.RunConfig(environment=environment, seed=seed)
  config = config.replace_algorithm(num_iterations=20)
  run = stored_runs.Run(environment, label, config, output)
  run.directory.mkdir(parents=True)
  rows = [
    f'{10 * i},{1000 * i},1,{stage},{value - 1 + stage},0.1'
    for i, value in enumerate(returns)
    for stage in (0, 1)
  ]
  (run.directory / 'evaluation.csv').write_text(
    '\n'.join([','.join(tables.EVALUATION_COLUMNS), *rows, ''])
  )
  return run


@pytest.fixture
def runs(tmp_path):
  return [
    _run(tmp_path, 'promp', 0, [0, 1, 2]),
    _run(tmp_path, 'promp', 1, [0, 2, 4]),
    _run(tmp_path, 'trpo_maml+max_kl=0.1', 0, [0, 1, 20]),
    _run(tmp_path, 'trpo_maml+max_kl=0.1', 1, [0, 1]),
    _run(tmp_path, 'trpo_maml+max_kl=0.1', 2, []),
    _run(tmp_path, 'promp', 0, [5], environment='tabular_mdp'),
  ]


def _write(output, runs):
  return report.write(output, report.points_of_runs(runs), _SETTINGS)


def _words(text):
  return [
    ' '.join(line.replace('|', ' ').split()) for line in text.splitlines()
  ]


def test_writes_everything(tmp_path, runs):
  text = _write(tmp_path, runs)
  assert text == (tmp_path / 'final_returns.md').read_text()
  lines = _words(text)
  # Every seed, as there are two.
  assert (
    'PROMP 2 20 2.000 (1.000, 3.000) 3.000 (2.000, 4.000) 1.500 (1.000, 2.000)'
    in lines
  )
  assert (
    'TRPO-MAML, max kl 0.1 2 10 (!) 9.500 (19.00, 0.000) 10.50 (20.00, 1.000)'
    ' 3.000 (5.500, 0.500) 7.500 (18.00, -3.000)' in lines
  )
  assert 'PROMP 1 0 (!) 4.000 5.000' in lines
  assert 'TRPO-MAML, max kl 0.1 1 of 2' in lines  # Over all environments.
  assert 'Parentheses: every seed.' in text
  assert 'Brackets' not in text and 'Middle half' not in text
  assert 'Not evaluated yet: navigation_2d/trpo_maml+max_kl=0.1/seed_2' in text
  assert '(!) Some of the seeds have not come to their end' in text

  curves = tables.read_csv(tmp_path / 'curves.csv')
  assert len(curves) == 2 * (3 + 3 + 3 + 2 + 1)
  finals = tables.read_csv(tmp_path / 'final_returns.csv')
  assert [float(row['final_return_mean']) for row in finals] == [10.5, 3, 5]
  assert finals[2]['final_return_low'] == ''
  for environment in ('navigation_2d', 'tabular_mdp'):
    assert (tmp_path / f'{environment}.png').exists()


def test_four_seeds_have_intervals_and_a_middle_half(tmp_path):
  finals = (1, 2, 4, 100)
  runs = [_run(tmp_path, 'promp', i, [0, 0, x]) for i, x in enumerate(finals)]
  text = _write(tmp_path, runs)
  line = next(line for line in _words(text) if line.startswith('PROMP'))
  # Standard error 24.42, and 3.182 of it on either side of the mean.
  assert '26.75 [-50.98, 104.5]' in line
  assert ' 3.000 [' in line  # The mean of 2 and 4.
  assert '95% intervals over seeds' in text and '"Middle half"' in text
  assert 'Parentheses' not in text


def test_tables_are_enough_to_write_them_again(tmp_path, runs):
  first = _write(tmp_path, runs[:4])
  names = ('curves.csv', 'final_returns.csv', 'final_returns.md')
  before = {name: (tmp_path / name).read_bytes() for name in names}
  made_by = json.loads((tmp_path / 'versions.json').read_text())
  shutil.rmtree(tmp_path / 'runs')
  points = report.points_of_tables(tmp_path)
  assert points.unfinished == {('navigation_2d', 'trpo_maml+max_kl=0.1', 1)}
  assert report.write(tmp_path, points, _SETTINGS) == first
  assert {name: (tmp_path / name).read_bytes() for name in names} == before
  # What made the runs is not forgotten.
  again = json.loads((tmp_path / 'versions.json').read_text())
  assert again['runs'] == made_by['runs']
  assert again['made_elsewhere'] == made_by['made_elsewhere']


def test_refuses_what_is_no_report(tmp_path):
  with pytest.raises(ValueError, match='no run in .*, nor curves.csv'):
    report.points_of_tables(tmp_path)


_RESULTS = pathlib.Path(__file__).parents[3] / 'launchers' / 'results'


@pytest.mark.parametrize(
  'name', sorted(x.parent.name for x in _RESULTS.glob('*/final_returns.md'))
)
def test_stored_tables_are_made_again_byte_for_byte(tmp_path, name, call_main):
  stored = _RESULTS / name
  for path in stored.iterdir():
    shutil.copy(path, tmp_path)
  made_by = json.loads((stored / 'versions.json').read_text())['report']
  arguments = [
    x
    for x in made_by['command'].split()
    if x.startswith(('--reference=', '--num_final_evaluations='))
  ]
  call_main('compare', f'--logdir={tmp_path}', '--only_report', *arguments)
  for file in ('curves.csv', 'final_returns.csv', 'final_returns.md'):
    made, kept = ((x / file).read_text() for x in (tmp_path, stored))
    if importlib.metadata.version('scipy') != _SCIPY and file.endswith('.csv'):
      # Another scipy's quantiles differ in their last digits.
      made, kept = map(_rounded, (made, kept))
    assert made == kept, file


def test_a_page_to_hover_over(tmp_path, call_main):
  stored = _RESULTS / 'compare_smoke'
  for path in stored.iterdir():
    shutil.copy(path, tmp_path)
  call_main('compare', f'--logdir={tmp_path}', '--only_report')
  text = (tmp_path / 'report.html').read_text(encoding='utf-8')
  data = re.search(r'id="data">(.*?)</script>', text).group(1)
  (chart,) = json.loads(data)
  assert chart['title'] == 'navigation 2d'
  rows = [
    row
    for row in tables.read_csv(stored / 'curves.csv')
    if row['algorithm'] == 'promp_taypo2'
    and row['num_inner_steps_taken'] == '1'
  ]
  (own,) = [x for x in chart['series'] if x['name'] == 'PROMP-TayPO-2']
  for i, iteration in enumerate(dict.fromkeys(x['iteration'] for x in rows)):
    at = [x for x in rows if x['iteration'] == iteration]
    mean = np.mean([float(x['return_mean']) for x in at])
    assert own['y'][i] == pytest.approx(mean, rel=1e-4)
  # The table, and what made the runs.
  assert '<th>after adaptation</th>' in text and '&quot;jax&quot;' in text


def _rounded(text):
  return [
    [f'{float(x):.6g}' if _is_number(x) else x for x in line.split(',')]
    for line in text.splitlines()
  ]


def _is_number(text):
  try:
    float(text)
  except ValueError:
    return False
  return True


def test_says_what_made_it(tmp_path, runs, monkeypatch):
  here = tmp_path / 'here'
  here.mkdir()
  monkeypatch.chdir(here)
  arguments = [f'--logdir={here}/out', '--seeds=1,2']
  monkeypatch.setattr(sys, 'argv', ['compare', *arguments])
  entry = {'command': 'some command', 'versions': {'jax': '0'}}
  for run, command in zip(
    runs[:2], ('some command', f'some {here}/command'), strict=True
  ):
    (run.directory / 'made_by.json').write_text(
      json.dumps([{**entry, 'command': command}])
    )
  _write(tmp_path, runs)
  origin = json.loads((tmp_path / 'versions.json').read_text())
  assert origin['report']['command'].endswith(' --logdir=out --seeds=1,2')
  assert origin['report']['versions']['python'].startswith('3.')
  assert origin['runs'] == [
    {
      **entry,
      'runs': ['navigation_2d/promp/seed_0', 'navigation_2d/promp/seed_1'],
    }
  ]
  assert 'tabular_mdp/promp/seed_0' in origin['made_elsewhere']


def test_nothing_to_report(tmp_path):
  with pytest.raises(ValueError, match='no run in .* has an evaluation yet'):
    _write(tmp_path, [])
