"""Training in one compiled function: environment and learner on one device."""

from collections.abc import Sequence
from typing import Any

from absl import logging
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from acme_metarl import environments, on_device, types
from acme_metarl.environments import task_classes
from acme_metarl.launchers.runs import checkpointing, played, seeds
from acme_metarl.launchers.runs import config as run_config

# Most iterations between two looks at what the user wants.
_MOST = 20


def make_environment(
  config: run_config.RunConfig, stream: str = 'train'
) -> types.Environment:
  """Makes the environment of a stream of a run.

  Raises:
    ValueError: if it cannot run on a device.
  """
  environment = config.make_environment(stream)
  if hasattr(environment, 'sample_tasks'):
    raise ValueError(
      f'environment: {config.environment} steps on the host and cannot run on'
      ' a device. Use launchers.train, or for half-cheetah, ant and walker2d'
      ' \'--environment_options={"backend": "mjx"}\'.'
    )
  return environment


def check(config: run_config.RunConfig) -> None:
  """Refuses, before anything is written, what cannot train on a device.

  Raises:
    ValueError: naming it.
  """
  if config.agent['reuse'] != 1:
    raise ValueError(
      'reuse: on a device every trial is used once; leave it out, or use'
      ' launchers.train.'
    )
  config.make_policy(make_environment(config))
  make_environment(config, 'evaluation')


