"""`acme-metarl COMMAND`: the list, one name per thing, papers to cite."""

import importlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

from acme_metarl import launchers, presets
from acme_metarl.launchers import __main__ as commands
from acme_metarl.launchers.runs import citations, entry


@pytest.fixture(autouse=True)
def _restored_argv(monkeypatch):
  monkeypatch.setattr(sys, 'argv', ['acme-metarl'])


def test_every_main_is_listed_with_what_it_does(capsys):
  commands.main([])
  out = capsys.readouterr().out
  names = {
    path.stem
    for path in pathlib.Path(launchers.__file__).parent.glob('[!_]*.py')
  }
  listed = dict(re.findall(r'^  (\w+) +(.*)$', out, re.MULTILINE))
  assert set(listed) == names
  for name in ('train_on_device', 'evaluate', 'cite'):
    module = importlib.import_module(f'acme_metarl.launchers.{name}')
    assert listed[name] == module.__doc__.splitlines()[0]


def test_a_command_runs_as_its_module_does(capsys):
  with pytest.raises(SystemExit) as info:
    commands.main(['tabular_derivatives', '--num_trials=0'])
  assert str(info.value.code).startswith('tabular_derivatives: ')
  with pytest.raises(SystemExit, match="there is no command 'trian'; there"):
    commands.main(['trian'])


def test_old_names_of_flags_work_and_say_so(tmp_path, capsys):
  def refusal(*flags):
    with pytest.raises(SystemExit) as info:
      commands.main(['tabular_derivatives', *flags])
    return str(info.value.code), capsys.readouterr().err

  file = tmp_path / 'file'
  file.write_text('')
  message, said = refusal('--num_trials=1', f'--output={file}')
  assert f"output directory '{file}'" in message
  assert '--output is called --logdir now.' in said
  message, said = refusal('--estimators=dr')
  assert "Unknown evaluator 'dr'" in message
  assert '--estimators is called --evaluators now.' in said


def test_no_old_name_hides_a_flag():
  """The N-sample objective's estimators are no evaluators, and stay."""
  from acme_metarl.launchers import n_sample_objectives

  with pytest.raises(SystemExit, match="Unknown estimator 'dice'"):
    n_sample_objectives.main(['--estimators=dice'])
  assert set(entry._OLD_NAMES.values()).isdisjoint(entry._OLD_NAMES)


def test_papers_of_a_preset(capsys):
  commands.main(['cite', 'promp_taypo2'])
  out = capsys.readouterr().out
  keys = re.findall(r'^@misc\{(\w+),$', out, re.MULTILINE)
  assert keys == [
    'tang2021unifying',
    'tang2020taylor',
    'rothfuss2019promp',
    'finn2017maml',
  ]
  assert 'https://arxiv.org/abs/2106.13125' in out
  # As many braces are closed as opened, entry by entry.
  assert all(x.count('{') == x.count('}') for x in out.split('\n\n'))
  with pytest.raises(SystemExit, match="there is no preset 'maml'; there are"):
    commands.main(['cite', 'maml'])


@pytest.mark.parametrize('name', presets.names())
def test_every_preset_has_papers_of_its_own(name):
  assert name in citations._OF_PRESETS
  assert set(citations._OF_PRESETS[name]) <= set(citations.PAPERS)


@pytest.mark.parametrize('unbuffered', ['', '1'])
@pytest.mark.parametrize('arguments', [[], ['cite', '--help']])
def test_a_reader_may_have_seen_enough(arguments, unbuffered, monkeypatch):
  # What a buffer still holds is written once more when Python ends.
  monkeypatch.setenv('PYTHONUNBUFFERED', unbuffered)
  reading, writing = os.pipe()
  os.close(reading)
  command = [sys.executable, '-m', 'acme_metarl.launchers', *arguments]
  try:
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE)
  finally:
    os.close(writing)
  assert (done.returncode, done.stderr) == (0, b'')
