"""`python -m acme_metarl.launchers.compare`, and results that it made."""

import json
import os
import pathlib
import shlex
import subprocess
import sys

import pytest

from acme_metarl.launchers.runs import tables

_ROOT = pathlib.Path(__file__).parents[2]
_COMMITTED = _ROOT / 'launchers' / 'results' / 'compare_smoke'

# Several commands in one process, whose imports take longer than they.
_SCRIPT = """
import contextlib, io, json, sys
from absl.testing import flagsaver
from acme_metarl.launchers import compare, config_flags, run_flags

for arguments in json.loads(sys.argv[1]):
  sys.argv = ['compare', *arguments]
  rest, overrides = config_flags.split(sys.argv)
  out, code = io.StringIO(), 0
  with flagsaver.flagsaver(), contextlib.redirect_stdout(out):
    run_flags.FLAGS.unparse_flags()
    try:
      run_flags.main('compare', compare.run, run_flags.FLAGS(rest), overrides)
    except SystemExit as error:
      code = error.code
  print(json.dumps([code, out.getvalue()]), flush=True)
"""


def _compare(cwd, cache, *commands):
  """Exit codes, or messages on failure, and what was printed."""
  process = subprocess.run(
    [sys.executable, '-c', _SCRIPT, json.dumps(commands)],
    cwd=cwd,
    stdout=subprocess.PIPE,
    text=True,
    check=True,
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'JAX_COMPILATION_CACHE_DIR': cache,
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.2',
      'PYTHONPATH': str(_ROOT),
      # Compiles in half the time; the programs are tiny.
      'XLA_FLAGS': '--xla_backend_optimization_level=0',
    },
  )
  return [json.loads(line) for line in process.stdout.splitlines()]


def _committed_command():
  versions = json.loads((_COMMITTED / 'versions.json').read_text())
  (made_by,) = versions['runs']
  python, m, module, *arguments = shlex.split(made_by['command'])
  assert (python, m) == ('python', '-m')
  assert module == 'acme_metarl.launchers.compare'
  return arguments


def test_regenerates_committed_results(tmp_path, compilation_cache):
  whole = _committed_command()
  begun = [*whole, '--algorithms=promp_taypo2', '--num_iterations=2']
  report = ['--output=results/compare_smoke', '--only_report']
  first, second, again, only, shorter, other = _compare(
    tmp_path,
    compilation_cache,
    begun,
    whole,  # Goes on with what has begun, and adds an algorithm.
    whole,
    [*report, '--algorithms=promp_taypo2', '--seeds=1'],
    [*report, '--num_iterations=2'],
    [*whole, '--num_tasks=5'],
  )
  output = tmp_path / 'results' / 'compare_smoke'
  assert [code for code, _ in (first, second, again, only, shorter)] == [0] * 5
  assert 'PROMP-TayPO-2' in first[1] and 'VPG-MAML' not in first[1]
  assert 'VPG-MAML, meta gradient linearised' in second[1]
  assert second == again
  # Finished runs were not repeated.
  for name, count in (
    ('promp_taypo2', 2),
    ('vpg_maml+meta_gradient=linearised', 1),
  ):
    log = output / 'runs' / 'navigation_2d' / name / 'seed_0' / 'output.log'
    assert log.read_text().count('Training in') == count
  # A part of it: one of the seeds, the first two of the iterations.
  assert only[1].count('PROMP-TayPO-2 | 1 ') == 1
  rows = tables.read_csv(output / 'curves.csv')
  assert max(int(row['iteration']) for row in rows) == 2
  assert 'agent.algorithm.num_tasks is 4 there, not 5' in other[0]

  assert _compare(tmp_path, compilation_cache, report)[0][0] == 0
  _assert_same_points(output / 'curves.csv', _COMMITTED / 'curves.csv')
  for name in ('final_returns.csv', 'final_returns.md', 'navigation_2d.png'):
    assert (output / name).stat().st_size > 0


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


def test_mistakes_end_at_once_with_one_line(tmp_path, compilation_cache):
  (tmp_path / 'file').touch()
  mistakes = {
    '--algorithms=promp,prompt': 'promp_taypo2, promp_taypo3, vpg_maml',
    '--algorithms=': '--algorithms: got none',
    '--algorithms=promp,promp': 'promp is there twice',
    '--algorithms=promp:reuze=2': 'no such field',
    '--algorithms=promp:reuse=many': "reuse: got 'many', need an integer",
    '--algorithms=promp:num_outer_epochs=x': 'need int',
    '--environments=navigation_3d': 'navigation_2d, tabular_mdp',
    '--environments=navigation_2d,navigation_2d': 'is there twice',
    '--environment_options={"size": 3}': 'no option size',
    '--seeds=0,0': '--seeds: 0 is there twice',
    '--seeds=x': 'need integers such as 0,1,2',
    '--seeds=-1': 'need no negative number',
    '--num_seeds=0': '--num_seeds: got 0',
    '--seed=3': 'use --seeds',
    '--resume': 'begun runs always go on',
    '--eval_every=0': '--eval_every: got 0',
    '--num_parallel=0': '--num_parallel: got 0',
    '--confidence=1': 'need a number in (0, 1)',
    '--reference=vpg_maml': "'vpg_maml' is not among the algorithms",
    '--config.foo=1': 'no such field',
    '--output=file/below': 'cannot write to the output directory',
    '--only_report': 'there is no such run',
  }
  found = _compare(
    tmp_path, compilation_cache, *[[mistake] for mistake in mistakes]
  )
  for (message, out), (mistake, expected) in zip(
    found, mistakes.items(), strict=True
  ):
    assert isinstance(message, str) and expected in message, (mistake, message)
    assert message.startswith('compare: ') and '\n' not in message
    assert not out
  assert not list(tmp_path.glob('results/compare/*'))
