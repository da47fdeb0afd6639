"""Trust region: conjugate gradients, curvature, constraint, rejection."""

import doctest
import functools

import jax
from jax import flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import evaluators
from acme_metarl.evaluators import reductions
from acme_metarl.meta import (
  adaptation,
  inner_loop,
  objectives,
  policies,
  synthetic,
  trust_region,
)
from acme_metarl.meta import task_loss as task_loss_lib


def _positive_definite(size, seed=0):
  a = np.random.default_rng(seed).normal(size=(size, size))
  return jnp.asarray(a @ a.T + 0.1 * np.eye(size))


class TestConjugateGradient:
  def test_solves(self):
    matrix = _positive_definite(6)
    b = {'x': jnp.arange(4.0), 'y': jnp.ones(2)}
    flat, unravel = flatten_util.ravel_pytree(b)
    matvec = lambda v: unravel(  # noqa: E731
      matrix @ flatten_util.ravel_pytree(v)[0]
    )
    x, residual = trust_region.conjugate_gradient(matvec, b, 30, 1e-24)
    solution = np.linalg.solve(matrix, flat)
    np.testing.assert_allclose(
      flatten_util.ravel_pytree(x)[0], solution, rtol=1e-8
    )
    assert np.max(np.abs(flatten_util.ravel_pytree(residual)[0])) < 1e-10

  def test_few_iterations_minimise_over_the_krylov_space(self):
    matrix, b = _positive_definite(6), jnp.arange(6.0)
    x, residual = trust_region.conjugate_gradient(
      lambda v: matrix @ v, b, 3, 0.0
    )
    np.testing.assert_allclose(residual, b - matrix @ x, atol=1e-10)
    krylov = np.stack([b, matrix @ b, matrix @ matrix @ b], -1)
    coefficients = np.linalg.solve(krylov.T @ matrix @ krylov, krylov.T @ b)
    np.testing.assert_allclose(x, krylov @ coefficients, rtol=1e-6)

  def test_stops_in_the_null_space_and_at_zero(self):
    matrix = jnp.diag(jnp.array([1.0, 0.0]))
    for b in (jnp.array([2.0, 1.0]), jnp.zeros(2)):
      x, _ = trust_region.conjugate_gradient(lambda v: matrix @ v, b, 10)
      assert np.all(np.isfinite(x))


class TestStep:
  def _step(self, params, loss_fn, kl_fn, curvature, **options):
    step = trust_region.trust_region(**options)
    loss, gradient = jax.value_and_grad(loss_fn)(params)
    return step.update(
      gradient,
      step.init(params),
      params,
      loss=loss,
      loss_and_kl_fn=lambda x: (loss_fn(x), kl_fn(x)),
      curvature_fn=lambda v: curvature @ v,
    )

  def test_longest_step_of_the_quadratic_model(self):
    """X = H⁻¹g, scaled to √(2δ/xᵀHx): on the boundary, no damping."""
    curvature = _positive_definite(4)
    params, gradient = jnp.zeros(4), jnp.arange(1.0, 5.0)
    updates, state = self._step(
      params,
      lambda x: gradient @ x,
      lambda x: 0.5 * x @ curvature @ x,
      curvature,
      max_kl=0.01 * (1 + 1e-9),
      cg_iterations=20,
    )
    x = np.linalg.solve(curvature, gradient)
    expected = -np.sqrt(2 * 0.01 / (x @ curvature @ x)) * x
    np.testing.assert_allclose(updates, expected, rtol=1e-5)
    assert bool(state.accepted) and int(state.num_backtracks) == 0
    np.testing.assert_allclose(state.kl, 0.01, rtol=1e-5)

  def test_backtracks_until_both_conditions_hold(self):
    """The true KL is four times the model's: 0.8^k ≤ 1/2 needs k = 4."""
    updates, state = self._step(
      jnp.zeros(2),
      lambda x: x[0],
      lambda x: 2.0 * x @ x,
      jnp.eye(2),
      max_kl=0.02,
    )
    assert bool(state.accepted) and int(state.num_backtracks) == 4
    np.testing.assert_allclose(updates, [-0.2 * 0.8**4, 0.0])
    np.testing.assert_allclose(state.loss, updates[0])

  @pytest.mark.parametrize(
    'kl', [lambda x: jnp.inf, lambda x: jnp.nan * x[0]], ids=['inf', 'nan']
  )
  def test_rejects_what_leaves_the_trust_region(self, kl):
    updates, state = self._step(jnp.zeros(2), lambda x: x[0], kl, jnp.eye(2))
    np.testing.assert_array_equal(updates, 0)
    assert not bool(state.accepted) and int(state.num_backtracks) == 15
    np.testing.assert_array_equal((state.kl, state.step_scale), 0)

  def test_rejects_what_does_not_lower_the_loss(self):
    updates, state = self._step(
      jnp.zeros(2),
      lambda x: x[0] + 1e3 * jnp.abs(x[0]),
      lambda x: 0.0 * x[0],
      jnp.eye(2),
    )
    np.testing.assert_array_equal(updates, 0)
    assert not bool(state.accepted)
    np.testing.assert_array_equal(state.loss, 0)

  def test_nothing_to_do_and_nothing_finite(self):
    for slope in (0.0, np.nan, np.inf):
      updates, state = self._step(
        jnp.zeros(2), lambda x, s=slope: s * x[0], lambda x: x @ x, jnp.eye(2)
      )
      np.testing.assert_array_equal(updates, 0)
      assert not bool(state.accepted)


def test_examples():
  assert doctest.testmod(trust_region).failed == 0


@pytest.mark.parametrize('kind', ['gaussian', 'categorical'])
def test_gauss_newton_is_the_hessian_of_the_kl_divergence(kind):
  """At the old parameters, through the adaptation; and positive."""
  policy = getattr(policies, kind)(2, hidden_sizes=(3,))
  params = policy.init(jax.random.PRNGKey(0), jnp.zeros(2))
  trials = synthetic.make_trials(
    jax.random.PRNGKey(1),
    policy,
    params,
    observation_size=2,
    num_tasks=1,
    num_rollouts=3,
    horizon=4,
    early_termination=True,
  )
  trial = jax.tree_util.tree_map(lambda x: x[0], trials)
  stages = jax.vmap(functools.partial(adaptation.prepare, discount=0.9))(trial)
  loss = task_loss_lib.TaskLoss(
    policy=policy,
    inner=inner_loop.GradientAscent(
      policies.log_prob_fn(policy),
      evaluators.doubly_robust,
      reductions.per_step,
    ),
    num_inner_steps=1,
    outer_objective=objectives.Surrogate(),
  )
  mask = stages.mask[-1]

  def adapted(p):
    outputs = loss.outputs(
      task_loss_lib.MetaParams(p, jnp.asarray(0.5)), stages
    )
    return outputs[-1].distribution

  point, unravel = flatten_util.ravel_pytree(params)
  old = jax.jit(adapted)(params)

  def divergence(x):
    return task_loss_lib.masked_kl(old, adapted(unravel(x)), mask)

  def product(v):
    return flatten_util.ravel_pytree(
      trust_region.gauss_newton_product(adapted, params, unravel(v), mask)
    )[0]

  matrix = jax.jit(jax.vmap(product))(jnp.eye(point.size))
  np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
  assert np.min(np.linalg.eigvalsh(matrix)) > -1e-12
  hessian = jax.jit(jax.hessian(divergence))(point)
  np.testing.assert_allclose(matrix, hessian, atol=1e-10)
