r"""Trains in one compiled function: environment and learner on the same device.

    python -m acme_metarl.launchers.train_on_device
    python -m acme_metarl.launchers.train_on_device --num_seeds=8 \
      --environment=half_cheetah_direction \
      --environment_options='{"backend": "mjx"}'

For environments in pure JAX. Needs the core installation alone: no Acme, no
Reverb. The flags are those of `train`, and the log directory is laid out alike,
so `evaluate` reads its checkpoints. With --num_seeds, seeds --seed, --seed + 1,
... train at once, each in a directory `seed_N` of its own; devices share out
the seeds, or the tasks of a single one. --resume continues bit for bit.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import logging
import math
import os
import sys
import time
from typing import Any

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from acme_metarl import environments, on_device
from acme_metarl.launchers.runs import (
  checkpointing,
  host_devices,
  outputs,
  stopping,
  tables,
)
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import flags as run_flags

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(run_flags)

_NUM_SEEDS = flags.DEFINE_integer(
  'num_seeds', 1, 'Runs to train at once, differing in their seed.'
)


class _Member:
  """One seed's tables and checkpoints.

  Attributes:
    iteration: how many are done.
    wall_seconds: of the run, when it began or went on.
    saved_at: iteration of the newest checkpoint, or None.
  """

  def __init__(self, plan: run_flags.Plan, use_tensorboard: bool):
    config, directory, checkpoint = plan
    metadata = {} if checkpoint is None else checkpoint.metadata
    self._config = config
    self._directory = directory
    self.iteration = metadata.get('iteration', 0)
    self._environment_steps = metadata.get('environment_steps', 0)
    self.wall_seconds = metadata.get('wall_seconds', 0.0)
    outputs.write_json(directory / run_config.CONFIG_JSON, config.to_dict())
    self.saved_at = None if checkpoint is None else self.iteration
    self._checkpointer = checkpointing.Checkpointer(
      directory / run_config.CHECKPOINTS
    )
    self._learner_log = tables.learner_log(
      directory, self.saved_at, use_tensorboard
    )
    self._evaluation_log = tables.evaluation_log(
      directory, self.saved_at, use_tensorboard
    )

  def write(
    self,
    metrics: Mapping[str, np.ndarray],
    returns: np.ndarray,
    wall_seconds: float,
  ) -> dict[str, Any]:
    """Writes rows of iterations and of an evaluation; returns the last one."""
    row = {}
    for values in zip(*metrics.values(), strict=True):
      row = dict(zip(metrics, (x.item() for x in values), strict=True))
      self.iteration += 1
      self._environment_steps += round(row.pop('num_steps'))
      row = {
        'iteration': self.iteration,
        'environment_steps': self._environment_steps,
        **row,
        'wall_seconds': round(wall_seconds, 3),
      }
      self._learner_log.write(row)
    every = self._config.eval_every
    is_last = self.iteration == self._config.num_iterations
    if every and (self.iteration % every == 0 or is_last):
      for evaluation in tables.evaluation_rows(
        returns[..., np.newaxis],
        self.iteration,
        self._environment_steps,
        wall_seconds,
      ):
        self._evaluation_log.write(evaluation)
    return row

  def save(self, state: on_device.TrainState, wall_seconds: float) -> None:
    """Saves a checkpoint and draws the curves; not twice the same one."""
    if self.iteration == self.saved_at:
      return
    metadata = {
      'iteration': self.iteration,
      'environment_steps': self._environment_steps,
      'wall_seconds': round(wall_seconds, 3),
      'key': [int(x) for x in state.key],
      'config': self._config.to_dict(),
    }
    self._checkpointer.save(self.iteration, state.meta, metadata)
    self.saved_at = self.iteration
    title = f'{self._config.algorithm}, {self._config.environment}'
    tables.write_curves(self._directory, title.replace('_', ' '))

  def close(self) -> None:
    self._learner_log.close()
    self._evaluation_log.close()


def make_environment(config: run_config.RunConfig) -> Any:
  """Makes the environment of a run.

  Raises:
    ValueError: if it cannot run on a device.
  """
  environment = environments.make(
    config.environment, **config.environment_options
  )
  if hasattr(environment, 'sample_tasks'):
    raise ValueError(
      f'environment: {config.environment} steps on the host and cannot run on'
      ' a device. Use launchers.train, or for half-cheetah, ant and walker2d'
      ' \'--environment_options={"backend": "mjx"}\'.'
    )
  return environment


def local_devices() -> tuple[jax.Device, ...]:
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


def is_out_of_memory(error: jax.errors.JaxRuntimeError) -> bool:
  """Whether that is why a computation failed."""
  # What an accelerator says, and what a CPU does.
  return any(
    text in str(error) for text in ('RESOURCE_EXHAUSTED', 'Out of memory')
  )


def plans(overrides: Mapping[str, str], num_seeds: int) -> list[run_flags.Plan]:
  """The runs that the flags ask for, all at the same iteration.

  Raises:
    ValueError: if they cannot be done.
  """
  if num_seeds < 1:
    raise ValueError(f'num_seeds: got {num_seeds}, need at least 1.')
  if num_seeds == 1:
    found = [run_flags.plan('train_on_device', overrides)]
  else:
    found = [
      run_flags.plan('train_on_device', overrides, member=i)
      for i in range(num_seeds)
    ]
  if found[0].config.agent.reuse != 1:
    raise ValueError(
      'reuse: on a device every trial is used once; leave it out, or use'
      ' launchers.train.'
    )
  return _in_step(found)


def _in_step(found: list[run_flags.Plan]) -> list[run_flags.Plan]:
  """Goes back to the newest iteration that every run has a checkpoint of."""
  if len({p.checkpoint and p.checkpoint.step for p in found}) == 1:
    return found
  if any(p.checkpoint is None for p in found):
    return [p._replace(checkpoint=None) for p in found]
  step = min(p.checkpoint.step for p in found)
  name = checkpointing.file_name(step)
  return [
    p._replace(
      checkpoint=checkpointing.load(p.directory / run_config.CHECKPOINTS / name)
    )
    for p in found
  ]


def _initial_state(
  trainer: on_device.Trainer, plan: run_flags.Plan
) -> on_device.TrainState:
  state = jax.jit(trainer.init)(jax.random.PRNGKey(plan.config.seed))
  if plan.checkpoint is None:
    return state
  metadata = plan.checkpoint.metadata
  return on_device.TrainState(
    meta=checkpointing.restore_tree(
      jax.device_get(state.meta), plan.checkpoint.arrays
    ),
    key=np.asarray(metadata['key'], np.uint32),
    iteration=np.int32(metadata['iteration']),
  )


def _make_advance(trainer: on_device.Trainer, num_seeds: int, devices):
  """Compiles `advance` for states `[S, ...]`."""
  if num_seeds == 1:

    def advance_one(states, length):
      state = jax.tree_util.tree_map(lambda x: x[0], states)
      return jax.tree_util.tree_map(
        lambda x: x[jnp.newaxis], trainer.advance(state, length)
      )

    return jax.jit(advance_one)

  def advance(states, length):
    return on_device.map_seeds(
      lambda length, state: trainer.advance(state, length),
      length,
      states,
      devices,
    )

  return jax.jit(advance)


def _chunk(config: run_config.RunConfig) -> int:
  """Iterations between two returns to the host."""
  chunk = math.gcd(config.eval_every, config.checkpoint_every)
  return min(chunk, config.num_iterations)


def train(all_plans: Sequence[run_flags.Plan], use_tensorboard: bool) -> bool:
  """Trains; returns whether the runs came to their end."""
  config = all_plans[0].config
  devices = local_devices()
  num_seeds = len(all_plans)
  chunk = _chunk(config)
  trainer = on_device.make_trainer(
    dataclasses.replace(config.agent.algorithm, num_iterations=chunk),
    make_environment(config),
    num_eval_tasks=config.agent.algorithm.num_tasks,
    bootstrap_on_timeout=config.bootstrap_on_timeout,
    devices=devices if num_seeds == 1 else devices[:1],
  )
  state = jax.tree_util.tree_map(
    lambda *x: jnp.stack(x),
    *[_initial_state(trainer, plan) for plan in all_plans],
  )
  advance = _make_advance(trainer, num_seeds, devices)
  with contextlib.ExitStack() as stack:
    members = [
      stack.enter_context(contextlib.closing(_Member(plan, use_tensorboard)))
      for plan in all_plans
    ]
    progress = stack.enter_context(
      contextlib.closing(
        tables.Progress(config.num_iterations, members[0].iteration)
      )
    )
    stop = stopping.StopRequest()
    with stop.listening():
      _loop(config, advance, state, members, progress, stop, chunk)
    if stop:
      progress.say(
        f'Stopped by {stop.signal_name} after iteration'
        f' {members[0].iteration}, and saved; --resume goes on from here.'
      )
    return members[0].iteration >= config.num_iterations


def _loop(config, advance, state, members, progress, stop, chunk) -> None:
  """Iterates until the end, or until asked to stop; `state` is `[S, ...]`."""
  start = time.monotonic() - members[0].wall_seconds
  # A new run begins with an evaluation of the untrained policy.
  length = 0 if members[0].saved_at is None else chunk
  while length == 0 or (
    members[0].iteration < config.num_iterations and not stop
  ):
    length = min(length, config.num_iterations - members[0].iteration)
    state, metrics, returns = jax.device_get(advance(state, length))
    wall_seconds = time.monotonic() - start
    rows = [
      member.write(
        {name: x[i, :length] for name, x in metrics.items()},
        returns[i],
        wall_seconds,
      )
      for i, member in enumerate(members)
    ]
    progress.advance(rows[0], length)
    iteration = members[0].iteration
    if config.eval_every:
      progress.say_evaluation(iteration, returns.mean(axis=(0, 1)))
    is_last = iteration >= config.num_iterations
    if is_last or stop or iteration % config.checkpoint_every < length:
      for i, member in enumerate(members):
        member.save(
          jax.tree_util.tree_map(lambda x, i=i: x[i], state), wall_seconds
        )
    length = chunk


def run(overrides: Mapping[str, str]) -> bool:
  """Trains as the flags say; returns whether the run came to its end.

  Raises:
    ValueError: if the flags cannot be done.
    OSError: if results cannot be written.
  """
  found = plans(overrides, _NUM_SEEDS.value)
  make_environment(found[0].config)
  # Else JAX tells about every kind of device that is not there.
  logging.getLogger('jax').setLevel(logging.WARNING)
  num_tasks = found[0].config.agent.algorithm.num_tasks
  host_devices.set_up(
    FLAGS.num_devices, num_tasks if len(found) == 1 else len(found)
  )
  print(
    f'Training in {", ".join(str(p.directory) for p in found)}.',
    file=sys.stderr,
  )
  try:
    is_done = train(found, FLAGS.tensorboard)
  except jax.errors.JaxRuntimeError as error:
    if not is_out_of_memory(error):
      raise
    raise ValueError(
      'the device is out of memory. Lower --config.chunk_size (tasks at once),'
      f' --num_seeds, --num_tasks or --num_rollouts. JAX says: {error}'
    ) from error
  if is_done:
    print(f'Done: {found[0].directory / "curves.png"} shows the returns.')
  return is_done


if __name__ == '__main__':
  run_flags.start('train_on_device', run)
