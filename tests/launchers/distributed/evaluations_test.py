import threading

import numpy as np

from acme_metarl.launchers.distributed import evaluations as evaluations_lib

_RETURNS = np.zeros((1, 2, 3))


def _make():
  written = []
  evaluations = evaluations_lib.Evaluations(
    lambda request, returns: written.append(request.iteration)
  )
  return evaluations, written


def _request(iteration):
  return evaluations_lib.Request(iteration, 0, 0.0, f'params {iteration}')


def test_hands_out_the_newest_until_it_is_reported():
  evaluations, written = _make()
  assert evaluations.take() is None
  evaluations.request(_request(1))
  evaluations.request(_request(2))
  # The second time to an evaluator that stands in for one that died.
  assert evaluations.take() == evaluations.take() == (2, 'params 2')
  evaluations.report(2, _RETURNS)
  assert evaluations.take() is None
  assert written == [2]


def test_request_that_comes_meanwhile_is_not_forgotten():
  evaluations, written = _make()
  evaluations.request(_request(1))
  evaluations.take()
  evaluations.request(_request(2))
  evaluations.report(1, _RETURNS)
  assert evaluations.take() == (2, 'params 2')
  evaluations.report(1, _RETURNS)  # Late, and again.
  evaluations.report(2, _RETURNS)
  assert written == [1, 2]


def test_waits_for_all_requests_or_a_stop():
  evaluations, _ = _make()
  evaluations.wait(lambda: False)
  evaluations.request(_request(1))
  evaluations.wait(lambda: True)
  waiting = threading.Thread(target=evaluations.wait, args=(lambda: False,))
  waiting.start()
  evaluations.take()
  evaluations.report(1, _RETURNS)
  waiting.join(10)
  assert not waiting.is_alive()
