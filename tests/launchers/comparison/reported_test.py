"""What environments report, in the tables of a comparison."""

import json
import re

import numpy as np
import pytest

from acme_metarl.launchers.comparison import (
  curve_figure,
  report,
  stored_runs,
)
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import outputs, tables
from acme_metarl.launchers.runs.played import Played

_SETTINGS = report.Settings('promp', num_final=1, confidence=0.95)
_CLASSES = ('left', 'right')


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
  """What figures are made of; drawing takes longer than all else here."""
  found = {}
  monkeypatch.setattr(curve_figure, 'draw', lambda *_: None)
  monkeypatch.setattr(
    curve_figure,
    'draw_successes',
    lambda path, environment, panels: found.update({path.name: panels}),
  )
  return found


def _run(output, label, seed, evaluations, environment='doors', **where):
  """A run of two tasks, stored by what stores runs.

  Args:
    output: directory of the comparison.
    label: of the algorithm.
    seed: of the run.
    evaluations: what was reported, by name [2 tasks, before and after].
    environment: its name.
    **where: `classes` of the tasks.
  """
  config = run_config.RunConfig(preset=label, seed=seed)
  config = config.replace_algorithm(num_iterations=len(evaluations) - 1)
  run = stored_runs.Run(environment, label, config, output)
  run.directory.mkdir(parents=True)
  outputs.write_json(run.directory / 'config.json', config.to_dict())
  log = tables.RunLog(run.directory, None, use_tensorboard=False)
  for i, scalars in enumerate(evaluations):
    returns = np.array([[[i], [i]], [[i + 10], [i + 20]]], float)
    played = Played(
      returns,
      {name: np.array(table, float) for name, table in scalars.items()},
      where.get('classes', _CLASSES),
    )
    for label, rows in (
      ('evaluation', tables.evaluation_rows),
      ('classes', tables.class_rows),
    ):
      for row in rows(played, i, 100 * i, 1.0):
        log.write(label, row)
  log.close()
  return run


def _successes(*after, before=0.0):
  """Evaluations of which the right task has these, the left one half."""
  return [
    {
      'success_ever': [[before, x / 2], [before, x]],
      'distance_mean': [[7, 8], [7, 9]],
    }
    for x in after
  ]


@pytest.fixture
def runs(tmp_path):
  """Not all seeds report, nor do all algorithms and environments."""
  return [
    _run(tmp_path, 'promp', 0, _successes(0, 0.5, 1)),
    _run(tmp_path, 'promp', 1, _successes(0, 0, 0.5, before=0.25)),
    _run(tmp_path, 'promp', 2, [{}] * 3),
    _run(tmp_path, 'trpo_maml', 0, [{}] * 3, classes=()),
    _run(tmp_path, 'promp', 0, [{}] * 3, environment='elsewhere'),
  ]


def _write(output, runs):
  return report.write(output, report.points_of_runs(runs), _SETTINGS)


def _lines(text):
  return [
    ' '.join(line.replace('|', ' ').split()) for line in text.splitlines()
  ]


def _finals(output):
  return {
    (x['environment'], x['algorithm'], x['scalar'], x['task_class']): x
    for x in tables.read_csv(output / 'final_scalars.csv')
  }


def test_final_successes_are_of_the_seeds_that_have_them(tmp_path, runs):
  lines = _lines(_write(tmp_path, runs))
  at = lines.index('## doors: success_ever')
  assert lines[at + 2 : at + 10] == [
    'algorithm tasks seeds iterations before adaptation after adaptation'
    ' whole run difference',
    lines[at + 3],
    'TRPO-MAML all 0',
    'PROMP all 2 2 0.125 (0.000, 0.250) 0.562 (0.750, 0.375)'
    ' 0.234 (0.375, 0.094)',
    'TRPO-MAML left 0',
    'PROMP left 2 2 0.125 (0.000, 0.250) 0.375 (0.500, 0.250)'
    ' 0.156 (0.250, 0.062)',
    'TRPO-MAML right 0',
    'PROMP right 2 2 0.125 (0.000, 0.250) 0.750 (1.000, 0.500)'
    ' 0.312 (0.500, 0.125)',
  ]
  assert '`success_ever`: Share of rollouts that succeeded at' in lines[-1]
  # The returns are those of all seeds; the rest is in a table.
  assert 'PROMP 3 2 7.000' in ' '.join(lines)
  assert not any('elsewhere: ' in x or 'distance' in x for x in lines)


def test_figures_are_made_of_them(tmp_path, runs, drawn):
  _write(tmp_path, runs)
  (panels,) = drawn.values()
  assert list(drawn) == ['doors_success.png']
  assert list(panels) == ['', 'left', 'right']
  for name, end in (('', 0.75), ('left', 0.5), ('right', 1)):
    # Who reports nothing is there, so that looks stay the same.
    assert list(panels[name]) == ['trpo_maml', 'promp']
    first, _ = panels[name]['promp']
    np.testing.assert_array_equal(first.after, [0, end / 2, end])
    assert not panels[name]['trpo_maml']


