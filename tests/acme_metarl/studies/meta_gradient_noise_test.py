"""Noise of the meta-gradient: the same as the outer loop's own numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import presets
from acme_metarl.meta import learner as learner_lib
from acme_metarl.meta import policies, synthetic
from acme_metarl.studies import meta_gradient_noise

_POLICY = policies.gaussian(2, hidden_sizes=(3,))
_GRID = (0.0, 0.3, 1.0)


def _config(**changes):
  return presets.make(
    'promp_taypo2',
    **{
      'num_tasks': 5,
      'num_outer_epochs': 1,
      'inner_kl_coefficient': 0.0,
      'evaluator_options': {'order': 2, 'causal_lambda': _GRID[1]},
      **changes,
    },
  )


def test_measures_what_the_outer_loop_reports():
  learner = learner_lib.make_meta_learner(_config(), _POLICY, jax.devices()[:1])
  state = learner.init(jax.random.PRNGKey(0), jnp.zeros(2))
  trials = synthetic.make_trials(
    jax.random.PRNGKey(1),
    _POLICY,
    state.params.policy,
    observation_size=2,
    num_tasks=5,
    num_rollouts=3,
    horizon=5,
  )
  _, expected = jax.jit(learner.update)(state, trials)
  measure = meta_gradient_noise.make_measure(
    _config(evaluator_options={'order': 1}),  # Of any algorithm.
    _POLICY,
    learner.prepare,
    _GRID,
  )
  found = measure(state.params, trials)
  assert found.gradient.shape[0] == len(_GRID)
  np.testing.assert_allclose(
    [
      np.linalg.norm(found.gradient[1]),
      found.variance[1],
      found.half_cosine[1],
    ],
    [
      expected[f'meta_gradient_{name}']
      for name in ('norm', 'variance', 'cosine')
    ],
    rtol=1e-7,
  )
  norms = np.linalg.norm(found.gradient, axis=1)
  assert len({f'{x:.6g}' for x in norms}) == len(_GRID)


def test_agreement_by_hand():
  gradients = np.zeros((2, 2, 2))
  gradients[:, 0] = [1.0, 1.0]
  gradients[:, 1] = [[2.0, 0.0], [-2.0, 4.0]]
  found = meta_gradient_noise.agreement(gradients, [[3.0, 0.0], [1.0, 0.0]])
  half = np.sqrt(0.5)
  np.testing.assert_allclose(
    found.of_batches, [[half, 1.0], [half, -1 / np.sqrt(5)]]
  )
  np.testing.assert_allclose(found.of_means, [half, 0.0], atol=1e-15)
  assert found.of_halves == 1.0
  opposite = meta_gradient_noise.agreement(gradients, [[3.0, 0.0], [-1.0, 0.0]])
  assert opposite.of_halves == -1.0


def test_refuses_an_inner_loop_of_ones_own():
  with pytest.raises(ValueError, match='inner_loop: .* one of its own'):
    meta_gradient_noise.make_measure(
      _config(
        inner_loop=lambda config, policy: None, evaluator_options={'order': 2}
      ),
      _POLICY,
      None,
      _GRID,
    )
