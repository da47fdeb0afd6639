r"""Trains the MAML agent on one machine, in one process.

    python -m acme_metarl.launchers.train
    python -m acme_metarl.launchers.train --algorithm=trpo_maml --seed=1 \
      --environment=half_cheetah_direction --config.max_kl=0.02
    python -m acme_metarl.launchers.train --resume --logdir=DIRECTORY

Each iteration plays a trial, inserts it into Reverb, samples it and learns. The
log directory gets `config.json`, `learner.csv` (a row per iteration),
`evaluation.csv` (returns on freshly drawn tasks after 0, 1, ... adaptation
steps), checkpoints and `curves.png`. Ctrl-C saves and stops; --resume continues
as if nothing had happened.

Every other field of the algorithm's and the agent's configuration is set by
--config.FIELD=VALUE, for example --config.evaluator_options.order=3,
--config.hidden_sizes=128,128 or --config.evaluator=my_module:my_evaluator. A
wrong FIELD gets the list of the right ones.
"""

from collections.abc import Mapping
import logging
import sys

from absl import flags

from acme_metarl.launchers.runs import agent_trainer, host_devices
from acme_metarl.launchers.runs import flags as run_flags

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(run_flags)


def run(overrides: Mapping[str, str]) -> bool:
  """Trains as the flags say; returns whether the run came to its end.

  Raises:
    ValueError: if the flags cannot be done.
    OSError: if results cannot be written.
  """
  config, directory, checkpoint = run_flags.plan('train', overrides)
  # Else JAX tells about every kind of device that is not there.
  logging.getLogger('jax').setLevel(logging.WARNING)
  host_devices.set_up(FLAGS.num_devices, config.agent.algorithm.num_tasks)
  print(f'Training in {directory}.', file=sys.stderr)
  is_done = agent_trainer.run(config, directory, checkpoint, FLAGS.tensorboard)
  if is_done:
    print(f'Done: {directory / "curves.png"} shows the returns.')
  return is_done


if __name__ == '__main__':
  run_flags.start('train', run)
