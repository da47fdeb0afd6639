"""How many devices the host's processor shows, set before JAX starts."""

import os

import jax


def set_up(num_devices: int | None, num_tasks: int) -> None:
  """Lets JAX show several CPU devices, which share a meta-batch out.

  The user's own `--xla_force_host_platform_device_count` in `XLA_FLAGS` wins.

  Args:
    num_devices: None for one per core, but no more than are of use.
    num_tasks: in a meta-batch.

  Raises:
    ValueError: if there cannot be so few.
  """
  if num_devices is not None and num_devices < 1:
    raise ValueError(f'num_devices: got {num_devices}, need at least 1.')
  if 'xla_force_host_platform_device_count' in os.environ.get('XLA_FLAGS', ''):
    return
  wanted = num_devices or _useful(len(os.sched_getaffinity(0)), num_tasks)
  try:
    jax.config.update('jax_num_cpu_devices', wanted)
  except RuntimeError as error:
    # JAX has started, in a process that does more than one run.
    if num_devices not in (None, len(jax.local_devices(backend='cpu'))):
      raise ValueError(
        f'num_devices: got {num_devices}, but JAX runs already. Set it in a '
        'process of its own.'
      ) from error


def local() -> tuple[jax.Device, ...]:
  """The devices to train on.

  Raises:
    ValueError: if there are none of the kind that is asked for.
  """
  try:
    return tuple(jax.local_devices())
  # The latter where a plug-in of JAX is not installed.
  except (RuntimeError, AssertionError) as error:
    asked = os.environ.get('JAX_PLATFORMS', '')
    reason = f' ({error})' if str(error) else ''
    raise ValueError(
      f'JAX finds no devices of JAX_PLATFORMS={asked!r}{reason}. Name what is'
      ' there, or nothing; accelerators need the extra [cuda] or [tpu].'
    ) from error


def _useful(num_cores: int, num_tasks: int) -> int:
  """The fewest devices that finish as early as all the cores would."""
  tasks_per_device = -(-num_tasks // num_cores)
  return -(-num_tasks // tasks_per_device)
