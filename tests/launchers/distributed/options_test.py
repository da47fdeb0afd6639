import jax
import pytest

from acme_metarl.launchers.distributed import options as options_lib

Device = options_lib.Device


@pytest.mark.parametrize(
  'text, device',
  [
    (None, Device()),
    ('cpu', Device('cpu')),
    ('tpu', Device('tpu')),
    ('gpu', Device('gpu')),
    ('gpu:0,2', Device('gpu', (0, 2))),
  ],
)
def test_parses(text, device):
  assert Device.parse('learner_device', text) == device


@pytest.mark.parametrize('text', ['', 'abacus', 'gpu:', 'gpu:a', 'cpu:0'])
def test_refuses_what_is_no_device(text):
  with pytest.raises(ValueError, match=f'^learner_device: got {text!r}'):
    Device.parse('learner_device', text)


def test_processes_see_their_devices_only():
  variables = options_lib.ProgramOptions(
    learner_device=Device('gpu', (1,))
  ).environment_variables()
  assert variables['learner'] == {'CUDA_VISIBLE_DEVICES': '1'}
  for role in ('replay', 'counter', 'actor', 'evaluator'):
    assert variables[role] == {
      'JAX_PLATFORMS': 'cpu',
      'CUDA_VISIBLE_DEVICES': '',
    }


def test_processes_that_share_gpus_share_their_memory():
  variables = options_lib.ProgramOptions(
    learner_device=Device('gpu'), actor_device=Device('gpu')
  ).environment_variables()
  for role in ('learner', 'actor', 'evaluator'):
    assert variables[role] == {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}


def test_jax_devices():
  assert Device().jax_devices(True) is None
  devices = jax.local_devices(backend='cpu')
  assert Device('cpu').jax_devices(False) == devices
  assert Device('cpu', (0,)).jax_devices(True) == devices[:1]
  # A process that sees only its own has them from 0 on.
  assert Device('cpu', (7,)).jax_devices(False) == devices
  with pytest.raises(ValueError, match='There is no cpu 999'):
    Device('cpu', (999,)).jax_devices(True)
  with pytest.raises(ValueError, match='JAX has no abacus here'):
    Device('abacus').jax_devices(True)
