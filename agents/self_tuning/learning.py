"""The learner: an update for each batch, and the way back after K of them."""

from collections.abc import Iterator, Sequence
import time
from typing import Any, NamedTuple

from acme import core
from acme.utils import counting, loggers
import chex
import jax
import numpy as np

from acme_metarl import self_tuning, types
from acme_metarl.agents.maml import replay


class LearnerState(NamedTuple):
  """All that learning carries on.

  Attributes:
    tuner: as it was after the last meta-update.
    params: of the networks now, up to K updates later.
    opt_state: of the optimiser now.
    batches: those of these updates, `[N, T, ...]` each.
    num_batches: learned from so far.
  """

  tuner: self_tuning.TunerState
  params: types.PyTree
  opt_state: Any
  batches: tuple[types.Stage, ...]
  num_batches: int


class SelfTuningLearner(core.Learner):
  """Takes batches, each for an update of the networks at once.

  After K of them the next is the validation batch: the meta-update goes through
  the K updates anew, from where they began, which gives the very parameters
  that actors have had since. Then the validation batch is the next first one.

  Actors that do not wait for the learner take batches off-policy; evaluators
  correct for that by the stored log-probabilities. The log's `lag` is how many
  batches lie between the parameters that a rollout was played with and those
  that it updates.
  """

  def __init__(
    self,
    tuner: self_tuning.Tuner,
    key: chex.PRNGKey,
    observation: chex.ArrayTree,
    iterator: Iterator[replay.Batch],
    counter: counting.Counter | None = None,
    logger: loggers.Logger | None = None,
  ):
    """Makes a learner.

    Args:
      tuner: the pure functions.
      key: initialises the networks.
      observation: an example, unbatched.
      iterator: of batches of `items.Item`.
      counter: of learner steps.
      logger: of what each meta-update says about itself.
    """
    self._tuner = tuner
    self._iterator = iterator
    self._counter = counter or counting.Counter()
    self._logger = logger
    self._update = jax.jit(tuner.update.update)
    self._meta_update = jax.jit(self._meta_update_fn)
    state = jax.jit(tuner.init)(key, observation)
    meta_params = state.meta_params
    self._state = LearnerState(
      state, meta_params.params, meta_params.opt_state, (), 0
    )
    self._observation_structure = jax.tree_util.tree_structure(observation)
    self._last_time: float | None = None

  @property
  def state(self) -> LearnerState:
    """Everything that learning carries on."""
    return self._state

  def step(self) -> None:
    """Takes one batch."""
    data = next(self._iterator).data
    # Without a thread in between, the batch has arrived where it is needed.
    getattr(self._iterator, 'hand_over', lambda: None)()
    # Reverb gives anonymous tuples for the named ones of an observation.
    stage = data.stages._replace(
      observation=jax.tree_util.tree_unflatten(
        self._observation_structure,
        jax.tree_util.tree_leaves(data.stages.observation),
      )
    )
    stage = types.Stage(*stage)
    lag = self._state.num_batches - np.asarray(data.learner_step)
    config = self._tuner.config
    if not config.tuned:
      self._learn(stage)
      self._write(self._tuner.numbers(self._state.tuner), lag)
    elif len(self._state.batches) < config.num_inner_steps:
      self._learn(stage)
    else:
      metrics = self._tune(stage)
      if config.reuses_validation:
        self._learn(stage)
      self._write(metrics, lag)
    self._state = self._state._replace(num_batches=self._state.num_batches + 1)

  def _learn(self, stage: types.Stage) -> None:
    state = self._state
    params, opt_state = self._update(
      state.tuner.meta_params, state.params, state.opt_state, stage
    )
    batches = (*state.batches, stage) if self._tuner.config.tuned else ()
    self._state = state._replace(
      params=params, opt_state=opt_state, batches=batches
    )

  def _tune(self, validation: types.Stage) -> dict[str, Any]:
    batches = self._state.batches
    tuner, metrics = self._meta_update(self._state.tuner, batches, validation)
    self._state = self._state._replace(
      tuner=tuner,
      params=tuner.meta_params.params,
      opt_state=tuner.meta_params.opt_state,
      batches=(),
    )
    return metrics

  def _meta_update_fn(self, state, batches, validation):
    def play(params, rest):
      del params  # They were played before.
      return rest[0], rest[1:]

    first, *rest = batches
    state, _, _, metrics = self._tuner.step(
      state, first, play, (*rest, validation)
    )
    return state, metrics

  def _write(self, metrics: dict[str, Any], lag: np.ndarray) -> None:
    now = time.time()
    seconds = 0.0 if self._last_time is None else now - self._last_time
    self._last_time = now
    counts = self._counter.increment(steps=1, walltime=seconds)
    if self._logger is None:
      return
    self._logger.write(
      {
        **counts,
        'lag': float(np.mean(lag)),
        **{name: np.asarray(x).item() for name, x in metrics.items()},
      }
    )

  def get_variables(self, names: Sequence[str]) -> list[Any]:
    state = self._state  # Once: another thread may be stepping.
    variables = {
      'policy': lambda: jax.device_get(state.params),
      'learner_step': lambda: state.num_batches,
      'hyperparameters': lambda: jax.device_get(
        self._tuner.numbers(state.tuner)
      ),
    }
    unknown = sorted(set(names) - set(variables))
    if unknown:
      raise ValueError(
        f'names: got {", ".join(unknown)}; the learner has'
        f' {", ".join(variables)}.'
      )
    return [variables[name]() for name in names]

  def save(self) -> LearnerState:
    """Returns the whole state, as numpy arrays."""
    return jax.device_get(self._state)

  def restore(self, state: LearnerState) -> None:
    """Goes on from `save`.

    Raises:
      ValueError: if the state is that of another network or optimiser.
    """
    if _shapes(self._state) != _shapes(state):
      raise ValueError(
        'state: its arrays are not those of this network and optimiser. Make'
        ' the learner with the configuration of the run that saved it.'
      )
    self._state = state


def _shapes(state: LearnerState) -> Any:
  return jax.tree_util.tree_map(
    lambda x: (np.shape(x), np.asarray(x).dtype),
    (state.tuner, state.params, state.opt_state),
  )
