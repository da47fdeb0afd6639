"""What the README shows works as shown."""

import pathlib
import re

import jax
import numpy as np
import pytest

import acme_metarl
from acme_metarl import presets
from acme_metarl.launchers.runs import checkpointing, device_trainer
from acme_metarl.launchers.runs import config as run_config

_ROOT = pathlib.Path(__file__).parent.parent
_README = (_ROOT / 'README.md').read_text(encoding='utf-8')
_LOAD, _CHECK = re.findall(r'```python\n(.*?)```', _README, re.DOTALL)


def test_it_is_short():
  assert len(_README.splitlines()) <= 100
  assert len(_LOAD.splitlines()) == 3


def test_evaluator_is_right(capsys):
  namespace = {}
  exec(compile(_CHECK, 'README.md', 'exec'), namespace)
  assert 'off-policy' in capsys.readouterr().out
  assert namespace['check'].unbiased_orders() == (2, 2)


@pytest.fixture(scope='module')
def logdir(tmp_path_factory):
  """A run that has not trained yet."""
  directory = tmp_path_factory.mktemp('run')
  config = run_config.RunConfig(
    algorithm=presets.make(
      'promp_taypo2', num_tasks=1, num_rollouts=2, horizon=3, hidden_sizes=(4,)
    )
  )
  trainer = device_trainer.Trainer([config], jax.local_devices()[:1])
  ((arrays, metadata),) = trainer.save()
  checkpointing.Checkpointer(directory / run_config.CHECKPOINTS).save(
    0, arrays, {**metadata, 'iteration': 0, 'config': config.to_dict()}
  )
  return directory


def test_three_lines_adapt_and_act(logdir):
  code = re.sub(r"'results/.*?'", repr(str(logdir)), _LOAD)
  rng = np.random.default_rng(0)
  namespace = {
    'acme_metarl': acme_metarl,
    'rollouts': [
      (rng.normal(size=(4, 2)), rng.normal(size=(3, 2)), rng.normal(size=3))
      for _ in range(2)
    ],
    'observation': np.zeros(2, np.float32),
    'key': jax.random.PRNGKey(0),
  }
  exec(compile(code, 'README.md', 'exec'), namespace)
  assert namespace['action'].shape == (2,)
  before, after = (
    np.concatenate([x.ravel() for x in jax.tree_util.tree_leaves(params)])
    for params in (namespace['run'].params, namespace['adapted'])
  )
  assert np.abs(after - before).max() > 0


def test_badges_are_true():
  setup = (_ROOT / 'setup.py').read_text(encoding='utf-8')
  versions = re.findall(r'Python :: (3\.\d+)', setup)
  assert f'![Python {" | ".join(versions)}]' in _README
  assert f'python-{"_|_".join(versions)}-blue' in _README
  assert f'version-{acme_metarl.__version__}-blue' in _README
  assert "license='Apache-2.0'" in setup
  citation = (_ROOT / 'CITATION.cff').read_text(encoding='utf-8')
  assert f'version: {acme_metarl.__version__}\n' in citation
