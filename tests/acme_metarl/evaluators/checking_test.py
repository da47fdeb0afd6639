"""Every evaluator, proved by the check that users have; and the check."""

import functools

import jax
import jax.numpy as jnp
import pytest

from acme_metarl import evaluators

taylor = evaluators.taylor_expansion
check = evaluators.check_derivatives


# Up to which order derivatives are unbiased on and off the behaviour policy.
@pytest.mark.parametrize(
  ('evaluator', 'options', 'orders'),
  [
    (evaluators.importance_sampling, {'bootstrap': False}, (2, 2)),
    (evaluators.dice, {'bootstrap': False}, (2, 2)),
    (evaluators.dice_with_baseline, {'bootstrap': False}, (2, 2)),
    (evaluators.doubly_robust, {'up_to': 3}, (3, 3)),
    (evaluators.doubly_robust, {'critic': 'state_action'}, (2, 2)),
    (evaluators.loaded_dice, {'critic': 'state_action'}, (2, 2)),
    (evaluators.loaded_dice, {'causal_lambda': 0.5}, (1, -1)),
    (evaluators.loaded_dice, {'stop_target_gradients': True}, (2, 2)),
    (
      evaluators.vtrace,
      {'clip_rho_threshold': 1e9, 'clip_c_threshold': 1e9},
      (2, 2),
    ),
    (evaluators.vtrace, {'leak_rho': 0.0, 'leak_c': 0.0}, (2, 2)),
    (evaluators.lvc, {}, (1, -1)),
    (evaluators.lvc, {'critic': 'state_action'}, (1, -1)),
    (taylor, {'order': 2, 'up_to': 3}, (2, -1)),
    (taylor, {'order': 2, 'critic': 'state_action'}, (2, -1)),
    (taylor, {'order': 2, 'causal_lambda': 0.5}, (1, -1)),
    (taylor, {'order': 3, 'up_to': 3}, (3, 3)),
    (taylor, {'order': 3, 'critic': 'state_action'}, (2, 2)),
    (
      taylor,
      {
        'order': 3,
        'critic': 'state_action',
        'stop_target_gradients': False,
      },
      (2, 2),
    ),
    (evaluators.log_likelihood, {}, (1, -1)),
    (evaluators.importance_sampling, {}, (-1, -1)),  # No critic to end with.
  ],
)
def test_orders_without_bias(evaluator, options, orders):
  options = dict(options)
  order, up_to = options.pop('order', None), options.pop('up_to', 2)
  if order is not None:
    evaluator = functools.partial(evaluator, order=order)
  result = check(evaluator, order=up_to, **options)
  assert result.unbiased_orders(1e-11) == orders, result
  for bias, unbiased in zip(
    (result.on_policy, result.off_policy), orders, strict=True
  ):
    assert all(x > 1e-7 for x in bias[unbiased + 1 : unbiased + 2])


def test_truncated_ratios_are_biased_off_policy_only_by_what_is_truncated():
  result = check(evaluators.vtrace, order=1)
  assert result.unbiased_orders() == (1, -1)


def test_float64_for_programs_in_float32():
  before = jax.config.jax_enable_x64
  jax.config.update('jax_enable_x64', False)
  try:
    result = check(evaluators.doubly_robust, order=1)
    assert result.unbiased_orders(1e-13) == (1, 1)
    assert jnp.ones(1).dtype == jnp.float32
  finally:
    jax.config.update('jax_enable_x64', before)


def test_a_users_mistakes_are_told():
  def first_only(v_tm1, v_t, r_t, discount_t, rho_tm1):
    return evaluators.doubly_robust(v_tm1, v_t, r_t, discount_t, rho_tm1)[0]

  with pytest.raises(ValueError, match=r'returned shape \(\), \[T\] is needed'):
    check(first_only)
  with pytest.raises(ValueError, match='order must be at least 0 .*got -1'):
    check(evaluators.doubly_robust, order=-1)
  with pytest.raises(ValueError, match="critic must be .*got 'q'"):
    check(evaluators.doubly_robust, critic='q')


def test_a_users_evaluator_with_a_fault_is_found_out():
  def extra_discount(v_tm1, v_t, r_t, discount_t, rho_tm1):
    return evaluators.doubly_robust(v_tm1, v_t, r_t, discount_t**2, rho_tm1)

  assert check(extra_discount).unbiased_orders() == (-1, -1)


def test_what_it_looks_like():
  result = evaluators.DerivativeCheck((0.0, 1e-16, 0.25), (0.1, 0.2, 0.3))
  assert repr(result).splitlines() == [
    'DerivativeCheck: relative bias of the expected derivative',
    '  order  on-policy  off-policy',
    '      0    0.0e+00     1.0e-01',
    '      1    1.0e-16     2.0e-01',
    '      2    2.5e-01     3.0e-01',
  ]
