"""Code of a user, which the type checker reads as well (`make types`)."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

import acme_metarl
from acme_metarl import evaluators, presets, types
from acme_metarl.evaluators import reductions


def _mine(
  v_tm1: chex.Array,
  v_t: chex.Array,
  r_t: chex.Array,
  discount_t: chex.Array,
  rho_tm1: chex.Array,
  *,
  scale: float = 1.0,
) -> chex.Array:
  """An evaluator of a user's own, with an option."""
  return scale * evaluators.doubly_robust(v_tm1, v_t, r_t, discount_t, rho_tm1)


def _too_few(v_tm1: chex.Array) -> chex.Array:
  return v_tm1


_EVALUATORS: list[evaluators.Evaluator] = [
  evaluators.dice,
  evaluators.doubly_robust,
  evaluators.importance_sampling,
  evaluators.loaded_dice,
  evaluators.log_likelihood,
  evaluators.lvc,
  evaluators.taylor_expansion,
  evaluators.truncated_doubly_robust,
  _mine,
]
# The checker refuses these; it would tell of a comment that is not needed.
_REFUSED: evaluators.Evaluator = _too_few  # type: ignore[assignment]
_REDUCTIONS: list[reductions.Reduction] = [
  reductions.per_step,
  reductions.start_state,
]


def _estimate(evaluator: evaluators.Evaluator) -> jax.Array:
  ones = jnp.ones(3)
  return evaluator(ones, ones, ones, ones, ones)


@pytest.mark.parametrize('evaluator', _EVALUATORS)
def test_evaluators_are_evaluators(evaluator: evaluators.Evaluator) -> None:
  assert _estimate(evaluator).shape == (3,)


@pytest.mark.parametrize('reduction', _REDUCTIONS)
def test_reductions_are_reductions(reduction: reductions.Reduction) -> None:
  ones = jnp.ones((2, 3))
  assert reduction(ones, ones, ones).shape == ()


def test_what_is_refused_is_wrong() -> None:
  with pytest.raises(TypeError):
    _estimate(_REFUSED)


def test_a_configuration_takes_objects() -> None:
  config: acme_metarl.AlgorithmConfig = presets.make(
    'promp', evaluator=_mine, outer_optimizer=optax.adam(1e-3)
  )
  assert config.num_inner_steps >= 1


def test_a_policy_is_a_pair_of_functions() -> None:
  policy = types.Policy(
    init=lambda key, observation: jnp.zeros(2),
    apply=lambda params, observation: params,
  )
  assert policy.init(jax.random.PRNGKey(0), jnp.zeros(1)).shape == (2,)
