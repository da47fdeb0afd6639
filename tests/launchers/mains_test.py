"""Every main: what `--help` says, and that it defines no global flag."""

import importlib
import pathlib

from absl import flags
import pytest

from acme_metarl import launchers

_NAMES = sorted(
  path.stem
  for path in pathlib.Path(launchers.__file__).parent.glob('*.py')
  if not path.stem.startswith('_')
)
# Those that need no agent.
_STUDIES = (
  'intrinsic_reward',
  'meta_gradient_bias',
  'n_sample_objectives',
  'prisoners_dilemma',
  'tabular_derivatives',
)


@pytest.mark.parametrize('name', _NAMES)
def test_help_says_what_it_does_and_describes_every_flag(name, capsys):
  launcher = importlib.import_module(f'acme_metarl.launchers.{name}')
  before = set(flags.FLAGS)
  with pytest.raises(SystemExit) as info:
    launcher.main(['--help'])
  assert not info.value.code
  # Absl's own may be asked for by others; ours are nobody else's.
  modules = [
    str(flags.FLAGS.find_module_defining_flag(x))
    for x in set(flags.FLAGS) - before
  ]
  assert not [x for x in modules if x.startswith('acme_metarl')]
  doc, _, text = capsys.readouterr().out.partition('\n\nFlags:\n')
  assert doc == launcher.__doc__.strip()
  described = text.split('\n  --')[1:]
  assert described
  for one in described:
    flag, _, description = one.partition(':')
    assert description.split()[0] != '(default:', flag


@pytest.mark.parametrize('name', [*_STUDIES, 'benchmark_evaluators', 'compare'])
def test_as_a_process_a_mistake_is_all_that_is_said(
  start_launcher, tmp_path, name
):
  process = start_launcher(name, 'stray', cwd=tmp_path)
  out, err = process.communicate()
  assert process.returncode == 1
  assert err == f"{name}: unexpected argument 'stray'; use flags only.\n"
  assert not out and not list(tmp_path.iterdir())
