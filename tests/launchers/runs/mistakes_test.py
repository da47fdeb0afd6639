import json

import jax
import pytest

from acme_metarl import evaluators
from acme_metarl.launchers.runs import config, mistakes


def _caught(function):
  with pytest.raises(ValueError) as info:
    function()
  error = info.value
  # As a main sees it: frames of the test itself are above it.
  return error.with_traceback(error.__traceback__.tb_next.tb_next)


def test_sentences_of_ours_are_explained():
  assert mistakes.is_explained(_caught(lambda: config.RunConfig(seed=-1)))


@pytest.mark.parametrize(
  'function',
  [
    lambda: int('x'),
    lambda: json.loads('{'),
    lambda: jax.numpy.zeros(2) + jax.numpy.zeros(3),
    lambda: evaluators.doubly_robust(*[jax.numpy.zeros(0)] * 5),
  ],
)
def test_what_the_users_code_raises_or_runs_into_is_not(function):
  with pytest.raises((ValueError, TypeError)) as info:
    function()
  if isinstance(info.value, ValueError):
    assert not mistakes.is_explained(info.value)
