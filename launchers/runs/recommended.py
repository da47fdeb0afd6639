"""Settings that differ by environment, once, with the reason."""

from acme_metarl import config as config_lib

PUBLISHED_INNER_LEARNING_RATE = config_lib.AlgorithmConfig().inner_learning_rate
# On navigation one seed in two needs more than 200 iterations with the
# published inner step size to leave the policy that always goes to one and the
# same corner. `compare` uses the published one all the same: its figures are
# the published ones.
INNER_LEARNING_RATES = {'navigation_2d': 0.2}


def inner_learning_rate(environment: object) -> float:
  """The inner step size to begin with in an environment."""
  if not isinstance(environment, str):
    return PUBLISHED_INNER_LEARNING_RATE
  return INNER_LEARNING_RATES.get(environment, PUBLISHED_INNER_LEARNING_RATE)
