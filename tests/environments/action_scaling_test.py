"""Tests of action_scaling."""

from absl.testing import absltest, parameterized
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl.environments import action_scaling


class ScaleActionTest(parameterized.TestCase):
  @parameterized.parameters(np.array, jnp.array)
  def test_formula(self, make_array):
    rng = np.random.default_rng(0)
    action = rng.normal(scale=8, size=(50, 3)).astype(np.float32)
    lo = np.array([-0.4, -1.0, 0.0])
    hi = np.array([0.4, 1.0, 5.0])
    expected = np.clip(lo + (action + 10) * (hi - lo) / 20, lo, hi)
    # Both ends are reached, and the middle is not clipped.
    self.assertTrue(np.any(expected == hi) and np.any(expected == lo))
    scaled = action_scaling.scale_action(make_array(action), lo, hi)
    self.assertEqual(scaled.dtype, np.float32)
    self.assertIsInstance(scaled, type(make_array(action)))
    np.testing.assert_allclose(scaled, expected, rtol=1e-6, atol=1e-6)

  def test_ends_are_exact(self):
    lo, hi = np.float32(-0.1), np.float32(0.7)
    scaled = action_scaling.scale_action(
      np.array([-1e9, -10, 10, 1e9], np.float32), lo, hi
    )
    np.testing.assert_array_equal(scaled[[0, 3]], [lo, hi])
    self.assertTrue(np.all((scaled >= lo) & (scaled <= hi)))

  def test_unit_deviation_is_a_tenth_of_the_range(self):
    step = np.diff(action_scaling.scale_action(np.array([0.0, 1.0]), -0.2, 0.2))
    np.testing.assert_allclose(step, 0.1 * 0.2)

  def test_keeps_double_precision(self):
    scaled = action_scaling.scale_action(np.array([1.0 / 3]), -1.0, 1.0)
    self.assertEqual(scaled.dtype, np.float64)
    np.testing.assert_allclose(scaled, 1 / 30, rtol=1e-15)

  def test_inside_compiled_functions(self):
    scale = jax.jit(lambda a: action_scaling.scale_action(a, -0.2, 0.2))
    np.testing.assert_allclose(scale(jnp.array([5.0])), [0.1], rtol=1e-6)

  def test_raw_actions_have_no_bounds(self):
    spec = action_scaling.raw_action_spec(6)
    self.assertEqual(spec.shape, (6,))
    self.assertEqual(spec.dtype, np.float32)
    spec.validate(np.full(6, 1e9, np.float32))


if __name__ == '__main__':
  absltest.main()
