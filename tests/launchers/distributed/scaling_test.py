import pytest

from acme_metarl.launchers.distributed import scaling

_WORK = scaling.Work(num_tasks=40, loop_steps=201, steps_per_task=4000)
_COSTS = scaling.Costs(
  loop_step=1e-3, environment_step=1e-6, item=1e-4, take=5e-5, update=0.5
)


def _predict(num_actors, tasks_per_actor, **resources):
  return scaling.predict(
    _COSTS, _WORK, num_actors, tasks_per_actor, **resources
  )


def test_actors_share_the_trials():
  seconds = 201e-3 + 40 * 4000e-6
  one = _predict(1, 40, update_seconds=0.01)
  assert one[:2] == (pytest.approx(seconds), 'actors')
  # Half the tasks, but all the steps of the loop.
  two = _predict(2, 20, update_seconds=0.01)
  assert two.seconds == pytest.approx((2 * 201e-3 + 40 * 4000e-6) / 2)


def test_learner_saturates_with_enough_actors():
  assert _predict(8, 40)[:2] == (pytest.approx(0.502), 'learner')
  assert _predict(8, 40, update_cores=2).seconds == pytest.approx(0.252)


def test_replay_saturates_with_a_fast_learner():
  assert _predict(1000, 40, update_seconds=1e-3)[:2] == (
    pytest.approx(40e-4),
    'replay',
  )


def test_cores_are_shared_by_all():
  acting = 201e-3 + 40 * 4000e-6
  prediction = _predict(1, 40, num_cores=2, update_cores=8)
  assert prediction.saturated == 'cores'
  assert prediction.core_seconds == pytest.approx(2 * prediction.seconds)
  assert prediction.seconds == pytest.approx((acting + 60e-4 + 0.5) / 2)
  assert _predict(1, 40, num_cores=1).seconds == pytest.approx(
    acting + 60e-4 + 0.5
  )


def test_acting_costs_recover_the_line():
  seconds = {n: 201 * 1e-3 + n * 4000 * 1e-6 for n in (5, 20, 40)}
  assert scaling.acting_costs(_WORK, seconds) == pytest.approx((1e-3, 1e-6))
  # Of one number nobody can tell.
  assert scaling.acting_costs(_WORK, {40: 0.16}) == pytest.approx((0, 1e-6))
