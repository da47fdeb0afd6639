"""Observations as vectors: ordered dicts are the plain ones."""

import collections

from dm_env import specs
import numpy as np

from acme_metarl.meta import observations

# Not in the order of their names.
_ORDERED = collections.OrderedDict(
  velocity=np.array([[1.0, 2.0]]),
  pair=(collections.OrderedDict(b=np.array([3]), a=np.array([4.0])),),
)
_SPEC = collections.OrderedDict(
  velocity=specs.Array((2,), float),
  pair=(
    collections.OrderedDict(b=specs.DiscreteArray(5), a=specs.Array((), float)),
  ),
)


def test_what_was_stored_gives_the_vector_that_was_acted_on():
  stored = observations.plain(_ORDERED)
  assert type(stored) is dict and type(stored['pair'][0]) is dict
  expected = [[4, 0, 0, 0, 1, 0, 1, 2]]
  for observation in (_ORDERED, stored):
    for spec in (_SPEC, observations.plain(_SPEC)):
      vector = observations.flatten(observation, spec)
      assert vector.tolist() == expected
      num_values = observations.num_values(spec)
      assert num_values == (None, 5, None)
      vector = observations.to_vectors(observation, 1, num_values)
      assert vector.tolist() == expected


def test_what_is_no_ordered_dict_stays_as_it_is():
  pair = collections.namedtuple('Pair', 'b a')(1, {'d': 2, 'c': 3})
  assert observations.plain([pair, None]) == [pair, None]
