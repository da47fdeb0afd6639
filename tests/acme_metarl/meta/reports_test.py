"""What becomes of numbers that environments report, on host and device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl.meta import reports

_NAN = np.nan
# [B, T] of one task: two rollouts, one cut short, and one without a number.
_STEPS = np.array(
  [[0, 2, 1, 0], [3, 0, _NAN, _NAN], [_NAN, _NAN, _NAN, _NAN]], np.float32
)
_OF_ROLLOUTS = {
  reports.ever: [2, 3, _NAN],
  reports.last: [0, 0, _NAN],
  reports.mean: [0.75, 1.5, _NAN],
}


@pytest.mark.parametrize('convert', [np.asarray, jnp.asarray])
def test_by_hand(convert):
  for reduce, expected in _OF_ROLLOUTS.items():
    found = reduce(convert(_STEPS))
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert found.dtype == np.float32
  tables = reports.summaries(
    {'speed': convert(_STEPS), 'return': convert(_STEPS[None, 2:])}
  )
  assert {name: np.asarray(x).tolist() for name, x in tables.items()} == {
    'speed_ever': 2.5,
    'speed_last': 0,
    'speed_mean': 1.125,
    # Not to be taken for a return, and unknown throughout.
    'info_return_ever': [pytest.approx(_NAN, nan_ok=True)],
    'info_return_last': [pytest.approx(_NAN, nan_ok=True)],
    'info_return_mean': [pytest.approx(_NAN, nan_ok=True)],
  }


def test_tasks_without_a_number_do_not_count():
  table = np.array([[0, _NAN], [1, _NAN], [_NAN, _NAN]], np.float32)
  means = reports.stage_means({'success_ever': table})
  assert list(means) == ['success_ever_0', 'success_ever_1']
  assert means['success_ever_0'] == 0.5 and np.isnan(means['success_ever_1'])


def test_host_and_device_agree_whatever_the_axes():
  rng = np.random.default_rng(0)
  steps = rng.normal(size=(3, 2, 5, 7)).astype(np.float32)
  steps[rng.random(steps.shape) < 0.3] = _NAN
  on_host = reports.summaries({'x': steps})
  on_device = jax.jit(reports.summaries)({'x': steps})
  for name, table in on_host.items():
    assert table.shape == (3, 2)
    np.testing.assert_allclose(on_device[name], table, rtol=1e-6)
