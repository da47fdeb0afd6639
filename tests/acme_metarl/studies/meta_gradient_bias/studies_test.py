"""Studies: the right cases, reproducible, and true to enumeration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import tabular
from acme_metarl.studies import derivative_accuracy, meta_gradient_bias
from acme_metarl.studies.meta_gradient_bias import estimation

Parts, Settings = meta_gradient_bias.Parts, meta_gradient_bias.Settings
SETTING = derivative_accuracy.Setting(
  num_states=2, num_actions=2, horizon=2, discount=0.9, concentration=1.0
)


@pytest.fixture(scope='module')
def measure():
  return meta_gradient_bias.Measure(
    meta_gradient_bias.make_estimate,
    ('doubly_robust', 'taylor_1'),
    SETTING,
    num_mdps=2,
    max_inner_steps=2,
  )


def _case(parts, num_trials, **settings):
  return meta_gradient_bias.Case(
    'study', 'series', 'taylor_1', parts, Settings(**settings), num_trials
  )


def test_compositional_bias_is_that_of_all_trajectories(measure):
  """One trajectory, noiseless critic: 16 possible inner gradients."""
  step_size = 2.0
  case = _case(
    Parts(inner='taylor_1'),
    2000,
    step_size=step_size,
    num_trajectories=1,
    critic_noise=0.0,
  )
  got = measure(case)
  problem = jax.tree.map(lambda x: x[0], measure.problems)
  policy = tabular.softmax_policy(problem.logits)
  probabilities, trajectories = tabular.enumerate_trajectories(
    problem.mdp, policy, SETTING.horizon
  )
  critic = tabular.state_values(problem.mdp, policy)
  data = estimation.prepare(problem.mdp, policy, critic, trajectories)
  evaluator = derivative_accuracy.make_evaluator('taylor_1')

  def meta_gradient(weights):
    objective = estimation.surrogate(evaluator, data, weights)
    inner = jax.grad(objective)(problem.logits)
    outer = tabular.value_gradient(
      problem.mdp, problem.logits + step_size * inner
    )
    hessian = tabular.value_hessian(problem.mdp, problem.logits)
    return outer + step_size * jnp.tensordot(hessian, outer)

  estimates = jax.vmap(meta_gradient)(jnp.eye(len(probabilities)))
  exact = tabular.meta_gradient(problem.mdp, problem.logits, step_size)
  mean = jnp.tensordot(probabilities, estimates, 1)
  bias = float(((mean - exact) ** 2).mean())
  deviations = ((estimates - mean) ** 2).mean((1, 2))
  noise = got.squared_bias_noise[0]
  assert bias > 10 * noise  # Or the test could not fail.
  assert abs(got.squared_bias[0] - bias) < 4 * noise
  np.testing.assert_allclose(
    got.variance[0], probabilities @ deviations, rtol=0.15
  )
  np.testing.assert_allclose(got.exact_square[0], (exact**2).mean(), rtol=1e-8)


def test_exact_parts_have_no_bias_and_no_variance(measure):
  got = measure(_case(Parts(), 40, num_inner_steps=2))
  np.testing.assert_allclose(got.squared_bias, 0.0, atol=1e-20)
  np.testing.assert_allclose(got.variance, 0.0, atol=1e-20)
  np.testing.assert_allclose(got.correlation, 1.0, rtol=1e-12)


def test_numbers_depend_on_the_seed_and_the_index_of_the_mdp(measure):
  case = _case(Parts(outer='doubly_robust'), 20, num_trajectories=2)
  got = measure(case).correlation
  np.testing.assert_array_equal(measure(case).correlation, got)

  def other(**options):
    return meta_gradient_bias.Measure(
      meta_gradient_bias.make_estimate, ('doubly_robust',), SETTING, **options
    )

  alone = other(num_mdps=1)
  np.testing.assert_allclose(alone(case).correlation, got[:1], rtol=1e-6)
  reward = measure.problems.mdp.reward
  np.testing.assert_array_equal(alone.problems.mdp.reward, reward[:1])
  assert not np.any(other(num_mdps=2, seed=1).problems.mdp.reward == reward)


def test_progress_is_reported_and_batches_differ(measure):
  calls = []
  case = _case(Parts(outer='doubly_robust'), 50, num_trajectories=2)
  got = measure(case, lambda: calls.append(None))
  assert len(calls) == case.num_batches == 3
  assert np.all(got.squared_bias_noise > 0)


def test_whole_numbers_for_fields_of_fractions_change_nothing(measure):
  case = _case(Parts(), 20, step_size=2)
  want = measure(case._replace(settings=Settings(step_size=2.0)))
  np.testing.assert_array_equal(measure(case).exact_square, want.exact_square)


def test_a_row_has_everything(measure):
  case = _case(Parts(inner='taylor_1'), 20)
  got = measure(case)
  row = meta_gradient_bias.row(case, got)
  assert row['inner'] == row['estimator'] == 'taylor_1'
  assert row['hessian'] == 'exact'
  assert (row['num_mdps'], row['num_trials']) == (2, 20)
  assert row['step_size'] == 10.0 and row['shared_data'] is False
  np.testing.assert_allclose(row['correlation_mean'], got.correlation.mean())
  np.testing.assert_allclose(
    row['variance_stderr'], np.ptp(got.variance) / 2, rtol=1e-9
  )


def test_decomposition_estimates_one_part_at_a_time_or_all():
  cases = meta_gradient_bias.decomposition(
    ['taylor_1'], meta_gradient_bias.COLUMNS, [4, 16], Settings()
  )
  parts = {case.series: case.parts for case in cases}
  assert len(cases) == 10
  for part in ('inner', 'hessian', 'outer'):
    assert parts[part] == Parts()._replace(**{part: 'taylor_1'})
  assert parts['all'] == parts['all_shared_data'] == Parts(*3 * ['taylor_1'])
  shared = {case.series for case in cases if case.settings.shared_data}
  assert shared == {'all_shared_data'}
  assert [case.settings.num_trajectories for case in cases] == 5 * [4, 16]


def test_a_sweep_varies_one_setting():
  cases = meta_gradient_bias.sweep(
    's', 'x', 'inner', ['taylor_1', 'exact'], 'step_size', [1.0, 3.0],
    Settings(num_inner_steps=2), 100,
  )  # fmt: skip
  assert [c.settings.step_size for c in cases] == 2 * [1.0, 3.0]
  assert {c.settings.num_inner_steps for c in cases} == {2}
  assert [c.parts.inner for c in cases] == 2 * ['taylor_1'] + 2 * ['exact']


@pytest.mark.parametrize(
  ('changes', 'sentence'),
  [
    ({'num_inner_steps': 0}, 'num_inner_steps is 0; it needs to be at least 1'),
    ({'num_trajectories': 0}, 'num_trajectories is 0'),
    ({'step_size': -1.0}, 'step_size is -1.0; it needs to be positive'),
    ({'off_policyness': 1.0}, r'off_policyness is 1.0; .* in \[0, 1\)'),
    ({'critic_noise': float('nan')}, 'critic_noise is nan'),
  ],
)
def test_mistakes_have_a_sentence(changes, sentence):
  case = _case(Parts(), 20, **changes)
  with pytest.raises(ValueError, match=sentence):
    meta_gradient_bias.check(case)


def test_more_mistakes():
  with pytest.raises(ValueError, match='Unknown column'):
    meta_gradient_bias.parts_of_column('middle', 'taylor_1')
  with pytest.raises(ValueError, match='num_trials is 0'):
    meta_gradient_bias.check(_case(Parts(), 0))
  with pytest.raises(ValueError, match='num_mdps is 0'):
    meta_gradient_bias.Measure(meta_gradient_bias.make_estimate, num_mdps=0)
