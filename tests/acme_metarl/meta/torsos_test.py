"""Torsos: convolutions are convolutions, and every observation has one."""

from dm_env import specs
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import on_device, presets, types
from acme_metarl.meta import policies, torsos


@pytest.mark.parametrize('padding', ['VALID', 'SAME'])
@pytest.mark.parametrize(
  ('size', 'kernel', 'stride'),
  [((6, 7), 3, 1), ((9, 11), 4, 2), ((8, 8), 2, 2), ((3, 5), 2, 1)],
)
def test_products_of_patches_are_a_convolution(
  _float64, size, kernel, stride, padding
):
  x = jax.random.normal(jax.random.PRNGKey(0), (2, *size, 3))

  def forward(module, *arguments):
    return hk.without_apply_rng(hk.transform(lambda x: module(*arguments)(x)))

  ours = forward(torsos.Convolution, 5, kernel, stride, padding)
  theirs = forward(
    lambda *_: hk.Conv2D(5, kernel, stride, padding=padding, name='convolution')
  )
  params = ours.init(jax.random.PRNGKey(1), x)
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(
    jnp.shape, theirs.init(jax.random.PRNGKey(1), x)
  )
  np.testing.assert_allclose(
    ours.apply(params, x), theirs.apply(params, x), rtol=1e-10, atol=1e-12
  )


def test_a_kernel_is_a_multiple_of_its_stride():
  with pytest.raises(ValueError, match='kernel_size is 3; .* stride, 2'):
    hk.transform(lambda: torsos.Convolution(1, 3, 2)).init(None)


def test_padding_is_none_or_zeros():
  with pytest.raises(ValueError, match="padding is 'FULL'; .* VALID, SAME"):
    hk.transform(lambda: torsos.Convolution(1, 2, 2, 'FULL')).init(None)


@pytest.mark.parametrize(
  ('shape', 'dtype', 'features', 'num_params'),
  [
    ((10, 10, 4), 'float32', 128, 16 * (9 * 4 + 1) + 128 * (8 * 8 * 16 + 1)),
    (
      (84, 84, 4),
      'uint8',
      512,
      32 * (64 * 4 + 1)
      + 64 * (16 * 32 + 1)
      + 64 * (9 * 64 + 1)
      + 512 * (7 * 7 * 64 + 1),
    ),
    ((5,), 'float32', 64, 64 * 6 + 64 * 65),
  ],
)
def test_torsos_have_published_sizes(shape, dtype, features, num_params):
  torso = torsos.make_torso(specs.Array(shape, dtype))
  network = hk.without_apply_rng(hk.transform(torso))
  x = jax.ShapeDtypeStruct((2, 3, *shape), dtype)
  params = jax.eval_shape(network.init, jax.random.PRNGKey(0), x)
  assert sum(np.prod(x.shape) for x in jax.tree.leaves(params)) == num_params
  out = jax.eval_shape(network.apply, params, x)
  assert (out.shape, out.dtype) == ((2, 3, features), jnp.float32)


@pytest.mark.parametrize(
  ('spec', 'sentence'),
  [
    (specs.Array((4, 4), 'float32'), r'an array of shape \(4, 4\)'),
    (specs.Array((2, 9, 3), 'float32'), 'an image of 2 by 9 pixels'),
  ],
)
def test_observations_without_a_torso_are_a_sentence(spec, sentence):
  with pytest.raises(ValueError, match=sentence):
    torsos.make_torso(spec)


class _Pictures:
  """The action that equals the bright pixel pays 1; the task says which."""

  has_finite_tasks = True

  def sample_task(self, key):
    return jax.random.bernoulli(key).astype(jnp.int32)

  def reset(self, key, task):
    del key
    return task, self._show(task, 0)

  def step(self, task, action):
    return task, self._show(task, action == task)

  def _show(self, task, reward):
    image = jnp.zeros((4, 4, 1), jnp.uint8).at[0, 3 * task, 0].set(255)
    return types.TimeStep(image, jnp.float32(reward), jnp.float32(1))

  def observation_spec(self):
    return specs.Array((4, 4, 1), np.uint8)

  def action_spec(self):
    return specs.DiscreteArray(2)


def test_maml_learns_from_images():
  config = presets.make(
    'vpg_maml', num_tasks=2, num_rollouts=2, horizon=2, num_iterations=1
  )
  trainer = on_device.make_trainer(config, _Pictures())
  state = jax.jit(trainer.init)(jax.random.PRNGKey(0))
  _, metrics = jax.jit(trainer.iterate)(state)
  assert metrics['num_diverged'] == 0
  assert all(np.isfinite(x).all() for x in metrics.values())


def test_policies_see_images():
  spec = specs.Array((10, 10, 2), 'uint8')
  policy = policies.make_default(specs.DiscreteArray(3), spec)
  image = jnp.zeros((10, 10, 2), jnp.uint8).at[4, 5, 1].set(255)
  params = policy.init(jax.random.PRNGKey(0), image)
  logits = policy.apply(params, jnp.stack([image, image * 0])[None]).logits
  assert logits.shape == (1, 2, 3)
  assert np.abs(logits[0, 0] - logits[0, 1]).max() > 1e-3
