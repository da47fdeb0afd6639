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


def test_the_table_of_meta_world_is_that_of_the_curves():
  page = _PAGE.read_text(encoding='utf-8')
  cells = re.findall(
    r'^\| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| ([\d,]+) \| ([\d,]+) \|$',
    page,
    re.MULTILINE,
  )
  told = [[float(x.replace(',', '')) for x in row] for row in cells]
  train = [x for x in _rows('curves.csv') if x['split'] == 'train']
  stored = [
    [
      float(before['environment_steps']),
      *(float(x['success_ever']) for x in (before, after)),
      *(round(float(x['return'])) for x in (before, after)),
    ]
    for before, after in zip(train[::2], train[1::2], strict=True)
  ]
  assert told == stored


def test_what_is_said_of_the_test_goals():
  page = ' '.join(_PAGE.read_text(encoding='utf-8').split())
  test = [x for x in _rows('curves.csv') if x['split'] == 'test']
  untrained, trained = (
    [f'{float(x["success_ever"]):.2f}' for x in test[i : i + 2]] for i in (0, 2)
  )
  assert (
    f'{untrained[0]} before and {untrained[1]} after adaptation untrained, '
    f'{trained[0]} and {trained[1]} after 500,000 steps'
  ) in page


def test_what_is_said_of_the_protocol():
  page = ' '.join(_PAGE.read_text(encoding='utf-8').split())
  for row in _rows('protocol.csv'):
    assert (
      f'| {row["meta_batch_size"]} | {row["num_evals"]} | '
      f'{float(row["success"]):.2f} | {float(row["return"]):,.0f} |'
    ) in page
