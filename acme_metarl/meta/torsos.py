"""What networks make of an observation before their last layers.

Images go through convolutions, everything else is flattened to one vector.
Convolutions are products of patches: on a CPU the first and second derivatives
of a product are products, where those of XLA's convolutions take a slow path.
"""

from collections.abc import Callable, Sequence
from typing import Any

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from acme_metarl.meta import observations

# The smallest image that the Nature network's layers leave something of.
_SMALLEST_NATURE = 36

# observation `[..., *shape]` -> features `[..., n]`, inside a Haiku transform.
Torso = Callable[[chex.ArrayTree], chex.Array]


def is_image(spec: Any) -> bool:
  """Whether an observation has one array, of height, width and channels.

  >>> from dm_env import specs
  >>> is_image(specs.Array((84, 84, 4), 'uint8'))
  True

  Args:
    spec: `dm_env` specs of one observation, a pytree.
  """
  leaves = jax.tree_util.tree_leaves(spec)
  return len(leaves) == 1 and len(leaves[0].shape) == 3


def make_torso(
  observation_spec: Any, hidden_sizes: Sequence[int] = (64, 64)
) -> Torso:
  """The torso that an observation asks for.

  Images of less than 36 pixels a side get `minatar`, larger ones `nature`,
  scalars, vectors and discrete values a ReLU network.

  >>> from dm_env import specs
  >>> make_torso(specs.Array((84, 84, 4), 'uint8')).__name__
  'nature'

  Args:
    observation_spec: `dm_env` specs of one observation, a pytree.
    hidden_sizes: units of the layers that follow a flat observation.

  Returns:
    A function to be called inside of a Haiku transform.

  Raises:
    ValueError: if there is no torso for such observations.
  """
  if is_image(observation_spec):
    (leaf,) = jax.tree_util.tree_leaves(observation_spec)
    height, width, _ = leaf.shape
    if min(height, width) < 3:
      raise ValueError(
        f'observation_spec has an image of {height} by {width} pixels, but the'
        ' convolutional torsos need at least 3 by 3. Flatten it, or pass a'
        ' torso of your own.'
      )
    return nature if min(height, width) >= _SMALLEST_NATURE else minatar
  for leaf in jax.tree_util.tree_leaves(observation_spec):
    if len(leaf.shape) > 1:
      raise ValueError(
        f'observation_spec has an array of shape {tuple(leaf.shape)}, but there'
        ' are torsos for one image, [H, W, C], and for vectors, scalars and'
        ' discrete values. Flatten it, or pass a torso of your own.'
      )

  def mlp(observation):
    x = observations.flatten(observation, observation_spec)
    return hk.nets.MLP(hidden_sizes, activate_final=True)(x)

  return mlp


def minatar(observation: chex.Array) -> chex.Array:
  """The network of MinAtar's baselines: 16 filters of 3 by 3, then 128 units.

  See "MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible
  Reinforcement Learning Experiments" by Young and Tian (2019),
  https://arxiv.org/abs/1903.03176.

  >>> image = jnp.zeros((2, 10, 10, 4), jnp.uint8)
  >>> network = hk.without_apply_rng(hk.transform(minatar))
  >>> params = network.init(jax.random.PRNGKey(0), image)
  >>> network.apply(params, image).shape
  (2, 128)

  Args:
    observation: `[..., H, W, C]`; integers are divided by 255.

  Returns:
    `[..., 128]`.
  """
  return convolutional([(16, 3, 1)], [128])(observation)


def nature(observation: chex.Array) -> chex.Array:
  """The network of "Human-level control through deep reinforcement learning".

  Mnih et al. (2015), https://doi.org/10.1038/nature14236: 32 filters of 8 by 8
  with stride 4, 64 of 4 by 4 with stride 2, 64 of 3 by 3, 512 units.

  >>> image = jnp.zeros((2, 84, 84, 4), jnp.uint8)
  >>> network = hk.without_apply_rng(hk.transform(nature))
  >>> params = network.init(jax.random.PRNGKey(0), image)
  >>> network.apply(params, image).shape
  (2, 512)

  Args:
    observation: `[..., H, W, C]`; integers are divided by 255.

  Returns:
    `[..., 512]`.
  """
  layers = [(32, 8, 4), (64, 4, 2), (64, 3, 1)]
  return convolutional(layers, [512])(observation)


