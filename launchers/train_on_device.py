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
import sys

from absl import flags
import jax

from acme_metarl.launchers.runs import (
  checkpointing,
  compilation_cache,
  device_trainer,
  entry,
  host_devices,
  loop,
)
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import flags as run_flags


def define(values: flags.FlagValues) -> None:
  """Defines the flags."""
  run_flags.define(values)
  flags.DEFINE_integer(
    'num_seeds',
    1,
    'Runs to train at once, differing in their seed.',
    flag_values=values,
    module_name=__name__,
  )


def is_out_of_memory(error: jax.errors.JaxRuntimeError) -> bool:
  """Whether that is why a computation failed."""
  # What an accelerator says, and what a CPU does.
  return any(
    text in str(error) for text in ('RESOURCE_EXHAUSTED', 'Out of memory')
  )


def in_step(plans: Sequence[run_config.Plan]) -> list[run_config.Plan]:
  """Goes back to the newest iteration that every run has a checkpoint of."""
  if len({p.checkpoint and p.checkpoint.step for p in plans}) == 1:
    return list(plans)
  folders = [p.directory / run_config.CHECKPOINTS for p in plans]
  kept = [
    {path.name for path in checkpointing.Checkpointer(folder).paths()}
    for folder in folders
  ]
  lacking = next((p for p in plans if p.checkpoint is None), None)
  if lacking:
    # Stopped between the first checkpoints of one seed and another.
    if max(map(len, kept)) == 1:
      return [p._replace(checkpoint=None) for p in plans]
    raise ValueError(
      f'resume: {str(lacking.directory)!r} has no checkpoint, the seeds beside'
      ' it have. Bring it back, or resume each alone, with its own --logdir.'
    )
  # Later ones may be damaged, or of some seeds alone.
  newest = checkpointing.file_name(min(p.checkpoint.step for p in plans))
  common = [x for x in set.intersection(*kept) if x <= newest]
  if not common:
    raise ValueError(
      f'resume: the seeds in {plans[0].directory.parent} have no checkpoint of'
      ' the same iteration. Resume each alone, with its own --logdir.'
    )
  return [
    p._replace(checkpoint=checkpointing.load(folder / max(common)))
    for p, folder in zip(plans, folders, strict=True)
  ]


def train(
  plans: Sequence[run_config.Plan], use_tensorboard: bool = False
) -> bool:
  """Trains; returns whether the runs came to their end.

  Args:
    plans: runs that differ in their seed.
    use_tensorboard: whether to write event files as well.

  Raises:
    ValueError: if the runs cannot train on a device, or not on this one.
    OSError: if results cannot be written.
  """
  plans = in_step(plans)
  try:
    return loop.train(
      lambda: device_trainer.Trainer(
        [plan.config for plan in plans], host_devices.local()
      ),
      plans,
      use_tensorboard,
    )
  except jax.errors.JaxRuntimeError as error:
    if not is_out_of_memory(error):
      raise
    raise ValueError(
      'the device is out of memory. Lower --config.chunk_size (tasks at once),'
      f' --num_seeds, --num_tasks or --num_rollouts. JAX says: {error}'
    ) from error


def run(values: flags.FlagValues, overrides: Mapping[str, str]) -> bool:
  """Trains as the flags say; returns whether the runs came to their end.

  Raises:
    ValueError: if the flags cannot be done.
    OSError: if results cannot be written.
  """
  num_seeds = values['num_seeds'].value
  if num_seeds < 1:
    raise ValueError(f'num_seeds: got {num_seeds}, need at least 1.')

  def check(config):
    host_devices.set_up(
      values['num_devices'].value,
      config.algorithm.num_tasks if num_seeds == 1 else num_seeds,
    )
    device_trainer.check(config)
    host_devices.local()

  cache = compilation_cache.set_up(values['compilation_cache'].value)
  config = run_flags.config_from_flags(overrides, values)
  with run_flags.planned(
    'train_on_device', config, overrides, values, num_seeds, check
  ) as plans:
    print(
      f'Training in {", ".join(str(p.directory) for p in plans)}.',
      file=sys.stderr,
    )
    print(cache, file=sys.stderr)
    is_done = train(plans, values['tensorboard'].value)
  if is_done:
    for plan in plans:
      print(f'Done: {plan.directory / "curves.png"} shows the returns.')
  return is_done


def main(argv: Sequence[str] | None = None) -> None:
  """Trains as a command line says, this process's by default."""
  entry.main('train_on_device', __doc__, define, run, argv)


if __name__ == '__main__':
  main()
