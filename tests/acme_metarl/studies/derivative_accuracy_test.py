"""The study behind Figure 1(a)-(c), against the authors' numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import tabular
from acme_metarl.studies import derivative_accuracy

Point = derivative_accuracy.Point

_SMALL = derivative_accuracy.Setting(num_states=4, num_actions=2, horizon=3)

# Means and standard errors over 10 random MDPs of 20 states that the authors'
# own code gave: (epsilon, N) -> estimator -> gradient and Hessian accuracy.
_PUBLISHED = {
  (0.0, 1000): {
    'importance_sampling': (0.8704, 0.0165, 0.6313, 0.0270),
    'doubly_robust': (0.9893, 0.0009, 0.9410, 0.0042),
    'truncated_doubly_robust': (0.9893, 0.0009, 0.9410, 0.0042),
    'taylor_1': (0.9893, 0.0009, 0.8444, 0.0087),
    'taylor_2': (0.9893, 0.0009, 0.9410, 0.0042),
  },
  (0.4, 1000): {
    'importance_sampling': (0.5626, 0.0615, 0.2933, 0.0326),
    'doubly_robust': (0.8475, 0.0408, 0.5704, 0.0605),
    'truncated_doubly_robust': (0.2985, 0.1421, 0.4619, 0.0423),
    'taylor_1': (0.9029, 0.0256, 0.7252, 0.0312),
    'taylor_2': (0.9405, 0.0145, 0.8623, 0.0145),
  },
  (0.5, 30): {
    'importance_sampling': (0.0378, 0.0753, 0.0416, 0.0209),
    'doubly_robust': (0.4519, 0.0650, 0.2699, 0.0652),
    'truncated_doubly_robust': (0.4167, 0.1457, 0.3704, 0.0940),
    'taylor_1': (0.7103, 0.0481, 0.5729, 0.0441),
    'taylor_2': (0.4747, 0.0584, 0.3406, 0.0400),
  },
  (0.5, 300): {
    'importance_sampling': (0.1955, 0.0800, 0.1427, 0.0399),
    'doubly_robust': (0.6281, 0.0821, 0.4022, 0.0525),
    'truncated_doubly_robust': (0.2487, 0.1571, 0.4200, 0.0919),
    'taylor_1': (0.7793, 0.0354, 0.6522, 0.0364),
    'taylor_2': (0.8222, 0.0411, 0.7477, 0.0279),
  },
  (0.8, 1000): {
    'importance_sampling': (0.4754, 0.0955, 0.3326, 0.0760),
    'doubly_robust': (0.4566, 0.0934, 0.4016, 0.0744),
    'truncated_doubly_robust': (0.0692, 0.1513, 0.1503, 0.1168),
    'taylor_1': (0.6615, 0.0531, 0.6120, 0.0507),
    'taylor_2': (0.7493, 0.0492, 0.7200, 0.0451),
  },
}
_POINTS = tuple(
  [Point(epsilon, 1000) for epsilon in (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)]
  + [Point(0.5, n) for n in (10, 30, 100, 300, 1000, 3000)]
)


@pytest.fixture(scope='module')
def study(_float64):
  """All points of the figure with ten trials; {point: Accuracy}."""
  return dict(derivative_accuracy.run(_POINTS))


@pytest.mark.parametrize('epsilon_and_number', _PUBLISHED)
def test_agrees_with_the_published_numbers(study, epsilon_and_number):
  point = Point(*epsilon_and_number)
  rows = derivative_accuracy.summarise(
    point, study[point], derivative_accuracy.ESTIMATORS
  )
  deviations = []
  for row in rows[:5]:
    theirs = _PUBLISHED[epsilon_and_number][row['estimator']]
    for name, mean, stderr in (
      ('gradient', *theirs[:2]),
      ('hessian', *theirs[2:]),
    ):
      difference = row[f'{name}_accuracy_mean'] - mean
      deviations.append(
        difference / np.hypot(row[f'{name}_accuracy_stderr'], stderr)
      )
  # In units of the combined standard error.
  assert np.abs(deviations).max() < 3.0
  assert np.sqrt(np.mean(np.square(deviations))) < 1.5


def _advantage(study, derivative, point, other):
  """Second order minus another: mean over MDPs in standard errors."""
  accuracy = getattr(study[point], derivative)
  names = derivative_accuracy.ESTIMATORS
  mean, stderr = derivative_accuracy.mean_and_stderr(
    accuracy[:, names.index('taylor_2')] - accuracy[:, names.index(other)]
  )
  return mean / stderr


def test_on_policy_second_order_equals_doubly_robust_and_is_best(study):
  accuracy = study[Point(0.0, 1000)]
  step_wise, robust, truncated, first, second, _ = accuracy.hessian.T
  np.testing.assert_allclose(second, robust, atol=1e-9)
  np.testing.assert_allclose(second, truncated, atol=1e-9)
  assert np.all(second > step_wise)
  assert np.all(second > first)
  np.testing.assert_allclose(
    accuracy.gradient[:, 3], accuracy.gradient[:, 1], atol=1e-9
  )


@pytest.mark.parametrize('epsilon', [0.2, 0.4, 0.6, 0.8, 0.95])
def test_off_policy_second_order_is_best(study, epsilon):
  point = Point(epsilon, 1000)
  for other in derivative_accuracy.ESTIMATORS[:4]:
    assert _advantage(study, 'hessian', point, other) > 2
    if (epsilon, other) == (0.2, 'doubly_robust'):
      # Two standard errors would be no tie.
      assert abs(_advantage(study, 'gradient', point, other)) < 2
    else:
      assert _advantage(study, 'gradient', point, other) > 2


@pytest.mark.parametrize('num_trajectories', [10, 30, 100, 300, 1000, 3000])
def test_first_order_is_better_while_data_are_few(study, num_trajectories):
  advantage = _advantage(
    study, 'hessian', Point(0.5, num_trajectories), 'taylor_1'
  )
  if num_trajectories < 100:
    assert advantage < -2
  elif num_trajectories == 100:
    assert abs(advantage) < 2
  else:
    assert advantage > 2


def test_point_does_not_depend_on_the_others(study):
  del study  # Compiled already.
  alone = dict(derivative_accuracy.run([_POINTS[7]], 2))
  together = dict(derivative_accuracy.run(_POINTS[6:8][::-1], 2))
  np.testing.assert_array_equal(
    alone[_POINTS[7]].hessian, together[_POINTS[7]].hessian
  )
  assert np.all(together[_POINTS[6]].hessian != together[_POINTS[7]].hessian)


def test_trials_are_other_problems_and_seeds_other_trials(study):
  first = study[_POINTS[0]].gradient
  assert len(np.unique(first[:, 0])) == 10
  ((_, second),) = derivative_accuracy.run(_POINTS[:1], 2, seed=1)
  assert np.all(first[:2] != second.gradient)


def test_estimate_takes_exactly_the_first_trajectories():
  key = jax.random.PRNGKey(3)
  problem = derivative_accuracy.sample_problem(key, _SMALL)
  logits = derivative_accuracy.target_logits(problem, 0.5)
  estimate = jax.jit(
    functools.partial(
      derivative_accuracy.estimate,
      problem=problem,
      logits=logits,
      horizon=3,
      estimators=('doubly_robust', 'taylor_2'),
      chunk_size=4,
    )
  )
  chunks = [
    tabular.sample_trajectories(
      jax.random.fold_in(key, i), problem.mdp, problem.behaviour, 4, 3
    )
    for i in range(2)
  ]
  both = jax.tree.map(lambda *x: jnp.concatenate(x), *chunks)
  names = ('doubly_robust', 'taylor_2')
  evaluate = [derivative_accuracy.make_evaluator(name) for name in names]
  estimate_all = jax.jit(
    lambda weights: tabular.estimate_derivatives(
      evaluate,
      problem.mdp,
      logits,
      problem.behaviour,
      problem.critic,
      both,
      weights,
    )
  )
  for num_trajectories in (1, 4, 6, 8):
    weights = (jnp.arange(8) < num_trajectories) / num_trajectories
    expected = estimate_all(weights)
    found = estimate(key, num_trajectories=num_trajectories)
    for x, y in zip(found, expected, strict=True):
      np.testing.assert_allclose(x, y, atol=1e-12)


def test_problem_is_as_described():
  setting = derivative_accuracy.Setting(num_states=50)
  problem = derivative_accuracy.sample_problem(jax.random.PRNGKey(0), setting)
  value = tabular.state_values(problem.mdp, problem.behaviour)
  noise = (problem.critic - value) / (np.linalg.norm(value) / 50)
  assert abs(noise.mean()) < 3 / np.sqrt(50)
  assert 0.7 < noise.std() < 1.3
  policy = tabular.softmax_policy(
    derivative_accuracy.target_logits(problem, 0.25)
  )
  np.testing.assert_allclose(
    policy, 0.75 / 5 + 0.25 * problem.deterministic, atol=1e-12
  )


def test_correlation():
  x, y = np.random.default_rng(0).normal(size=(2, 3, 4))
  expected = np.corrcoef(x.ravel(), y.ravel())[0, 1]
  correlation = derivative_accuracy.correlation
  np.testing.assert_allclose(correlation(x, y), expected, atol=1e-12)
  np.testing.assert_allclose(
    correlation(1e200 * x + 1e200, -1e-200 * y), -expected, atol=1e-12
  )
  assert correlation(jnp.zeros(3), jnp.arange(3.0)) == 0
  assert np.isnan(correlation(jnp.array([1.0, jnp.nan]), jnp.arange(2.0)))


def test_summary_by_hand():
  accuracy = derivative_accuracy.Accuracy(
    np.array([[0.1, 0.5], [0.3, 0.5]]), np.array([[0.0, 1.0], [1.0, 1.0]])
  )
  rows = derivative_accuracy.summarise(
    Point(0.5, 10), accuracy, ['taylor_1', 'taylor_2']
  )
  assert rows[0] == {
    'estimator': 'taylor_1',
    'epsilon': 0.5,
    'num_trajectories': 10,
    'num_trials': 2,
    'gradient_accuracy_mean': pytest.approx(0.2),
    'gradient_accuracy_stderr': pytest.approx(0.1),
    'hessian_accuracy_mean': pytest.approx(0.5),
    'hessian_accuracy_stderr': pytest.approx(0.5),
  }
  assert rows[1]['hessian_accuracy_stderr'] == 0
  one_trial = jax.tree.map(lambda x: x[:1], accuracy)
  row = derivative_accuracy.summarise(Point(0.5, 10), one_trial, ['a', 'b'])[0]
  assert row['gradient_accuracy_mean'] == 0.1
  assert np.isnan(row['gradient_accuracy_stderr'])


def test_names_of_evaluators():
  for name in (
    *derivative_accuracy.ESTIMATORS,
    'taylor_4',
    'taylor_12',
    'log_likelihood',
  ):
    derivative_accuracy.make_evaluator(name)
  for name in ('taylor_0', 'taylor_', 'taylor_1.5', 'dr', '', 'Taylor_1'):
    with pytest.raises(ValueError, match='choose from importance_sampling, d'):
      derivative_accuracy.make_evaluator(name)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'points': [Point(1.0, 10)]}, r'epsilon is 1.0; .* zero'),
    ({'points': [Point(-0.1, 10)]}, 'epsilon is -0.1'),
    ({'points': [Point(float('nan'), 10)]}, 'epsilon is nan'),
    ({'points': [Point(0.5, 0)]}, 'num_trajectories is 0'),
    ({'num_trials': 0}, 'num_trials is 0'),
    ({'estimators': []}, 'estimators is empty'),
    ({'estimators': ['taylor_1', 'dr']}, "Unknown evaluator 'dr'"),
  ],
)
def test_run_refuses_at_once(arguments, message):
  with pytest.raises(ValueError, match=message):
    derivative_accuracy.run(**({'points': [Point(0.5, 10)]} | arguments))


@pytest.mark.parametrize(
  'arguments',
  [
    {'num_states': 0},
    {'num_actions': 1},
    {'horizon': 0},
    {'discount': 1.0},
    {'concentration': 0.0},
    {'num_states': 1000},
  ],
)
def test_setting_refuses(arguments):
  with pytest.raises(ValueError, match=f'{next(iter(arguments))}.* is '):
    derivative_accuracy.Setting(**arguments)
