import jax
import numpy as np
import pytest

from acme_metarl.launchers.runs import seeds


@pytest.mark.parametrize('seed', [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_keys_of_short_seeds_are_those_of_jax(seed):
  np.testing.assert_array_equal(seeds.key(seed), jax.random.PRNGKey(seed))


def test_all_bits_of_a_seed_count():
  numbers = [0, 1, 2**32 - 1] + [2**i for i in range(1, 64)] + [2**64 - 1]
  for make in (seeds.key, lambda x: seeds.fold_in(jax.random.PRNGKey(0), x)):
    assert len({tuple(make(x).tolist()) for x in numbers}) == len(numbers)


@pytest.mark.parametrize('seed', [-1, 2**64, 0.5, '1', None, True])
def test_others_are_refused(seed):
  with pytest.raises(ValueError, match='^seed: got '):
    seeds.check('seed', seed)


def test_numbers_of_numpy_are_seeds():
  assert seeds.check('seed', np.uint64(2**63)) == 2**63