class Trainer:
  """Runs that differ in their seed, in step: a `loop.Trainer`.

  One compiled function iterates, however often, another one evaluates. Devices
  share out the seeds, or the tasks of a single one.

  Attributes:
    iteration: how many iterations are done.
  """

  def __init__(
    self,
    configs: Sequence[run_config.RunConfig],
    devices: Sequence[jax.Device],
  ):
    """Makes the trainer.

    Args:
      configs: of the runs, the same but for the seed.
      devices: to train on.

    Raises:
      ValueError: if the environment cannot run on a device.
    """
    config = configs[0]
    self._devices = tuple(devices)
    shared = {
      'policy': config.make_policy(make_environment(config)),
      'num_eval_tasks': config.algorithm.num_tasks,
      'bootstrap_on_timeout': config.bootstrap_on_timeout,
      'devices': devices if len(configs) == 1 else devices[:1],
    }

    self._trained = make_environment(config)
    evaluated = make_environment(config, 'evaluation')
    self._evaluated = evaluated
    trainer, evaluator = (
      on_device.make_trainer(config.algorithm, environment, **shared)
      for environment in (self._trained, evaluated)
    )
    self._states = jax.tree_util.tree_map(
      lambda *x: jnp.stack(x),
      *[jax.jit(trainer.init)(seeds.key(x.seed)) for x in configs],
    )
    self._environment_steps = [0] * len(configs)
    self._num_diverged = [0] * len(configs)
    self.iteration = 0
    every = [x for x in (config.eval_every, config.checkpoint_every) if x]
    self._most = min(_MOST, config.num_iterations, *every) or 1

    def advance(length, state):
      def step(i, carry):
        state, history = carry
        state, metrics = trainer.iterate(state)
        return state, {k: history[k].at[i].set(x) for k, x in metrics.items()}

      history = {
        k: jnp.zeros((self._most, *x.shape), x.dtype)
        for k, x in jax.eval_shape(trainer.iterate, state)[1].items()
      }
      return lax.fori_loop(0, length, step, (state, history))

    # The length is traced: odd ones are the same program.
    self._advance = jax.jit(self._on_seeds(advance))
    self._evaluate = jax.jit(
      self._on_seeds(lambda _, state: evaluator.evaluate(state))
    )

  def _on_seeds(self, function):
    """A function of (length, state), for states `[S, ...]`."""

    def on_one(length, states):
      state = jax.tree_util.tree_map(lambda x: x[0], states)
      return jax.tree_util.tree_map(
        lambda x: x[jnp.newaxis], function(length, state)
      )

    def on_all(length, states):
      return on_device.map_seeds(function, length, states, self._devices)

    return on_one if len(self._environment_steps) == 1 else on_all

  def advance(self, most: int) -> list[list[dict[str, Any]]]:
    """Iterates in one call of the compiled function, see `loop.Trainer`."""
    length = min(most, self._most)
    states, metrics = jax.device_get(self._advance(length, self._states))
    first = self.iteration + 1
    rows = [
      self._rows(member, {k: x[member, :length] for k, x in metrics.items()})
      for member in range(len(self._environment_steps))
    ]
    self._states = states
    self.iteration = first + length - 1
    return rows

  def _rows(
    self, member: int, metrics: dict[str, np.ndarray]
  ) -> list[dict[str, Any]]:
    rows = []
    for values in zip(*metrics.values(), strict=True):
      row = dict(zip(metrics, (x.item() for x in values), strict=True))
      num_steps = round(row.pop('num_steps'))
      self._count_diverged(member, num_steps, round(row['num_diverged']))
      row['num_diverged'] = self._num_diverged[member]
      self._environment_steps[member] += num_steps
      rows.append(
        {
          'iteration': self.iteration + len(rows) + 1,
          'environment_steps': self._environment_steps[member],
          **row,
        }
      )
    return rows

  def _count_diverged(
    self, member: int, num_steps: int, num_diverged: int
  ) -> None:
    """Says once that rollouts diverged; refuses where nothing else happens."""
    if not num_steps:
      raise ValueError(
        f'environment: no rollout of {self._trained!r} took a single step; what'
        ' its reset and its first step show must be finite, and so must the'
        ' actions of the policy.'
      )
    if num_diverged and not any(self._num_diverged):
      logging.warning(
        '%r: %d rollouts of an iteration were ended, because they diverged or'
        ' the policy acted non-finitely; make it end them itself (discount 0),'
        ' or stay finite. num_diverged counts them, this is logged once.',
        self._trained,
        num_diverged,
      )
    self._num_diverged[member] += num_diverged

  def evaluate(self) -> list[played.Played]:
    """Plays on tasks drawn anew; a mean return stands for a task's rollouts."""
    of_all = jax.device_get(self._evaluate(0, self._states))
    return [
      self._played(jax.tree_util.tree_map(lambda x, i=i: x[i], of_all))
      for i in range(len(self._environment_steps))
    ]

  def _played(self, evaluation: on_device.Evaluation) -> played.Played:
    return played.Played(
      evaluation.returns[..., np.newaxis],
      evaluation.scalars,
      task_classes.names_of(
        self._evaluated, evaluation.tasks, len(evaluation.returns)
      ),
      environments.tasks_in_words(self._evaluated),
    )

  def save(self) -> list[tuple[types.PyTree, dict[str, Any]]]:
    """Arrays of the learner, and the random key, of every run."""
    states = jax.device_get(self._states)
    return [
      (
        jax.tree_util.tree_map(lambda x, i=i: x[i], states.meta),
        {
          'environment_steps': steps,
          'num_diverged': self._num_diverged[i],
          'key': states.key[i].tolist(),
        },
      )
      for i, steps in enumerate(self._environment_steps)
    ]

  def restore(self, checkpoints: Sequence[checkpointing.Checkpoint]) -> None:
    """Goes on where `save` was called.

    Raises:
      ValueError: if the checkpoints are of another configuration or launcher.
    """
    states = []
    for i, checkpoint in enumerate(checkpoints):
      template = jax.tree_util.tree_map(
        lambda x, i=i: x[i], jax.device_get(self._states)
      )
      key = np.asarray(checkpoint.get('key'), np.uint32)
      if key.shape != template.key.shape:
        raise ValueError(
          f'resume: the random key in {checkpoint.path} is of another kind '
          'than those that JAX makes now; see JAX_DEFAULT_PRNG_IMPL.'
        )
      states.append(
        on_device.TrainState(
          meta=checkpointing.restore_tree(template.meta, checkpoint.arrays),
          key=key,
          iteration=np.int32(checkpoint.get('iteration')),
        )
      )
      self._environment_steps[i] = checkpoint.get('environment_steps')
      # Checkpoints of earlier versions did not count them.
      self._num_diverged[i] = checkpoint.metadata.get('num_diverged', 0)
    self._states = jax.tree_util.tree_map(lambda *x: jnp.stack(x), *states)
    self.iteration = checkpoints[0].get('iteration')

  def close(self) -> None:
    """Holds nothing but memory."""
