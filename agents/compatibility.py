"""Lets Acme 0.4.0's own code run on a current JAX and Reverb; opt-in.

`acme.jax`, `acme.agents.jax` and the layouts of Acme's last release use names
that JAX has dropped since, and its adders an argument that Reverb has dropped.
`install()` puts them back, and only where they are missing. Nothing in this
project needs it: it is for those who put our agent into Acme's layouts, or run
Acme's own agents beside it. Call it before importing them:

    from acme_metarl.agents import compatibility
    compatibility.install()
    from acme.jax.layouts import local_layout
"""

import importlib.util
import inspect
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
  if importlib.util.find_spec('reverb'):
    import reverb

    _ignore_timeout(reverb.Client)


def _restore(module: Any, name: str, value: Any) -> None:
  # Some dropped names raise AttributeError with advice; others are just gone.
  if getattr(module, name, None) is None:
    setattr(module, name, value)


def _ignore_timeout(client: Any) -> None:
  """Lets writers be made with a timeout that no Reverb since 0.7.2 takes."""
  make = client.trajectory_writer
  if 'get_signature_timeout_ms' in inspect.signature(make).parameters:
    return

  def trajectory_writer(
    self, *args, get_signature_timeout_ms=None, **kwargs
  ) -> Any:
    del get_signature_timeout_ms
    return make(self, *args, **kwargs)

  client.trajectory_writer = trajectory_writer
