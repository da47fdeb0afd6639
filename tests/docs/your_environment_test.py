"""What the page on environments says was measured, against what is stored."""

import csv
import pathlib
import re

_ROOT = pathlib.Path(__file__).parents[2]
_PAGE = _ROOT / 'docs' / 'your_environment.md'
_STORED = _ROOT / 'launchers' / 'results' / 'metaworld'


def _rows(name):
  with open(_STORED / name, newline='') as file:
    return list(csv.DictReader(file))


def _train(algorithm, num_inner_steps, name):
  """A column of the runs on reach: by iteration."""
  return [
    float(x[name])
    for x in _rows('curves.csv')
    if (x['benchmark'], x['algorithm'], x['split'], x['num_inner_steps_taken'])
    == ('reach-v3', algorithm, 'train', num_inner_steps)
  ]


def test_the_table_of_meta_world_is_that_of_the_curves():
  page = _PAGE.read_text(encoding='utf-8')
  rows = re.findall(r'^\| (\d00,000) \|(.*)\|$', page, re.MULTILINE)
  told = [
    [tuple(map(float, cell.split('→'))) for cell in cells.split('|')]
    for _, cells in rows
  ]
  assert [float(x.replace(',', '')) for x, _ in rows] == _train(
    'promp', '0', 'environment_steps'
  )
  algorithms = 'promp trpo_maml recommended promp_causal+max_epoch_kl=0.5'
  for column, algorithm in zip(
    zip(*told, strict=True), algorithms.split(), strict=True
  ):
    stored = zip(
      *(_train(algorithm, x, 'success_ever') for x in '01'), strict=True
    )
    assert list(column) == list(stored)


def test_what_is_said_of_returns():
  page = ' '.join(_PAGE.read_text(encoding='utf-8').split())
  last = [
    f'{_train(algorithm, "1", "return")[-1]:,.0f}'
    for algorithm in ('recommended', 'trpo_maml', 'promp')
  ]
  assert (
    "{} at the end beside TRPO-MAML's {} and PROMP's {}".format(*last) in page
  )


def test_what_is_said_of_the_protocol():
  page = ' '.join(_PAGE.read_text(encoding='utf-8').split())
  names = {'promp': 'PROMP', 'trpo_maml': 'TRPO-MAML'}
  for row in _rows('protocol.csv'):
    name = names.get(row['algorithm'], row['algorithm'])
    assert (
      f'| {row["meta_batch_size"]} | {row["num_evals"]} | {name} | '
      f'{float(row["success"]):.2f} | {float(row["return"]):,.0f} |'
    ) in page
