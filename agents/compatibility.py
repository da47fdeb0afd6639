"""Lets Acme 0.4.0's own JAX code run on a current JAX; opt-in.

`acme.jax`, `acme.agents.jax` and the layouts of Acme's last release use names
that JAX has dropped since. `install()` puts them back, and only where they are
missing. Nothing in this project needs it: it is for those who put our agent
into Acme's layouts, or run Acme's own agents beside it. Call it before
importing them:

    from acme_metarl.agents import compatibility
    compatibility.install()
    from acme.jax.layouts import local_layout
"""

import types
from typing import Any

# Loads tensorflow_probability.substrates.jax, which Acme expects to be there.
import distrax as distrax
import jax
import jax.numpy as jnp


def install() -> None:
  """Restores the names that Acme 0.4.0 looks for."""
  _restore(jax, 'tree_map', jax.tree_util.tree_map)
  _restore(jax, 'tree_multimap', jax.tree_util.tree_map)
  _restore(jax, 'tree_flatten', jax.tree_util.tree_flatten)
  _restore(jax, 'xla', types.SimpleNamespace())
  _restore(jax.xla, 'Device', jax.Device)
  _restore(jax.xla, 'DeviceArray', jax.Array)
  _restore(jax, 'pxla', types.SimpleNamespace())
  _restore(jax.pxla, 'ShardedDeviceArray', jax.Array)
  _restore(jnp, 'DeviceArray', jax.Array)


def _restore(module: Any, name: str, value: Any) -> None:
  # Some dropped names raise AttributeError with advice; others are just gone.
  if getattr(module, name, None) is None:
    setattr(module, name, value)
