"""Evaluators: what they accept, refuse, and keep (dtypes, NaN, batches)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import evaluators

ALL = (
  evaluators.importance_sampling,
  evaluators.doubly_robust,
  evaluators.truncated_doubly_robust,
  functools.partial(evaluators.taylor_expansion, order=1),
  functools.partial(evaluators.taylor_expansion, order=2),
  functools.partial(evaluators.taylor_expansion, order=3, lambda_=0.9),
  functools.partial(evaluators.taylor_expansion, order=5),
  evaluators.log_likelihood,
)


@pytest.fixture(autouse=True)
def _strict_ranks():
  with jax.numpy_rank_promotion('raise'):
    yield


def make_arguments(seed=0, dtype=np.float64):
  """Five steps of everything, discount 0 after the third."""
  rng = np.random.default_rng(seed)
  v_tm1, v_t, r_t = rng.normal(size=(3, 5))
  discount_t = np.array([0.9, 0.8, 0.0, 0.7, 0.9])
  rho = rng.uniform(0.5, 2.0, 5)
  return [x.astype(dtype) for x in (v_tm1, v_t, r_t, discount_t, rho)]


@pytest.mark.parametrize('evaluator', ALL)
def test_nan_in_nan_out(evaluator):
  args = make_arguments()
  used = (2, 3, 4)
  if evaluator is not evaluators.importance_sampling:
    used = (0, 1, 2, 3, 4)
  for argument in used:
    changed = list(map(np.array, args))
    changed[argument][-1] = np.nan
    assert np.isnan(evaluator(*changed)).any(), argument
    if argument != 1:
      assert np.isnan(evaluator(*changed)[-1]), argument


@pytest.mark.parametrize('evaluator', ALL)
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_dtype_is_kept_and_transformations_agree(evaluator, dtype):
  batch = [make_arguments(seed, dtype) for seed in range(3)]
  stacked = [jnp.stack(x) for x in zip(*batch, strict=True)]
  results = jax.jit(jax.vmap(evaluator))(*stacked)
  assert results.dtype == dtype
  assert results.shape == (3, 5)
  tolerance = 1e-5 if dtype == np.float32 else 1e-13
  for args, result in zip(batch, results, strict=True):
    single = evaluator(*args)
    np.testing.assert_allclose(result, single, atol=tolerance, rtol=tolerance)


def test_mixed_dtypes_are_promoted():
  args = [np.ones(2, np.float32)] * 4 + [np.ones(2, np.float64)]
  for evaluator in ALL:
    assert evaluator(*args).dtype == np.float64


def test_one_step():
  one = np.ones(1)
  for evaluator in ALL:
    if evaluator is evaluators.importance_sampling:
      continue
    result = evaluator(2 * one, 3 * one, 5 * one, 0.5 * one, one)
    np.testing.assert_allclose(result, 6.5)


def test_options_may_be_traced():
  args = make_arguments()
  thresholds = jnp.array([0.5, 1.0, np.inf])
  batched = jax.jit(
    jax.vmap(
      lambda rho, c: evaluators.truncated_doubly_robust(
        *args, clip_rho_threshold=rho, clip_c_threshold=c
      )
    )
  )(thresholds, thresholds[::-1])
  mixed = jax.jit(
    jax.vmap(lambda x: evaluators.taylor_expansion(*args, lambda_=x, order=2))
  )(jnp.array([0.0, 0.5, 1.0]))
  for i, (rho, c) in enumerate(((0.5, np.inf), (1.0, 1.0), (np.inf, 0.5))):
    np.testing.assert_allclose(
      batched[i],
      evaluators.truncated_doubly_robust(
        *args, clip_rho_threshold=rho, clip_c_threshold=c
      ),
      atol=1e-13,
    )
    np.testing.assert_allclose(
      mixed[i],
      evaluators.taylor_expansion(*args, lambda_=i / 2, order=2),
      atol=1e-13,
    )


BAD_ARRAYS = {
  'scalar': (0.9, r'discount_t .* got a scalar.*full_like'),
  'rank': (np.ones((2, 5)), r'discount_t .* \(2, 5\).*vmap'),
  'length': (np.ones(4), r'same length T.*discount_t \[4\]'),
  'integer': (np.ones(5, np.int32), r'discount_t .*dtype int32.*astype'),
  'boolean': (np.ones(5, bool), r'discount_t .*dtype bool'),
  'complex': (np.ones(5, np.complex64), r'discount_t .*dtype complex64'),
  'missing': (None, r'discount_t .* got NoneType'),
  'text': ('abc', r'discount_t .* got str'),
}


@pytest.mark.parametrize('case', BAD_ARRAYS)
@pytest.mark.parametrize('evaluator', ALL)
def test_refuses_bad_arrays(evaluator, case):
  value, message = BAD_ARRAYS[case]
  args = make_arguments()
  args[3] = value
  with pytest.raises(ValueError, match=message):
    evaluator(*args)


@pytest.mark.parametrize('evaluator', ALL)
def test_refuses_empty_trajectories(evaluator):
  with pytest.raises(ValueError, match=r'T = 0.*at least one step'):
    evaluator(*[np.zeros(0)] * 5)


@pytest.mark.parametrize('order', [0, -1, 1.5, 2.0, True, 'two', None])
def test_refuses_bad_orders(order):
  args = make_arguments()
  with pytest.raises(ValueError, match='order .*integer of at least 1.*got'):
    evaluators.taylor_expansion(*args, order=order)


def test_refuses_a_traced_order():
  args = make_arguments()
  with pytest.raises(ValueError, match='order .*traced.*static'):
    jax.jit(lambda k: evaluators.taylor_expansion(*args, order=k))(2)


@pytest.mark.parametrize('name', ['clip_rho_threshold', 'clip_c_threshold'])
@pytest.mark.parametrize('threshold', [0, -1.0, np.nan, None, np.ones(4), 'a'])
@pytest.mark.parametrize('jit', [False, True])
def test_refuses_bad_thresholds(name, threshold, jit):
  args = make_arguments()
  f = functools.partial(evaluators.truncated_doubly_robust, **{name: threshold})
  with pytest.raises(ValueError, match=f'{name} .*greater than 0.*got'):
    (jax.jit(f) if jit else f)(*args)


@pytest.mark.parametrize('lambda_', [-0.1, 1.1, np.nan, np.ones(3), True])
@pytest.mark.parametrize(
  'evaluator', [evaluators.taylor_expansion, evaluators.log_likelihood]
)
def test_refuses_bad_lambdas(evaluator, lambda_):
  args = make_arguments()
  with pytest.raises(ValueError, match=r'lambda_ .*\[0, 1\].*got'):
    jax.jit(functools.partial(evaluator, lambda_=lambda_))(*args)


def test_refuses_half_a_state_action_critic():
  args = make_arguments()
  for given, missing in (('q_tm1', 'v_mu_tm1'), ('v_mu_tm1', 'q_tm1')):
    with pytest.raises(ValueError, match=f'{missing} must be given.*{given}'):
      evaluators.taylor_expansion(*args, **{given: np.ones(5)})
