"""Environments drawn at random, through adapter and trial.

Either a trial's numbers are those of a slow reference, or a sentence names the
culprit: never a silent difference, never a traceback of JAX or NumPy.
"""

import hypothesis
from hypothesis import strategies as st
import jax
import numpy as np
import pytest

from acme_metarl import environments
from tests.environments import drawn_environments as drawn_lib

G, B, T, K = 2, 3, drawn_lib.NUM_STEPS, 1

pytest.importorskip('gymnasium')


def _play(trial, actions):
  """Every time step of a trial; its actions are `[K+1, T, G, B, ...]`."""
  time_steps = [trial.reset()]
  for stage in range(K + 1):
    for t in range(T):
      given = actions[stage, t].copy()
      time_steps.append(trial.step(given))
      np.testing.assert_array_equal(given, actions[stage, t])
    if stage < K:
      time_steps.append(trial.step(None))
  return time_steps


def _check(script, seed, nan):
  """Plays a trial of a script, and compares it."""
  try:
    batch, log, drawn = drawn_lib.make_batch(script)
    trial = environments.TrialEnvironment(batch, G, B, T, K, seed=seed)
    actions = drawn_lib.draw_actions(
      batch.action_spec(), (K + 1, T, G, B), seed, nan
    )
    time_steps = _play(trial, actions)
  except ValueError as error:
    message = str(error)
    assert 'Scripted()' in message, message
    assert '\n' not in message and message.endswith('.'), message
    assert script.lie, message
    return
  assert len(log) == (K + 1) * G * B
  for leaf_spec, leaf in zip(
    jax.tree_util.tree_leaves(trial.observation_spec().observation),
    jax.tree_util.tree_leaves(time_steps[-1].observation.observation),
    strict=True,
  ):
    leaf_spec.validate(leaf)
  for stage, g, b in np.ndindex(K + 1, G, B):
    task, rollout_seed = log[(stage * G + g) * B + b]
    np.testing.assert_equal(task, drawn[g])
    first = stage * (T + 1)
    rows = time_steps[first : first + T + 1]
    try:
      observations, *expected = drawn_lib.reference(
        script, drawn[g], rollout_seed, actions[stage, :, g, b]
      )
    except drawn_lib.LieError:
      raise AssertionError(f'{script.lie!r} was not refused') from None
    got = [(r.reward, r.discount, r.observation.mask) for r in rows[1:]]
    for x, y in zip(zip(*got, strict=True), expected, strict=True):
      np.testing.assert_allclose([z[g, b] for z in x], y, rtol=1e-4, atol=1e-5)
    for row, shown in zip(rows, observations, strict=True):
      tree = script.assemble(shown)
      assert jax.tree_util.tree_structure(
        row.observation.observation
      ) == jax.tree_util.tree_structure(tree)
      for x, y in zip(
        jax.tree_util.tree_leaves(row.observation.observation),
        jax.tree_util.tree_leaves(tree),
        strict=True,
      ):
        # Single precision of whatever it was.
        np.testing.assert_allclose(x[g, b], y, rtol=1e-6)


_ARGUMENTS = (
  drawn_lib.scripts(),
  st.integers(0, 2**64),
  st.booleans(),
)


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
@hypothesis.given(*_ARGUMENTS)
def test_adapters(script, seed, nan):
  _check(script, seed, nan)


@pytest.mark.learning
@hypothesis.settings(max_examples=10_000, deadline=None, database=None)
@hypothesis.given(*_ARGUMENTS)
def test_adapters_for_long(script, seed, nan):
  _check(script, seed, nan)


def _check_jax(environment, seed):
  """Plays a trial of a pure-JAX environment, and compares it."""
  trial = environments.TrialEnvironment(environment, G, B, T, K, seed=seed)
  actions = np.random.default_rng(seed).integers(3, size=(K + 1, T, G, B))
  is_a_lie = environment.lie in ('shape', 'reward of shape (1,)') or any(
    environment.lie == 'fraction'
    and np.dtype(leaf.dtype).kind != 'f'
    and 0 not in leaf.shape
    for leaf in environment.leaves
  )
  try:
    time_steps = _play(trial, actions)
  except ValueError as error:
    message = str(error)
    assert 'JaxBatch(' in message, message
    assert '\n' not in message and message.endswith('.'), message
    assert is_a_lie, message
    return
  assert not is_a_lie
  tasks = trial.tasks
  for stage, g, b in np.ndindex(K + 1, G, B):
    first = stage * (T + 1)
    rows = time_steps[first : first + T + 1]
    task = jax.tree_util.tree_map(lambda x, g=g: x[g], tasks)
    start = rows[0].observation.observation['start'][g, b, 0]
    observations, *expected = environment.reference(
      start, task, actions[stage, :, g, b]
    )
    got = [(r.reward, r.discount, r.observation.mask) for r in rows[1:]]
    for x, y in zip(zip(*got, strict=True), expected, strict=True):
      np.testing.assert_allclose([z[g, b] for z in x], y, rtol=1e-5)
    for row, shown in zip(rows, observations, strict=True):
      jax.tree_util.tree_map(
        lambda x, y, at=(g, b): np.testing.assert_allclose(x[at], y, rtol=1e-5),
        row.observation.observation,
        shown,
      )


@hypothesis.settings(max_examples=8, deadline=None, derandomize=True)
@hypothesis.given(drawn_lib.jax_environments(), st.integers(0, 2**32))
def test_pure_jax(environment, seed):
  _check_jax(environment, seed)


@pytest.mark.learning
@hypothesis.settings(max_examples=300, deadline=None, database=None)
@hypothesis.given(drawn_lib.jax_environments(), st.integers(0, 2**32))
def test_pure_jax_for_long(environment, seed):
  _check_jax(environment, seed)
