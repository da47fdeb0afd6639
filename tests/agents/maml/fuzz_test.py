"""Environments drawn at random, from the actor to the learner.

What is stored is what a slow reference says of the stored actions, and what the
policy says of their probabilities; or one sentence refuses.
"""

from acme import specs
import hypothesis
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from acme_metarl import environments, presets
from acme_metarl.agents import environment_loop, maml
from acme_metarl.agents.maml import replay
from tests.environments import drawn_environments as drawn_lib

G, B, T, K = 2, 3, drawn_lib.NUM_STEPS, 1

pytest.importorskip('gymnasium')


class _Rows:
  def __init__(self):
    self.rows = []

  def write(self, row):
    self.rows.append(row)


def _check(script, seed, step_size):
  batch, log, drawn = drawn_lib.make_batch(script)
  environment = environments.TrialEnvironment(batch, G, B, T, K, seed=seed)
  config = maml.MAMLConfig(
    presets.make(
      'promp',
      num_tasks=G,
      num_rollouts=B,
      horizon=T,
      num_outer_epochs=1,
      hidden_sizes=(4,),
      inner_learning_rate=step_size,
    )
  )
  builder = maml.MAMLBuilder(config, replay_kind='local')
  spec = specs.make_environment_spec(environment)
  try:
    networks = maml.make_networks(spec, config.algorithm)
    policy = builder.make_policy(networks, spec)
  except ValueError as error:
    # Shapes that the default networks do not take.
    assert str(error).endswith('.') and '\n' not in str(error), error
    return
  rows = _Rows()
  with replay.serve(builder.make_replay_tables(spec, policy)) as client:
    taken = []

    def batches():
      for batch in builder.make_dataset_iterator(client):
        taken.append(batch.data.stages)
        yield batch

    learner = builder.make_learner(
      jax.random.PRNGKey(0),
      networks,
      batches(),
      lambda label: rows,
      spec,
    )
    meta_params, _ = learner.get_variables(['params', 'learner_step'])
    actor = builder.make_actor(
      jax.random.PRNGKey(1),
      policy,
      spec,
      learner,
      builder.make_adder(client, spec, policy),
    )
    environment_loop.EnvironmentLoop(
      environment, actor, logger=rows
    ).run_episode()
    learner.step()
  (stages,) = taken
  for g, stage, b in np.ndindex(G, K + 1, B):
    task, rollout_seed = log[(stage * G + g) * B + b]
    observations, *expected = drawn_lib.reference(
      script, drawn[g], rollout_seed, stages.action[g, stage, b]
    )
    got = stages.reward, stages.discount, stages.mask
    # A rollout that acted non-finitely is stored with zeros where it ended.
    mask = stages.mask[g, stage, b]
    for x, y in zip(got, expected, strict=True):
      np.testing.assert_allclose(
        x[g, stage, b][mask > 0], y[mask > 0], rtol=1e-4, atol=1e-5
      )
    for t, shown in enumerate(observations[: int(mask.sum()) + 1]):
      for x, y in zip(
        jax.tree_util.tree_leaves(stages.observation),
        jax.tree_util.tree_leaves(script.assemble(shown)),
        strict=True,
      ):
        np.testing.assert_allclose(x[g, stage, b, t], y, rtol=1e-6)
  params = policy.start(meta_params, G).policy
  first = jax.tree_util.tree_map(lambda x: x[:, 0, :, :-1], stages.observation)
  log_prob = jax.vmap(lambda p, x, a: networks.policy.apply(p, x).log_prob(a))(
    params, first, stages.action[:, 0]
  )
  real = stages.mask[:, 0] > 0
  np.testing.assert_allclose(
    log_prob[real], stages.behaviour_log_prob[:, 0][real], rtol=1e-3, atol=1e-4
  )
  # An update that is not finite is left out, and counted.
  for x in jax.tree_util.tree_leaves(learner.save()):
    assert np.isfinite(x).all()
  assert rows.rows[-1]['num_skipped'] in (0, 1)
  if step_size < 1:
    assert rows.rows[-1]['num_skipped'] == 0


_ARGUMENTS = (
  drawn_lib.scripts(may_lie=False),
  st.integers(0, 2**32),
  st.sampled_from([0.1, 0.1, 1e20]),
)
_SETTINGS = dict(
  deadline=None,
  suppress_health_check=list(hypothesis.HealthCheck),
  phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)


# Each one compiles its own programs, which takes seconds.
@hypothesis.settings(max_examples=5, derandomize=True, **_SETTINGS)
@hypothesis.given(*_ARGUMENTS)
def test_the_agent(script, seed, step_size):
  _check(script, seed, step_size)


@pytest.mark.learning
@hypothesis.settings(max_examples=150, database=None, **_SETTINGS)
@hypothesis.given(*_ARGUMENTS)
def test_the_agent_for_long(script, seed, step_size):
  _check(script, seed, step_size)
