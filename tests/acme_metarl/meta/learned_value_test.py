"""A value function trained over tasks."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import types
from acme_metarl.meta import baselines, preparation

GAMMA = 0.9


def _trials(key, dtype=jnp.float32, last_discount=1.0) -> types.Stage:
  """AR(1), x' = .8 x + noise, reward 3 + x, no end: V(x) = x / .28 + 30."""
  shape = (4, 2, 10)
  keys = jax.random.split(key, 2)
  first = jax.random.normal(keys[0], shape)
  noise = 0.3 * jax.random.normal(keys[1], (20, *shape))
  _, x = jax.lax.scan(lambda x, n: (0.8 * x + n,) * 2, first, noise)
  x = jnp.moveaxis(jnp.concatenate([first[jnp.newaxis], x]), 0, -1)
  ones = jnp.ones((*shape, 20))
  stage = types.Stage(
    observation={'x': x[..., jnp.newaxis]},
    action=ones,
    reward=3 + x[..., :-1],
    discount=ones.at[..., -1].set(last_discount),
    mask=ones,
    behaviour_log_prob=0 * ones,
  )
  return jax.tree_util.tree_map(lambda x: x.astype(dtype), stage)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.float64])
def test_learns_the_value_without_an_end(dtype):
  value = baselines.LearnedValue((16,), learning_rate=0.01, num_epochs=30)
  state = value.init(jax.random.PRNGKey(0), {'x': jnp.zeros((1,), dtype)})
  assert state.mean.dtype == dtype
  calls = []

  @jax.jit
  def update(state, trials):
    calls.append(1)
    return value.update(state, trials, GAMMA, 0.95)

  for i in range(60):
    trials = _trials(jax.random.PRNGKey(i), dtype)
    state = update(state, trials)
  assert len(calls) == 1
  values = value(trials.observation, trials.reward, trials.mask, state=state)
  assert values.shape == (4, 2, 10, 21) and values.dtype == dtype
  expected = trials.observation['x'][..., 0] / (1 - 0.8 * GAMMA) + 30
  error = np.sqrt(np.mean((values - expected) ** 2))
  assert error < 0.15 * np.std(expected)


def test_prepare_uses_it_and_holds_it_constant():
  value = baselines.LearnedValue((4,))
  trials = _trials(jax.random.PRNGKey(0))
  state = value.init(jax.random.PRNGKey(1), {'x': jnp.zeros(1)})
  state = value.update(state, trials, GAMMA, 1.0)
  stage = jax.tree_util.tree_map(lambda x: x[0, 0], trials)

  def prepare(state):
    return preparation.prepare(
      stage,
      discount=GAMMA,
      baseline=value,
      normalize=False,
      baseline_state=state,
    )

  values = value(stage.observation, stage.reward, stage.mask, state=state)
  np.testing.assert_allclose(prepare(state).v_tm1, values[:, :-1])
  gradient = jax.grad(
    lambda mean: jnp.sum(prepare(state._replace(mean=mean)).advantage)
  )(state.mean)
  assert gradient == 0


def test_masked_steps_teach_nothing():
  value = baselines.LearnedValue((4,), num_epochs=2)
  trials = _trials(jax.random.PRNGKey(0), last_discount=0.0)
  mask = trials.mask.at[..., 7:].set(0)
  trials = trials._replace(
    mask=mask, discount=trials.discount.at[..., 6].set(0) * mask
  )
  dirty = trials._replace(
    reward=jnp.where(mask > 0, trials.reward, 1e6),
    discount=jnp.where(mask > 0, trials.discount, 1.0),
  )
  state = value.init(jax.random.PRNGKey(1), {'x': jnp.zeros(1)})
  for a, b in zip(
    *(
      jax.tree_util.tree_leaves(value.update(state, x, GAMMA, 1.0))
      for x in (trials, dirty)
    ),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)


def test_is_a_setting_like_others():
  value = baselines.LearnedValue([8, 8], learning_rate=0.1)
  written = json.loads(json.dumps(dataclasses.asdict(value)))
  assert baselines.LearnedValue(**written) == value
  assert hash(baselines.LearnedValue(**written)) == hash(value)
  with pytest.raises(ValueError, match='num_epochs: got 0'):
    baselines.LearnedValue(num_epochs=0)
