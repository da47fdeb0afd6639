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
  'κ = 0': 'recommended+evaluator_options.causal_lambda=0',
  'adaptive κ': 'recommended+evaluator_options.causal_lambda=adaptive',
  'steps of 1e-3': 'recommended+outer_learning_rate=.001',
  'PROMP': 'promp',
  'TRPO-MAML': 'trpo_maml',
}
# Iterations that ends are compared at.
_ENDS = {'half_cheetah_direction': 60, 'ant_goal': 20}


def _stored(column='return_mean', folders=('figure_2', 'robots')):
  """A column after adaptation by environment, seed, algorithm and iteration."""
  returns = {}
  for name in folders:
    path = _RESULTS / name / 'curves.csv'
    with path.open(newline='', encoding='utf-8') as file:
      for row in csv.DictReader(file):
        if row['num_inner_steps_taken'] == '1':
          run = row['environment'], row['seed'], row['algorithm']
          returns[(*run, int(row['iteration']))] = float(row[column])
  return returns


def test_the_table_of_twenty_halved_steps_is_that_of_the_curves():
  text = _PAGE.read_text(encoding='utf-8')
  section = text.partition('### With twenty halved steps')[2].split('###')[0]
  rows = re.findall(r'^\| ([^|]+): ([^|]+) \|(.+)\|$', section, re.MULTILINE)
  assert len(rows) == 23
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


def test_the_page_on_estimators_has_the_ends_of_these_curves():
  page = _PAGE.with_name('which_estimator.md').read_text(encoding='utf-8')
  head, _, rest = page.partition('| | `recommended` |')
  assert head and rest
  stored = _stored()
  algorithms = ('recommended', 'promp', 'trpo_maml', 'promp_taypo2')
  rows = re.findall(r'^\| ([a-z][^|]+) \|(.+)\|$', rest, re.MULTILINE)[:4]
  assert len(rows) == 4
  for label, cells in rows:
    seeds = '01' if label == 'half-cheetah' else '0'
    environment, _ = (
      _ENVIRONMENTS.get(label) or _ENVIRONMENTS[f'{label}, seed 0']
    )
    for algorithm, cell in zip(algorithms, cells.split('|'), strict=True):
      told = cell.replace('*', '').replace('−', '-').split(',')
      for seed, value in zip(seeds, told, strict=True):
        run = environment, seed, algorithm, _ENDS.get(environment, 50)
        assert abs(float(value) - stored[run]) <= 0.5, (run, told)


def test_differences_have_the_intervals_of_the_curves():
  text = _PAGE.read_text(encoding='utf-8').partition('| ahead of |')[2]
  rows = re.findall(r'^\| ([a-z][^|]+) \|(.+)\|$', text, re.MULTILINE)[:4]
  assert len(rows) == 4
  means, errors = _stored(), _stored('return_stderr')
  for label, cells in rows:
    environment, _ = _ENVIRONMENTS[label.replace(', both seeds', ', seed 0')]
    seeds = '01' if 'both' in label else '0'
    told = re.findall(r'(\S+) ± (\d+)', cells.replace('−', '-'))
    for algorithm, numbers in zip(
      ('promp', 'trpo_maml', 'promp_taypo2'), told, strict=True
    ):
      pairs = [
        [
          (environment, seed, x, _ENDS.get(environment, 50))
          for x in ('recommended', algorithm)
        ]
        for seed in seeds
      ]
      difference = sum(means[x] - means[y] for x, y in pairs) / len(pairs)
      variance = sum(errors[x] ** 2 for pair in pairs for x in pair)
      interval = 1.96 * variance**0.5 / len(pairs)
      assert abs(float(numbers[0]) - difference) <= 0.5, (label, algorithm)
      assert abs(float(numbers[1]) - interval) <= 0.5, (label, algorithm)


def test_the_table_of_other_robots_is_that_of_the_curves():
  text = _PAGE.read_text(encoding='utf-8')
  section = text.partition('### Random parameters')[2].split('\n## ')[0]
  folders = {
    'hopper': 'hopper_params',
    'walker': 'walker2d_params',
    'humanoid': 'humanoid_direction',
  }
  rows = dict(re.findall(r'^\| ([a-z]+) \|(.+)\|$', section, re.MULTILINE))
  del rows['iteration']
  assert rows.keys() == folders.keys()
  for label, cells in rows.items():
    path = _RESULTS / 'parameters' / folders[label] / 'curves.csv'
    with path.open(newline='', encoding='utf-8') as file:
      stored = [
        float(row['return_mean'])
        for row in csv.DictReader(file)
        if row['num_inner_steps_taken'] == '1'
      ]
    for told, value in zip(cells.split('|'), stored, strict=True):
      assert abs(float(told) - value) <= 0.5, (label, told)


def test_no_seed_breaks_down_behind_the_bound():
  path = _RESULTS / 'epoch_bound' / 'curves.csv'
  with path.open(newline='', encoding='utf-8') as file:
    rows = [
      row for row in csv.DictReader(file) if row['num_inner_steps_taken'] == '3'
    ]
  late = [row for row in rows if int(row['iteration']) >= 130]
  returns = [float(row['return_mean']) for row in late]
  number = {8: 'eight', 10: 'ten'}[len({row['seed'] for row in late})]
  assert max(int(row['iteration']) for row in late) == 300
  told = f'between {min(returns):.2f} and {max(returns):.2f}'
  ends = [
    float(row['return_mean']) for row in late if int(row['iteration']) >= 260
  ]
  told += f', and they end at {sum(ends) / len(ends):.2f}'
  page = ' '.join(_PAGE.read_text(encoding='utf-8').split())
  assert f'None of the {number} seeds' in page and told in page


def test_causal_lambda_in_navigation_has_the_means_of_the_curves():
  """Over five seeds; κ that sets itself is κ = .8 to the last digit."""
  stored = _stored(folders=('causal_lambda/navigation_kappa', 'recommended'))
  option = 'recommended+evaluator_options.causal_lambda='
  labels = {
    '.3': f'{option}.3',
    '.8': 'recommended',
    'adaptive': f'{option}adaptive',
  }
  page = _PAGE.read_text(encoding='utf-8').partition('| κ | iteration 5 |')[2]
  rows = re.findall(r'^\| (\.3|\.8|adaptive) \|(.+)\|$', page, re.MULTILINE)[:3]
  assert [name for name, _ in rows] == list(labels)
  for name, cells in rows:
    for iteration, told in zip(
      (5, 10, 20, 30, 40, 50), cells.split('|'), strict=False
    ):
      if told.strip():
        runs = [
          ('navigation_2d', seed, labels[name], iteration) for seed in '01234'
        ]
        mean = sum(stored[run] for run in runs) / 5
        assert f'{mean:.2f}' == told.strip()
  adaptive = {
    run: x for run, x in stored.items() if run[2] == labels['adaptive']
  }
  assert len(adaptive) == 5 * 5
  for (*run, _, iteration), x in adaptive.items():
    assert x == stored[(*run, 'recommended', iteration)]
