"""How locomotion tasks are drawn, on the host and inside compiled functions.

Each distribution is callable as `(model, rng, num_tasks) -> [G, ...]` float32,
as `definitions.Locomotion.sample_tasks` asks, and draws one task from a JAX key
by `draw(key)`. Both draw from the same distribution, not the same numbers.
"""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import mujoco
import numpy as np


@dataclasses.dataclass(frozen=True)
class Signs:
  """-1 or 1."""

  is_finite: ClassVar[bool] = True

  def __call__(
    self, model: mujoco.MjModel, rng: np.random.Generator, num_tasks: int
  ) -> np.ndarray:
    del model
    return rng.choice(np.array([-1.0, 1.0], np.float32), num_tasks)

  def draw(self, key: chex.PRNGKey) -> chex.Array:
    return jax.random.rademacher(key, (), jnp.float32)


@dataclasses.dataclass(frozen=True)
class UnitCircle:
  """A direction: a unit vector `[2]`."""

  def __call__(
    self, model: mujoco.MjModel, rng: np.random.Generator, num_tasks: int
  ) -> np.ndarray:
    del model
    return _polar(1.0, rng.uniform(0.0, 2 * np.pi, num_tasks))

  def draw(self, key: chex.PRNGKey) -> chex.Array:
    return _draw_direction(key)


@dataclasses.dataclass(frozen=True)
class Disc:
  """A place `[2]`, uniform in a disc around the origin.

  Attributes:
    radius: of the disc.
  """

  radius: float

  def __call__(
    self, model: mujoco.MjModel, rng: np.random.Generator, num_tasks: int
  ) -> np.ndarray:
    del model
    angle = rng.uniform(0.0, 2 * np.pi, num_tasks)
    # The square root makes it uniform in area.
    return _polar(self.radius * np.sqrt(rng.uniform(size=num_tasks)), angle)

  def draw(self, key: chex.PRNGKey) -> chex.Array:
    angle_key, radius_key = jax.random.split(key)
    area = jax.random.uniform(radius_key, (), jnp.float32)
    return self.radius * jnp.sqrt(area) * _draw_direction(angle_key)


@dataclasses.dataclass(frozen=True)
class Speeds:
  """A speed, uniform from 0.

  Attributes:
    fastest: the upper end.
  """

  fastest: float

  def __call__(
    self, model: mujoco.MjModel, rng: np.random.Generator, num_tasks: int
  ) -> np.ndarray:
    del model
    return rng.uniform(0.0, self.fastest, num_tasks).astype(np.float32)

  def draw(self, key: chex.PRNGKey) -> chex.Array:
    return jax.random.uniform(key, (), jnp.float32, 0.0, self.fastest)


def _polar(radius, angle):
  xy = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
  return xy.astype(np.float32)


def _draw_direction(key):
  angle = jax.random.uniform(key, (), jnp.float32, 0.0, 2 * np.pi)
  return jnp.stack([jnp.cos(angle), jnp.sin(angle)])
