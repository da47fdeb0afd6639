"""What the page on reproduction says of robots, against what is stored."""

import csv
import pathlib
import re

_ROOT = pathlib.Path(__file__).parents[2]
_PAGE = _ROOT / 'docs' / 'reproduction.md'
_RESULTS = _ROOT / 'launchers' / 'results'
_ENVIRONMENTS = {
  'half-cheetah, seed 0': ('half_cheetah_direction', '0'),
  'half-cheetah, seed 1': ('half_cheetah_direction', '1'),
  'walker': ('walker2d_direction', '0'),
  'ant, directions': ('ant_direction_2d', '0'),
  'ant, goals': ('ant_goal', '0'),
}
_ALGORITHMS = {
  'recommended': 'recommended',
  'κ = 0, else the same': 'promp+num_outer_epochs=20+max_epoch_kl=.04',
  'PROMP': 'promp',
  'TRPO-MAML': 'trpo_maml',
}


def _stored():
  """Returns after adaptation by environment, seed, algorithm and iteration."""
  returns = {}
  for name in ('figure_2', 'robots'):
    path = _RESULTS / name / 'curves.csv'
    with path.open(newline='', encoding='utf-8') as file:
      for row in csv.DictReader(file):
        if row['num_inner_steps_taken'] == '1':
          run = row['environment'], row['seed'], row['algorithm']
          returns[(*run, int(row['iteration']))] = float(row['return_mean'])
  return returns


def test_the_table_of_twenty_halved_steps_is_that_of_the_curves():
  text = _PAGE.read_text(encoding='utf-8')
  section = text.partition('### With twenty halved steps')[2].split('###')[0]
  rows = re.findall(r'^\| ([^|]+): ([^|]+) \|(.+)\|$', section, re.MULTILINE)
  assert len(rows) == 16
  stored = _stored()
  for environment, algorithm, cells in rows:
    run = *_ENVIRONMENTS[environment], _ALGORITHMS[algorithm]
    for number, cell in enumerate(cells.split('|'), 1):
      told = cell.strip().replace('−', '-')
      if told:
        assert abs(float(told) - stored[(*run, 10 * number)]) <= 0.5, (
          run,
          told,
        )