def test_tables_have_all_that_was_reported(tmp_path, runs):
  _write(tmp_path, runs)
  curves = tables.read_csv(tmp_path / 'curves.csv')
  assert list(curves[0])[-2:] == ['success_ever', 'distance_mean']
  own = [x for x in curves if x['algorithm'] == 'promp' and x['seed'] == '0']
  told = [x['success_ever'] for x in own]
  assert told == ['0.0', '0.0', '0.0', '0.375', '0.0', '0.75'] + [''] * 6
  classes = tables.read_csv(tmp_path / 'curves_classes.csv')
  assert list(classes[0])[2:6] == [
    'seed',
    'task_class',
    'num_tasks',
    'iteration',
  ]
  assert [x['success_ever'] for x in classes[10:12]] == ['0.0', '1.0']
  finals = _finals(tmp_path)
  own = finals['doors', 'promp', 'distance_mean', '']
  assert float(own['before_adaptation_mean']) == 7
  assert float(own['final_mean']) == 8.5
  assert own['num_seeds'] == '2'
  assert finals['doors', 'trpo_maml', 'distance_mean', '']['final_mean'] == ''
  # Classes have returns too; those of all tasks are in the other table.
  own = finals['elsewhere', 'promp', 'return_mean', 'right']
  assert (float(own['before_adaptation_mean']), float(own['final_mean'])) == (
    12,
    22,
  )
  assert ('doors', 'promp', 'return_mean', '') not in finals


def test_four_seeds_have_intervals(tmp_path):
  lines = _lines(
    _write(
      tmp_path,
      [
        _run(tmp_path, 'promp', i, _successes(0, (i + 1) / 4), classes=())
        for i in range(4)
      ],
    )
  )
  at = lines.index('## doors: success_ever')
  # Three quarters of 1/4 … 1; standard error .121, and 3.182 of it each way.
  assert '0.469 [0.084, 0.854]' in lines[at + 4]
  assert 'tasks' not in lines[at + 2] and 'middle half' in lines[at + 2]


def test_tables_are_enough_to_write_them_again(tmp_path, runs):
  first = _write(tmp_path, runs)
  kinds = ('*.csv', '*.md')
  before = {x: x.read_bytes() for kind in kinds for x in tmp_path.glob(kind)}
  assert len(before) == 5
  points = report.points_of_tables(tmp_path)
  assert report.write(tmp_path, points, _SETTINGS) == first
  assert {path: path.read_bytes() for path in before} == before
  # An earlier report's would be taken for those of this one.
  plain = _run(tmp_path, 'trpo_maml', 5, [{}] * 2, classes=())
  _write(tmp_path, [plain])
  assert not (tmp_path / 'curves_classes.csv').exists()
  assert not (tmp_path / 'final_scalars.csv').exists()


def test_runs_that_an_older_version_began(tmp_path, drawn):
  # Its table has no columns for what came later; that of classes is new.
  run = _run(tmp_path, 'promp', 0, [{}, *_successes(0.5, 1)], classes=_CLASSES)
  (run.directory / tables.CLASSES_CSV).unlink()
  log = tables.CSVLogger(run.directory / tables.CLASSES_CSV)
  played = Played(
    np.zeros((2, 2, 1)), {'success_ever': np.eye(2)}, task_classes=_CLASSES
  )
  for row in tables.class_rows(played, 2, 200, 1.0):
    log.write(row)
  log.close()
  lines = _lines(_write(tmp_path, [run]))
  at = lines.index('## doors: success_ever')
  assert lines[at + 4 : at + 6] == [
    'PROMP left 1 2 1.000 0.000',
    'PROMP right 1 2 0.000 1.000',
  ]
  assert list(drawn['doors_success.png']) == ['left', 'right']
  assert 'success_ever after' not in (tmp_path / 'report.html').read_text()
  assert 'success' not in (tmp_path / 'curves.csv').read_text()


def test_without_successes_means_over_steps_are_shown(tmp_path, drawn):
  evaluation = {
    f'speed_{how}': [[1, i], [1, i]] for i, how in enumerate(('ever', 'mean'))
  }
  run = _run(tmp_path, 'promp', 0, [evaluation] * 2, classes=())
  lines = _lines(_write(tmp_path, [run]))
  sections = [x for x in lines if x.startswith('#')]
  assert sections == ['## doors', '## doors: speed_mean']
  assert '`…_mean`: mean over the steps' in lines[-1]
  assert len(_finals(tmp_path)) == 2
  assert not drawn


def test_the_page_has_the_same_numbers(tmp_path, runs):
  _write(tmp_path, runs)
  page = (tmp_path / 'report.html').read_text(encoding='utf-8')
  assert '<h2>doors: success_ever</h2>' in page
  assert '<td>0.562 (0.750, 0.375)</td>' in page
  data = re.search(r'id="data">(.*?)</script>', page).group(1)
  charts = {(x['title'], x['yLabel']): x['series'] for x in json.loads(data)}
  assert len(charts) == 3
  (series,) = charts['doors', 'success_ever after adaptation']
  assert series['name'] == 'PROMP'
  assert series['y'] == [0, 0.1875, 0.5625]
