"""Makes a stage of one task ready for adaptation; knows no policy."""

import chex
import jax
import jax.numpy as jnp

from acme_metarl import types
from acme_metarl.evaluators import recurrences, reductions
from acme_metarl.meta import baselines


def prepare(
  stage: types.Stage,
  *,
  discount: float,
  gae_lambda: float = 1.0,
  baseline: baselines.Baseline | None = None,
  normalize: bool = True,
  baseline_state: types.PyTree = (),
) -> types.Prepared:
  """Turns a stage of one task into what adaptation needs.

  Fits the baseline to the discounted returns-to-go of this stage alone (where
  the last discount of a row is not 0, the critic's value of x_T follows them),
  estimates advantages (Schulman et al., "High-Dimensional Continuous Control
  Using Generalized Advantage Estimation", 2016, equation 16,
  https://arxiv.org/abs/1506.02438), and normalises them over all steps of the
  task. Batches of stages and tasks are made by `jax.vmap`.

  >>> from acme_metarl.meta import baselines
  >>> one_step = types.Stage(
  ...     observation=jnp.zeros((1, 3, 2)), action=jnp.zeros((1, 2, 1)),
  ...     reward=jnp.array([[1., 2.]]), discount=jnp.array([[1., 0.]]),
  ...     mask=jnp.ones((1, 2)), behaviour_log_prob=jnp.zeros((1, 2)))
  >>> prepared = prepare(one_step, discount=.5, baseline=baselines.Zero(),
  ...                    normalize=False)
  >>> prepared.advantage.tolist()
  [[2.0, 2.0]]

  Args:
    stage: one stage of one task.
    discount: discount factor γ in [0, 1].
    gae_lambda: λ of generalised advantage estimation.
    baseline: fits the critic; the linear feature baseline by default.
    normalize: whether advantages get mean 0 and standard deviation 1, which
      moves critic and rewards with them (`reductions.normalize_advantages`).
    baseline_state: of a baseline that the outer loop trains; others need none.

  Returns:
    The prepared stage.

  Raises:
    ValueError: if the stage's shapes do not fit together.
  """
  check_stage(stage)
  if baseline is None:
    baseline = baselines.LinearFeature()
  mask = stage.mask.astype(stage.reward.dtype)
  stage = _without_masked_infinities(stage)
  r_t = jnp.where(mask > 0, stage.reward, 0.0)
  discount_t = discount * stage.discount * mask
  returns = discounted_sums(r_t, discount_t)
  values = baselines.evaluate(
    baseline, stage.observation, returns, discount_t, mask, baseline_state
  )
  v_tm1, v_t = values[:, :-1], values[:, 1:]
  td_errors = r_t + discount_t * v_t - v_tm1
  advantage = discounted_sums(td_errors * mask, gae_lambda * discount_t)
  if normalize:
    v_tm1, v_t, r_t, advantage = reductions.normalize_advantages(
      v_tm1, v_t, r_t, advantage, mask
    )
  return types.Prepared(
    observation=jax.tree_util.tree_map(lambda x: x[:, :-1], stage.observation),
    action=stage.action,
    v_tm1=v_tm1,
    v_t=v_t,
    r_t=r_t,
    discount_t=discount_t,
    advantage=advantage,
    mask=mask,
    behaviour_log_prob=stage.behaviour_log_prob,
    behaviour_params=stage.behaviour_params,
  )


def discounted_sums(x: chex.Array, discount_t: chex.Array) -> chex.Array:
  """Returns y_t = x_t + discount_t y_{t+1} with y_T = 0.

  >>> discounted_sums(jnp.array([[1., 2.]]), jnp.array([[.5, .5]])).tolist()
  [[2.0, 2.0]]

  Args:
    x: `[B, T]`.
    discount_t: `[B, T]`.

  Returns:
    `[B, T]`.
  """
  zeros = jnp.zeros_like(x[:, 0])
  return jax.vmap(recurrences.linear)(discount_t, x, zeros)


def check_stage(stage: types.Stage) -> None:
  """Checks that the shapes of a stage fit together.

  >>> x = jnp.zeros((2, 3))
  >>> check_stage(types.Stage(jnp.zeros((2, 4, 1)), x, x, x, x, x))

  Args:
    stage: one stage of one task.

  Raises:
    ValueError: if they do not; names the field.
  """
  shape = jnp.shape(stage.reward)
  if len(shape) != 2:
    raise ValueError(
      'stage must be one stage of one task, with rewards [B, T], but reward has'
      f' shape {shape}. Use jax.vmap for stages and tasks.'
    )
  for name in ('discount', 'mask', 'behaviour_log_prob'):
    other = jnp.shape(getattr(stage, name))
    if other != shape:
      raise ValueError(
        f'stage.{name} must have the shape of stage.reward, {shape}, but has'
        f' {other}.'
      )
  if jnp.shape(stage.action)[:2] != shape:
    raise ValueError(
      f'stage.action must start with {shape}, but has shape'
      f' {jnp.shape(stage.action)}.'
    )
  for leaf in jax.tree_util.tree_leaves(stage.observation):
    if jnp.shape(leaf)[:2] != (shape[0], shape[1] + 1):
      raise ValueError(
        f'stage.observation must start with {(shape[0], shape[1] + 1)} (one'
        f' more than the steps), but has shape {jnp.shape(leaf)}.'
      )


def _without_masked_infinities(stage: types.Stage) -> types.Stage:
  """Rollouts that acted non-finitely ended there; what they did is no data."""

  def clean(x):
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
      return x
    mask = jnp.reshape(stage.mask > 0, stage.mask.shape + (1,) * (x.ndim - 2))
    return jnp.where(mask | jnp.isfinite(x), x, jnp.zeros_like(x))

  return stage._replace(
    action=jax.tree_util.tree_map(clean, stage.action),
    behaviour_log_prob=clean(stage.behaviour_log_prob),
  )
