"""Whatever is imported first, everything can be imported."""

import importlib.util
import subprocess
import sys

import pytest


def _run(code: str) -> str:
  return subprocess.run(
    [sys.executable, '-c', code],
    capture_output=True,
    text=True,
    check=True,
    timeout=120,
  ).stdout


_USE = (
  'd = distrax.Categorical(logits=jax.numpy.zeros(4));'
  'assert abs(float(d.entropy()) - 1.3863) < 1e-3;'
  "print('used')"
)

_NEEDS_TENSORFLOW = pytest.mark.skipif(
  importlib.util.find_spec('reverb') is None,
  reason='the agent stack is not installed here',
)


@_NEEDS_TENSORFLOW
@pytest.mark.parametrize(
  'imports',
  [
    'import distrax, rlax, tensorflow, acme, reverb, acme_metarl.agents',
    'import tensorflow, acme_metarl.agents, distrax, rlax, acme, reverb',
    # The hook is in place before TensorFlow is loaded.
    'import acme_metarl.agents, reverb, distrax, rlax',
  ],
)
def test_both_orders_work(imports):
  out = _run(
    f'{imports}\nimport jax, sys\n{_USE}\n'
    'import tensorflow as tf\n'
    "assert sys.modules['tensorflow'] is tf\n"
    'assert tf.constant(1).numpy() == 1'
  )
  assert out.strip().endswith('used')


@pytest.mark.parametrize(
  'imports',
  [
    'from acme_metarl.meta import policies',
    'from acme_metarl import presets; presets.names()',
    'from acme_metarl.studies import n_sample_toy',
    'from acme_metarl.launchers.runs import device_trainer',
    pytest.param(
      'from acme_metarl.agents import maml; maml.MAMLBuilder',
      marks=_NEEDS_TENSORFLOW,
    ),
  ],
)
def test_each_package_that_needs_distrax_brings_its_own_hook(imports):
  out = _run(
    'import sys\n'
    f'{imports}\n'
    "assert 'acme_metarl.import_order' in sys.modules\n"
    f'import distrax, jax\n{_USE}'
  )
  assert out.strip() == 'used'


@_NEEDS_TENSORFLOW
def test_what_needs_no_tensorflow_does_not_load_it():
  out = _run(
    'import jax, sys\n'
    'from acme_metarl.launchers import train_on_device\n'
    'from acme_metarl.launchers.runs import device_trainer\n'
    f'import distrax\n{_USE}\n'
    "assert 'tensorflow' not in sys.modules"
  )
  assert out.strip() == 'used'


@_NEEDS_TENSORFLOW
def test_the_hook_is_needed():
  """Fails once the pins no longer need the hook: delete it then."""
  code = (
    'import tensorflow\n'
    'try:\n'
    '  import distrax\n'
    'except ImportError:\n'
    "  print('refused')"
  )
  assert _run(code).strip().endswith('refused')


def test_importing_the_package_installs_no_hook():
  out = _run(
    "import acme_metarl, sys\nprint('acme_metarl.import_order' in sys.modules)"
  )
  assert out.strip() == 'False'


def test_an_import_error_without_tensorflow_is_passed_on():
  code = (
    'import sys, types\n'
    'from acme_metarl import import_order\n'
    'def broken(module):\n'
    "  raise ImportError('its own reason')\n"
    'try:\n'
    "  import_order._where_refused(broken, types.ModuleType('m'))\n"
    'except ImportError as e:\n'
    '  print(e)'
  )
  assert _run(code).strip() == 'its own reason'
