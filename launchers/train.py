r"""Trains the MAML agent on one machine, in one process.

    python -m acme_metarl.launchers.train
    python -m acme_metarl.launchers.train --algorithm=trpo_maml --seed=1 \
      --environment=half_cheetah_direction --config.max_kl=0.02
    python -m acme_metarl.launchers.train --resume --logdir=DIRECTORY

Each iteration plays a trial, inserts it into Reverb, samples it and learns. The
log directory gets `config.json`, `learner.csv` (a row per iteration),
`evaluation.csv` (returns on tasks drawn anew after 0, 1, ... adaptation
steps), checkpoints and `curves.png`. Ctrl-C saves and stops; --resume continues
as if nothing had happened.

Every other field of the algorithm's and the agent's configuration is set by
--config.FIELD=VALUE, for example --config.evaluator_options.order=3,
--config.hidden_sizes=128,128 or --config.evaluator=my_module:my_evaluator. A
wrong FIELD gets the list of the right ones.
"""

from collections.abc import Mapping, Sequence
import sys

from absl import flags

from acme_metarl import environments
from acme_metarl.launchers.runs import (
  agent_trainer,
  compilation_cache,
  entry,
  host_devices,
  local_servers,
)
from acme_metarl.launchers.runs import flags as run_flags


def run(values: flags.FlagValues, overrides: Mapping[str, str]) -> bool:
  """Trains as the flags say; returns whether the run came to its end.

  Raises:
    ValueError: if the flags cannot be done.
    OSError: if results cannot be written.
  """

  def check(config):
    _ = config.agent_config
    host_devices.set_up(values['num_devices'].value, config.algorithm.num_tasks)
    host_devices.local()
    config.make_policy(environments.batch(config.make_environment()))
    config.make_environment('evaluation')

  local_servers.spare_proxies()
  cache = compilation_cache.set_up(values['compilation_cache'].value)
  config = run_flags.config_from_flags(overrides, values)
  with run_flags.planned(
    'train', config, overrides, values, check=check
  ) as plans:
    ((config, directory, checkpoint),) = plans
    print(f'Training in {directory}.', file=sys.stderr)
    print(cache, file=sys.stderr)
    is_done = agent_trainer.run(
      config, directory, checkpoint, values['tensorboard'].value
    )
  if is_done:
    print(f'Done: {directory / "curves.png"} shows the returns.')
  return is_done


def main(argv: Sequence[str] | None = None) -> None:
  """Trains as a command line says, this process's by default."""
  entry.main('train', __doc__, run_flags.define, run, argv)


if __name__ == '__main__':
  main()
