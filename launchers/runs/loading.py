"""What was trained, ready for use: `acme_metarl.load`."""

from collections.abc import Callable, Mapping, Sequence
import io
import os
import pathlib
import re
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from acme_metarl import environments, types
from acme_metarl.launchers.runs import checkpointing, outputs
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import observations, policies

_SEED = re.compile(r'seed_(\d+)')


class Rollout(NamedTuple):
  """One rollout as a loop of one's own collects it, of any length.

  Attributes:
    observation: a list of T + 1, the last one what the last step led to; or the
      same as arrays `[T+1, ...]`.
    action: `[T, ...]`, or a list, as `Trained.act` returned them.
    reward: `[T]`, or a list.
    terminated: whether it ended before its time limit, say by a fall.
  """

  observation: chex.ArrayTree
  action: chex.Array
  reward: chex.Array
  terminated: bool = False


class Trained:
  """A policy that learned to adapt, in the environment that it learned it in.

  Attributes:
    config: everything that the run was, a `RunConfig`.
    iteration: how many iterations it was trained for.
    environment: the one of training, an `acme_metarl.Environment` or a
      `BatchedEnvironment`.
    policy: the network, a `types.Policy`.
    learner: the `MetaLearner`, all of whose functions are pure.
    meta_params: everything that was meta-learned.
    params: the policy's parameters before adaptation.
  """

  def __init__(
    self, config: run_config.RunConfig, checkpoint: checkpointing.Checkpoint
  ):
    """Puts a checkpoint back into the functions of its configuration.

    Raises:
      ValueError: if they do not fit together.
    """
    self.config = config
    self.iteration = checkpoint.step
    self.environment = config.make_environment()
    self._specs = environments.batch(self.environment)
    self.policy, self.learner, self.meta_params = restored(
      config, checkpoint, self._specs
    )
    self.params, self._opt_state = self.learner.init_inner(self.meta_params)
    self._log_prob = jax.jit(policies.log_prob_fn(self.policy))
    self._prepare = jax.jit(self.learner.prepare)
    self._update = jax.jit(self.learner.update_inner)
    self._act = jax.jit(self._draw)

  def _draw(self, params, observation, key, state):
    distribution, state = policies.act(self.policy, params, observation, state)
    if key is None:
      return distribution.mode(), state
    return distribution.sample(seed=key), state

  def initial_state(self, *batch_shape: int) -> types.PyTree:
    """What a recurrent policy remembers at the start; `()` of another one."""
    return policies.initial_state(self.policy, batch_shape)

  def act(
    self,
    params: types.PyTree,
    observation: chex.ArrayTree,
    key: chex.PRNGKey | None = None,
    state: types.PyTree | None = None,
  ) -> Any:
    """Draws actions.

    Args:
      params: `self.params`, or what `adapt` returned.
      observation: of one rollout, or of any batch `[..., n]`.
      key: random key; without one the mode of the distribution is taken.
      state: of a recurrent policy, see `initial_state`.

    Returns:
      Raw actions `[..., m]`, which the environments of this library scale and
      clip themselves; if a state is given, `(actions, next state)`.

    Raises:
      ValueError: if the observation has another shape than in training, or a
        recurrent policy gets no state.
    """
    self._check(observation)
    if state is None and self.policy.initial_state is not None:
      raise ValueError(
        'state: got None, but the policy is recurrent; pass initial_state() at'
        ' the start of a rollout, and after it the state that came last.'
      )
    remembered = () if state is None else state
    action, remembered = self._act(params, observation, key, remembered)
    return action if state is None else (action, remembered)

  def _check(self, observation: chex.ArrayTree) -> None:
    def check(spec, x):
      shape, need = np.shape(x), tuple(spec.shape)
      if shape[len(shape) - len(need) :] != need or len(shape) < len(need):
        raise ValueError(
          f'observation: got shape {shape}, need one that ends in {need}, as'
          ' in training.'
        )

    spec = self._specs.observation_spec()
    jax.tree_util.tree_map(
      check, observations.plain(spec), observations.plain(observation)
    )

  def stage(
    self,
    rollouts: types.Stage | Sequence[Any],
    params: types.PyTree | None = None,
  ) -> types.Stage:
    """Rollouts of one task in the arrays that adaptation takes.

    Args:
      rollouts: B of them, each a `Rollout` or a tuple of the same; or a
        `Stage`, which is returned as it is.
      params: of the policy that acted, the one before adaptation by default.

    Returns:
      A stage `[B, T, ...]`; rollouts shorter than the longest are masked. Their
      ends are time limits where they did not terminate, which the run's
      `bootstrap_on_timeout` says how to take.

    Raises:
      ValueError: if lengths do not fit together.
    """
    if isinstance(rollouts, types.Stage):
      return rollouts
    if not rollouts:
      raise ValueError('rollouts: got none, need at least one.')
    rows = [_as_arrays(Rollout(*one)) for one in rollouts]
    lengths = [len(row.reward) for row in rows]
    horizon = max(lengths)
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
      leaves = jax.tree_util.tree_leaves(row.observation)
      sizes = {len(row.action) + 1, *map(len, leaves)}
      if not length or sizes != {length + 1}:
        raise ValueError(
          f'rollouts[{i}]: got {len(leaves[0])} observations,'
          f' {len(row.action)} actions and {length} rewards; need T + 1, T and'
          ' T, at least one.'
        )
      self._check(row.observation)

    def stack(arrays, length):
      """Repeats the last entries."""
      index = np.arange(length)
      return np.stack(
        [np.asarray(x)[index.clip(max=len(x) - 1)] for x in arrays]
      )

    steps = np.arange(horizon)[np.newaxis]
    last = np.array(lengths)[:, np.newaxis] - 1
    ends = np.array(
      [row.terminated or not self.config.bootstrap_on_timeout for row in rows]
    )[:, np.newaxis]
    observation = jax.tree_util.tree_map(
      lambda *x: stack(x, horizon + 1), *[row.observation for row in rows]
    )
    action = stack([row.action for row in rows], horizon)
    mask = (steps <= last).astype(np.float32)
    return types.Stage(
      observation=observation,
      action=action,
      reward=stack([row.reward for row in rows], horizon).astype(np.float32)
      * mask,
      discount=mask * ~((steps == last) & ends),
      mask=mask,
      behaviour_log_prob=self._log_prob(
        self.params if params is None else params,
        jax.tree_util.tree_map(lambda x: x[:, :-1], observation),
        action,
      ),
    )

  def prepare(
    self,
    rollouts: types.Stage | Sequence[Any],
    params: types.PyTree | None = None,
  ) -> types.Prepared:
    """Critic and advantages of rollouts of one task, see `stage`."""
    return self._prepare(self.meta_params, self.stage(rollouts, params))

  def adapt(self, *rollouts: types.Stage | Sequence[Any]) -> types.PyTree:
    """Adapts to a task, as in training.

    Args:
      *rollouts: of the task, one set for each step, see `stage`. The first set
        was played with `self.params`, the second with `adapt(first)`, the third
        with `adapt(first, second)`, …

    Returns:
      The adapted policy's parameters, for `act`.
    """
    params, opt_state = self.params, self._opt_state
    for one in rollouts:
      params, opt_state = self._update(
        self.meta_params, params, opt_state, self.prepare(one, params)
      )
    return params

  def save_npz(
    self, path: str | os.PathLike[str], params: types.PyTree | None = None
  ) -> None:
    """Writes a policy's parameters as arrays by name, for programs without JAX.

    Args:
      path: of the `.npz` file.
      params: what `adapt` returned; those before adaptation by default.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(
      self.params if params is None else params
    )
    arrays = {
      jax.tree_util.keystr(place, simple=True, separator='/'): np.asarray(leaf)
      for place, leaf in leaves
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    outputs.write(path, buffer.getvalue())


def _as_arrays(row: Rollout) -> Rollout:
  observation = row.observation
  if isinstance(observation, list):
    observation = jax.tree_util.tree_map(lambda *x: np.stack(x), *observation)
  return Rollout(
    jax.tree_util.tree_map(np.asarray, observation),
    np.asarray(row.action),
    np.asarray(row.reward),
    row.terminated,
  )


def load(
  logdir: str | os.PathLike[str],
  *,
  seed: int | None = None,
  given: Mapping[str, Callable[..., Any]] | None = None,
) -> Trained:
  """Loads what a run has trained, from its newest whole checkpoint.

      run = acme_metarl.load('results/train/RUN')
      action = run.act(run.params, observation, key)
      adapted = run.adapt(rollouts)

  Checkpoints of `train`, `train_on_device` and `train_distributed` are alike,
  and none of them needs Acme here.

  Args:
    logdir: a run's log directory, or a checkpoint of it.
    seed: which one, where several were trained at once.
    given: functions of your own that the run was trained with, by the text
      'package.module:name' that its `config.json` has for them. A file alone
      imports nothing.

  Returns:
    The policy, its parameters, and how to act and to adapt.

  Raises:
    ValueError: if there is no checkpoint, or it lacks something.
  """
  checkpoint = run_config.find_checkpoint(str(_of_seed(logdir, seed)))
  return Trained(run_config.config_of(checkpoint, given), checkpoint)


def _of_seed(logdir: str | os.PathLike[str], seed: int | None) -> pathlib.Path:
  """The directory of one run, where there may be several beside each other."""
  directory = pathlib.Path(logdir).expanduser()
  if directory.is_file() or (directory / run_config.CHECKPOINTS).is_dir():
    return directory
  found = {
    int(match.group(1)): path
    for path in directory.glob('seed_*')
    if (match := _SEED.fullmatch(path.name))
  }
  if seed is None and len(found) > 1:
    raise ValueError(
      f'seed: {str(directory)!r} has several,'
      f' {", ".join(map(str, sorted(found)))}; say which, for example'
      f' seed={min(found)}.'
    )
  if seed is not None and seed not in found:
    raise ValueError(
      f'seed: {str(directory)!r} has no {seed!r}; there are'
      f' {sorted(found) or "none"}.'
    )
  return found[min(found) if seed is None else seed] if found else directory


def restored(
  config: run_config.RunConfig,
  checkpoint: checkpointing.Checkpoint,
  environment: Any,
) -> tuple[types.Policy, learner_lib.MetaLearner, learner_lib.MetaParams]:
  """The policy, the learner and the meta-parameters of a checkpoint.

  Args:
    config: of the run.
    checkpoint: of the run.
    environment: whose specs are those of one rollout.

  Raises:
    ValueError: if the checkpoint is of another configuration.
  """
  observation_spec = environment.observation_spec()
  policy = config.make_policy(environment) or config.algorithm.make_policy(
    environment.action_spec(), observation_spec
  )
  learner = learner_lib.make_meta_learner(
    config.algorithm, policy, observation_spec=observation_spec
  )
  template = jax.eval_shape(
    learner.init,
    jax.random.PRNGKey(0),
    jax.tree_util.tree_map(
      lambda spec: jax.ShapeDtypeStruct(
        spec.shape, jax.dtypes.canonicalize_dtype(spec.dtype)
      ),
      observation_spec,
    ),
  )
  template = jax.tree_util.tree_map(
    lambda x: np.empty(x.shape, x.dtype), template
  )
  state = checkpointing.restore_tree(template, checkpoint.arrays)
  return policy, learner, state.params
