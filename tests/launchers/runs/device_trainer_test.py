"""What a trainer on a device writes of what environments report."""

import dataclasses

from dm_env import specs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acme_metarl import presets, types
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import curves, device_trainer, loop, tables


class _Doors:
  """Two doors; behind the right one there is a success in every step."""

  has_finite_tasks = True

  def sample_task(self, key):
    return jax.random.bernoulli(key, 0.3).astype(jnp.float32)

  def task_classes(self, tasks):
    return ['right' if task else 'left' for task in tasks]

  def reset(self, key, task):
    del key
    return task, self._show(0.0)

  def step(self, state, action):
    return state, self._show(action[0])

  def info(self, state):
    return {'success': state}

  def _show(self, reward):
    one = jnp.ones((), jnp.float32)
    return types.TimeStep(one[None], jnp.asarray(reward, jnp.float32), one)

  def observation_spec(self):
    return specs.Array((1,), np.float32)

  def action_spec(self):
    return specs.Array((1,), np.float32)


_CONFIG = run_config.RunConfig(
  environment=_Doors,
  algorithm=presets.make(
    'reptile',
    baseline='zero',
    num_iterations=1,
    num_tasks=8,
    num_rollouts=2,
    horizon=3,
    hidden_sizes=(4,),
  ),
  eval_every=1,
)


@pytest.fixture(scope='module')
def directory(tmp_path_factory):
  """Of a run of one iteration with TensorBoard."""
  directory = tmp_path_factory.mktemp('runs') / 'device'
  _train(
    lambda: device_trainer.Trainer([_CONFIG], jax.local_devices()[:1]),
    directory,
    use_tensorboard=True,
  )
  return directory


def _train(make_trainer, directory, **options):
  plan = run_config.Plan(_CONFIG, directory, None)
  with pytest.MonkeyPatch.context() as patch:
    # Drawing takes longer than all else here.
    patch.setattr(curves, 'draw', lambda *_: None)
    loop.train(make_trainer, [plan], **options)


def _rows(directory, table):
  return tables.read_csv(directory / table)


def test_successes_are_told_by_stage_and_class(directory):
  (row,) = _rows(directory, tables.LEARNER_CSV)
  share = float(row['success_ever_0'])
  # As many of eight tasks as it may be, the same in both stages.
  assert (8 * share).is_integer() and 0 < share < 1
  assert all(
    float(row[f'success_{how}_{stage}']) == share
    for how in ('ever', 'last', 'mean')
    for stage in (0, 1)
  )
  classes = _rows(directory, tables.CLASSES_CSV)
  assert [
    (row['iteration'], row['num_inner_steps_taken']) for row in classes
  ] == [(i, k) for i in '01' for k in '0101']
  assert all(
    float(row['success_ever']) == (row['task_class'] == 'right')
    for row in classes
  )
  whole = _rows(directory, tables.EVALUATION_CSV)
  for iteration in '01':
    (right,) = {
      int(row['num_tasks'])
      for row in classes
      if row['iteration'] == iteration and row['task_class'] == 'right'
    }
    assert {
      float(row['success_last'])
      for row in whole
      if row['iteration'] == iteration
    } == {right / 8}


def test_event_files_have_them_too(directory, read_events):
  found = read_events(directory / tables.TENSORBOARD)
  assert ('learner/success_ever_1', 1) in found
  assert ('evaluation/success_ever_0', 0) in found
  assert found['evaluation/right/success_mean_1', 1] == 1


class _Broken(_Doors):
  """Shows what is not finite after pushes to the right, or at once."""

  at_reset = False

  def __repr__(self):
    return 'Broken()'

  def reset(self, key, task):
    state, first = super().reset(key, task)
    return state, first._replace(
      observation=jnp.full(1, jnp.nan if self.at_reset else 1.0)
    )

  def step(self, state, action):
    return state, self._show(jnp.where(action[0] > 0, jnp.nan, 1.0))


class _BrokenAtOnce(_Broken):
  at_reset = True


def _trainer(environment):
  return device_trainer.Trainer(
    [dataclasses.replace(_CONFIG, environment=environment)],
    jax.local_devices()[:1],
  )


def test_what_is_not_finite_is_told(caplog):
  trainer = _trainer(_Broken)
  counts = [trainer.advance(1)[0][0]['num_diverged'] for _ in range(2)]
  assert 0 < counts[0] < counts[1]
  (told,) = (x for x in caplog.messages if 'Broken()' in x)
  assert f'Broken(): {counts[0]} rollouts of an iteration were ended' in told
  (_, metadata), *_ = trainer.save()
  assert metadata['num_diverged'] == counts[1]
  with pytest.raises(ValueError, match=r'no rollout of Broken\(\) took a sing'):
    _trainer(_BrokenAtOnce).advance(1)


def test_mistakes_are_refused_before_anything_is_written():
  device_trainer.check(
    dataclasses.replace(_CONFIG, algorithm=presets.make('es_maml'))
  )
  with pytest.raises(ValueError, match='reuse: on a device every trial'):
    device_trainer.check(dataclasses.replace(_CONFIG, agent={'reuse': 2}))
