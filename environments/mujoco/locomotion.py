"""Makes MuJoCo locomotion environments on one of their backends.

What they are is the table `tasks.TASKS`.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from acme_metarl.environments.mujoco import environment
from acme_metarl.environments.mujoco.tasks import TASKS as TASKS


def make(
  name: str,
  *,
  backend: str = 'mujoco',
  contact_forces: bool = False,
  num_threads: int | None = None,
  solver_iterations: int | None = None,
  line_search_iterations: int | None = None,
  impl: str | None = None,
) -> Any:
  """Makes a locomotion environment.

  Args:
    name: a key of `TASKS`.
    backend: `'mujoco'` simulates on the host; `'mjx'` makes the same task a
      pure-JAX environment, for on-device training (`environments.mjx`).
    contact_forces: for the ants, whether the external forces on every body,
      clipped to ±1, are observed (84 numbers more) and cost reward. Slower: see
      `stepping.ThreadedStepper`. The humanoids always have them. `'mujoco'`
      only.
    num_threads: how many threads step the simulations; by default as many as
      there are processors to use. `'mujoco'` only.
    solver_iterations: `'mjx'` only, see `mjx.physics.SolverSettings`, as is the
      next two.
    line_search_iterations: likewise.
    impl: likewise; MJX's implementation, `'jax'` by default.

  Returns:
    A `LocomotionEnvironment`, or with `'mjx'` an `MjxLocomotion`.

  Raises:
    ValueError: if the name is unknown, the robot or the backend has no such
      option, there is no such environment on MJX, or a number is less than 1.
  """
  if name not in TASKS:
    raise ValueError(
      f'name: there is no MuJoCo environment {name!r}; there are '
      f'{", ".join(TASKS)}.'
    )
  on_host = dict(contact_forces=contact_forces or None, num_threads=num_threads)
  on_device = dict(
    solver_iterations=solver_iterations,
    line_search_iterations=line_search_iterations,
    impl=impl,
  )
  if backend == 'mjx':
    _refuse(on_host, backend)
    from acme_metarl.environments.mjx import locomotion as mjx_locomotion

    given = {k: v for k, v in on_device.items() if v is not None}
    return mjx_locomotion.make(name, **given)
  if backend != 'mujoco':
    raise ValueError(f"backend: got {backend!r}, need 'mujoco' or 'mjx'.")
  _refuse(on_device, backend)
  task = TASKS[name]
  if contact_forces and not task.contact_is_optional:
    with_option = [k for k, row in TASKS.items() if row.contact_is_optional]
    raise ValueError(
      f'contact_forces: got {contact_forces!r}, but {name!r} has no such '
      f'choice; {", ".join(with_option)} have.'
    )
  if task.contact_is_optional and not contact_forces:
    task = dataclasses.replace(task, contact=None)
  return environment.LocomotionEnvironment(name, task, num_threads)


def _refuse(options: Mapping[str, Any], backend: str) -> None:
  """Refuses options that are set and mean nothing to the backend."""
  for option, value in options.items():
    if value is not None:
      raise ValueError(
        f'{option}: got {value!r}, but backend={backend!r} has no such option.'
      )
