"""Derivatives in every input, against finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import evaluators

LENGTH = 4
taylor = functools.partial(
  evaluators.taylor_expansion, stop_target_gradients=False
)

# Evaluators, and what else than the five arrays they are functions of.
CASES = {
  'importance_sampling': (evaluators.importance_sampling, ()),
  'dice_with_baseline': (evaluators.dice_with_baseline, ()),
  'doubly_robust': (evaluators.doubly_robust, ('lambda_',)),
  'doubly_robust_q': (evaluators.doubly_robust, ('lambda_', 'q_tm1')),
  'truncated': (
    evaluators.truncated_doubly_robust,
    (
      'lambda_',
      'leak_rho',
      'leak_c',
      'clip_rho_threshold',
      'clip_c_threshold',
      'q_tm1',
    ),
  ),
  **{
    f'taylor_{k}': (
      functools.partial(taylor, order=k),
      ('lambda_', 'causal_lambda'),
    )
    for k in (1, 2, 3, LENGTH)
  },
  'taylor_q': (
    functools.partial(taylor, order=3),
    ('lambda_', 'causal_lambda', 'q_tm1', 'v_mu_tm1'),
  ),
  'loaded_dice': (
    evaluators.loaded_dice,
    ('lambda_', 'causal_lambda', 'q_tm1'),
  ),
  'lvc': (
    functools.partial(evaluators.lvc, stop_target_gradients=False),
    ('lambda_',),
  ),
  'log_likelihood': (
    functools.partial(evaluators.log_likelihood, stop_target_gradients=False),
    ('lambda_',),
  ),
}


@pytest.fixture(autouse=True)
def _strict():
  with (
    jax.numpy_rank_promotion('raise'),
    jax.numpy_dtype_promotion('strict'),
  ):
    yield


def make_inputs(names):
  rng = np.random.default_rng(0)
  values = rng.normal(size=LENGTH + 1)
  inputs = {
    'v_tm1': values[:-1],
    'v_t': values[1:],
    'r_t': rng.normal(size=LENGTH),
    'discount_t': np.array([0.9, 0.0, 0.7, 0.95]),
    'rho_tm1': rng.uniform(0.5, 2.0, LENGTH),
  }
  for name in names:
    if name in ('q_tm1', 'v_mu_tm1'):
      inputs[name] = rng.normal(size=LENGTH)
    elif name.startswith('clip'):
      inputs[name] = rng.uniform(0.8, 1.2, LENGTH)
    else:
      inputs[name] = rng.uniform(0.2, 0.8, LENGTH)
  return {k: jnp.asarray(x) for k, x in inputs.items()}


@pytest.mark.parametrize('case', CASES)
def test_first_and_second_derivatives(case):
  """Along a direction in all inputs, and in each input alone."""
  evaluator, names = CASES[case]
  inputs = make_inputs(names)
  rng = np.random.default_rng(1)
  directions = {k: jnp.asarray(rng.normal(size=LENGTH)) for k in inputs}
  # One row for each input, and one for all of them together.
  masks = [
    {k: jnp.asarray(float(k == name or name == 'all')) for k in inputs}
    for name in (*inputs, 'all')
  ]
  masks = jax.tree.map(lambda *x: jnp.stack(x), *masks)

  def along(step, mask):
    moved = {k: x + step * mask[k] * directions[k] for k, x in inputs.items()}
    return evaluator(**moved)

  first = jax.jacfwd(along)
  second = jax.jacfwd(first)

  @jax.jit
  @jax.vmap
  def compare(mask):
    def difference(f, step):
      # Of fourth order: the error of the formula is below rounding's.
      return (
        8.0 * (f(step, mask) - f(-step, mask))
        - (f(2.0 * step, mask) - f(-2.0 * step, mask))
      ) / (12.0 * step)

    return (
      (first(0.0, mask), difference(along, 1e-3)),
      (second(0.0, mask), difference(first, 1e-3)),
    )

  for got, expected in compare(masks):
    np.testing.assert_allclose(got, expected, atol=1e-9, rtol=1e-9)
  got = compare(masks)[0][0]
  unused = {
    'importance_sampling': {'v_tm1', 'v_t'},
    'dice_with_baseline': {'v_t'},
    'taylor_1': {'causal_lambda'},
  }.get(case, set())
  for row, name in zip(got, inputs, strict=False):
    assert np.any(row) == (name not in unused), name
