"""Tables and figures of a comparison."""

import dataclasses
import json
import sys

import pytest

from acme_metarl.launchers.comparison import (
  curve_figure,
  report,
  stored_runs,
)
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import plotting, tables

_SETTINGS = report.Settings('promp', num_final=1, confidence=0.95)


def _run(output, label, seed, returns, environment='navigation_2d'):
  config = run_config.RunConfig(environment=environment, seed=seed)
  algorithm = dataclasses.replace(config.agent.algorithm, num_iterations=20)
  agent = dataclasses.replace(config.agent, algorithm=algorithm)
  run = stored_runs.Run(
    label,
    dataclasses.replace(config, agent=agent),
    output / 'runs' / environment / label / f'seed_{seed}',
  )
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


def test_writes_everything(tmp_path, runs):
  text = report.write(tmp_path, runs, _SETTINGS)
  assert text == (tmp_path / 'final_returns.md').read_text()
  lines = [
    ' '.join(line.replace('|', ' ').split()) for line in text.splitlines()
  ]
  # Means of 2 and 4, at standard error 1.
  assert (
    'PROMP 2 20 2.000 [-10.71, 14.71] 3.000 [-9.706, 15.71]'
    ' 1.500 [-4.853, 7.853]' in lines
  )
  (maml,) = [line for line in lines if line.startswith('TRPO-MAML, max kl 0.1')]
  assert maml.startswith('TRPO-MAML, max kl 0.1 2 10 (!) 9.500 ')
  assert 'PROMP 1 0 (!) 4.000 5.000' in lines
  assert 'Not evaluated yet: navigation_2d/trpo_maml+max_kl=0.1/seed_2' in text
  assert '(!) Some of the seeds have not come to their end' in text

  curves = tables.read_csv(tmp_path / 'curves.csv')
  assert len(curves) == 2 * (3 + 3 + 3 + 2 + 1)
  finals = tables.read_csv(tmp_path / 'final_returns.csv')
  assert [float(row['final_return_mean']) for row in finals] == [10.5, 3, 5]
  assert finals[2]['final_return_low'] == ''
  for environment in ('navigation_2d', 'tabular_mdp'):
    assert (tmp_path / f'{environment}.png').stat().st_size > 5000


def test_says_what_made_it(tmp_path, runs, monkeypatch):
  here = tmp_path / 'here'
  here.mkdir()
  monkeypatch.chdir(here)
  monkeypatch.setattr(sys, 'argv', ['x', f'--output={here}/out', '--seeds=1,2'])
  entry = {'command': 'some command', 'versions': {'jax': '0'}}
  for run, command in zip(
    runs[:2], ('some command', f'some {here}/command'), strict=True
  ):
    (run.directory / 'made_by.json').write_text(
      json.dumps([{**entry, 'command': command}])
    )
  report.write(tmp_path, runs, _SETTINGS)
  origin = json.loads((tmp_path / 'versions.json').read_text())
  assert origin['report']['command'] == (
    'python -m acme_metarl.launchers.compare --output=out --seeds=1,2'
  )
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
    report.write(tmp_path, [], _SETTINGS)


def test_presets_look_the_same_in_every_figure():
  alone = curve_figure.looks(['promp_taypo2'])
  labels = ['promp', 'promp+reuse=2', 'promp_taypo2', 'promp+reuse=4']
  among = curve_figure.looks(labels)
  assert alone['promp_taypo2'] == among['promp_taypo2']
  assert len({look.color for look in among.values()}) == 4
  assert among['promp+reuse=4'].label == 'PROMP, reuse 4'


def test_many_variants_can_be_told_apart():
  labels = ['promp', *(f'promp+reuse={i}' for i in range(12))]
  found = curve_figure.looks(labels).values()
  assert len({(look.color, look.linestyle) for look in found}) == 13
  assert all(isinstance(look, plotting.Style) for look in found)