def convolutional(
  layers: Sequence[tuple[int, int, int]],
  hidden_sizes: Sequence[int],
  padding: str = 'VALID',
) -> Torso:
  """Makes a torso of convolutions and of linear layers, with ReLUs.

  >>> torso = convolutional([(32, 2, 2), (32, 2, 1)], [64], 'SAME')
  >>> network = hk.without_apply_rng(hk.transform(torso))
  >>> params = network.init(jax.random.PRNGKey(0), jnp.zeros((6, 6, 5)))
  >>> params['linear']['w'].shape
  (288, 64)

  Args:
    layers: filters, size of the kernel and stride of each convolution.
    hidden_sizes: units of the linear layers that follow.
    padding: 'VALID' for none, 'SAME' for zeros around the image.

  Returns:
    A function of images `[..., H, W, C]`, to be called inside of a Haiku
    transform; integers are divided by 255.
  """

  def torso(observation: chex.ArrayTree) -> chex.Array:
    (image,) = jax.tree_util.tree_leaves(observation)
    x = jnp.asarray(image)
    if jnp.issubdtype(x.dtype, jnp.integer):
      x = x.astype(jnp.float32) / 255.0
    elif not jnp.issubdtype(x.dtype, jnp.floating):
      x = x.astype(jnp.float32)
    batch = x.shape[:-3]
    x = x.reshape((-1, *x.shape[-3:]))
    for layer in layers:
      x = jax.nn.relu(Convolution(*layer, padding=padding)(x))
    x = x.reshape((x.shape[0], -1))
    for size in hidden_sizes:
      x = jax.nn.relu(hk.Linear(size)(x))
    return x.reshape((*batch, x.shape[-1]))

  return torso


class Convolution(hk.Module):
  """A convolution with the parameters of `hk.Conv2D`.

  The kernel's size must be a multiple of its stride.
  """

  def __init__(
    self,
    output_channels: int,
    kernel_size: int,
    stride: int,
    padding: str = 'VALID',
    name: str | None = None,
  ):
    super().__init__(name)
    if kernel_size % stride:
      raise ValueError(
        f'kernel_size is {kernel_size}; it needs to be a multiple of the'
        f' stride, {stride}.'
      )
    if padding not in ('VALID', 'SAME'):
      raise ValueError(f'padding is {padding!r}; choose from VALID, SAME.')
    self._output_channels = output_channels
    self._kernel_size = kernel_size
    self._stride = stride
    self._padding = padding

  def __call__(self, x: chex.Array) -> chex.Array:
    """Returns `[N, H', W', output_channels]` of `[N, H, W, C]`."""
    size, stride, channels = self._kernel_size, self._stride, x.shape[-1]
    scale = hk.initializers.TruncatedNormal(1.0 / (size**2 * channels) ** 0.5)
    shape = (size, size, channels, self._output_channels)
    w = hk.get_parameter('w', shape, x.dtype, scale)
    b = hk.get_parameter('b', shape[-1:], x.dtype, jnp.zeros)
    if self._padding == 'SAME':
      rows, columns = (self._margins(n) for n in x.shape[1:3])
      x = jnp.pad(x, ((0, 0), rows, columns, (0, 0)))
    # Blocks of the stride's size become channels, and the stride becomes one.
    x = _blocks(x, stride)
    w = w.reshape((size // stride, stride, size // stride, stride, *shape[2:]))
    w = jnp.moveaxis(w, 1, 2).reshape((-1, self._output_channels))
    reach = size // stride
    height, width = (n - reach + 1 for n in x.shape[1:3])
    patches = jnp.concatenate(
      [
        x[:, i : i + height, j : j + width]
        for i in range(reach)
        for j in range(reach)
      ],
      axis=-1,
    )
    return patches @ w + b

  def _margins(self, length: int) -> tuple[int, int]:
    """Zeros before and after, so that every stride-th pixel has its patch."""
    reached = (-(-length // self._stride) - 1) * self._stride
    margin = max(reached + self._kernel_size - length, 0)
    return margin // 2, margin - margin // 2


def _blocks(x: chex.Array, size: int) -> chex.Array:
  """Space to depth: `[N, H, W, C]` to `[N, H/s, W/s, s·s·C]`, rounded down."""
  if size == 1:
    return x
  height, width = (n // size for n in x.shape[1:3])
  x = x[:, : height * size, : width * size]
  x = x.reshape((x.shape[0], height, size, width, size, x.shape[-1]))
  return jnp.moveaxis(x, 3, 2).reshape((x.shape[0], height, width, -1))
