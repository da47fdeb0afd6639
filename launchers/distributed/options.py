"""Size, devices and reach of the program, and what each role is given."""

import dataclasses
import re
from typing import Any

_DEVICE = re.compile(r'(cpu|gpu|tpu)(?::(\d+(?:,\d+)*))?')


@dataclasses.dataclass(frozen=True)
class Device:
  """Where a role computes.

  Attributes:
    kind: 'cpu', 'gpu', 'tpu'; None is what JAX finds best.
    indices: which GPUs; empty is all of them.
  """

  kind: str | None = None
  indices: tuple[int, ...] = ()

  @classmethod
  def parse(cls, name: str, text: str | None) -> 'Device':
    """Reads, for example, `cpu`, `tpu`, `gpu` or `gpu:0,1`.

    Raises:
      ValueError: if that is none, naming the option.
    """
    if text is None:
      return cls()
    match = _DEVICE.fullmatch(text)
    if not match or (match.group(2) and match.group(1) != 'gpu'):
      raise ValueError(
        f'{name}: got {text!r}, need cpu, gpu, tpu, or GPUs by number such as '
        'gpu:0,1.'
      )
    indices = match.group(2)
    return cls(
      match.group(1),
      tuple(int(index) for index in indices.split(',')) if indices else (),
    )

  def environment_variables(self) -> dict[str, str]:
    """Lets a process see these devices and no others."""
    if self.kind == 'cpu':
      return {'JAX_PLATFORMS': 'cpu', 'CUDA_VISIBLE_DEVICES': ''}
    if self.kind == 'tpu':
      return {'JAX_PLATFORMS': 'tpu,cpu'}
    if self.indices:
      return {'CUDA_VISIBLE_DEVICES': ','.join(map(str, self.indices))}
    return {}

  def jax_devices(self, sees_others: bool) -> list[Any] | None:
    """These devices, or None where JAX shall choose.

    Args:
      sees_others: whether this process was not started with
        `environment_variables`, so that GPUs have their own numbers.

    Raises:
      ValueError: if JAX does not have them.
    """
    import jax

    if self.kind is None:
      return None
    try:
      devices = jax.local_devices(backend=self.kind)
    # The latter where a plug-in of JAX is not installed.
    except (RuntimeError, AssertionError) as error:
      raise ValueError(
        f'JAX has no {self.kind} here ({error}). Name another device, or '
        'install the JAX that knows it.'
      ) from error
    if not (self.indices and sees_others):
      return devices
    missing = [index for index in self.indices if index >= len(devices)]
    if missing:
      raise ValueError(
        f'There is no {self.kind} {missing[0]}; JAX has {len(devices)}.'
      )
    return [devices[index] for index in self.indices]


@dataclasses.dataclass(frozen=True)
class ProgramOptions:
  """What the program is besides a run.

  Attributes:
    num_actors: actor nodes.
    tasks_per_actor: tasks of each of their trials.
    learner_device: of the learner.
    actor_device: of actors and evaluator.
    num_devices: CPU devices that the learner's process shows; see
      `host_devices`.
    local_only: whether servers can be reached from this machine alone.
    use_tensorboard: whether tables go to TensorBoard as well.
  """

  num_actors: int = 2
  tasks_per_actor: int = 20
  learner_device: Device = Device()
  actor_device: Device = Device('cpu')
  num_devices: int | None = None
  local_only: bool = True
  use_tensorboard: bool = False

  def __post_init__(self):
    for name in ('num_actors', 'tasks_per_actor'):
      if getattr(self, name) < 1:
        raise ValueError(f'{name}: got {getattr(self, name)}, need at least 1.')
    if self.actor_device.kind is None:
      raise ValueError('actor_device: need one, such as cpu.')

  def devices(self) -> dict[str, Device]:
    """The device of each role."""
    return {
      'replay': Device('cpu'),
      'counter': Device('cpu'),
      'learner': self.learner_device,
      'actor': self.actor_device,
      'evaluator': self.actor_device,
    }

  def environment_variables(self) -> dict[str, dict[str, str]]:
    """Of each role's processes, where they share a machine."""
    devices = self.devices()
    variables = {
      role: device.environment_variables() for role, device in devices.items()
    }
    if self.actor_device.kind == 'gpu':
      for role in ('learner', 'actor', 'evaluator'):
        # Else the first one takes most of the memory of all the GPUs it sees.
        variables[role]['XLA_PYTHON_CLIENT_PREALLOCATE'] = 'false'
    return variables
