"""Algorithms by name: published ones, and what is best of them here.

The rows of Figures 1(d) and 2 of Tang et al. (2021), "Unifying Gradient
Estimators for Meta-Reinforcement Learning via Off-Policy Evaluation",
https://arxiv.org/abs/2106.13125, with the shared settings of the ProMP code.
`promp_causal` and `recommended` are this library's own.
"""

from typing import Any

from acme_metarl import algorithm_parts, config

_TRUST_REGION = dict(
  outer_objective='surrogate',
  inner_kl_coefficient=0.0,
  outer_optimizer='trust_region',
  num_outer_epochs=1,
)
_PROMP = dict(
  outer_objective='clipped_surrogate',
  clip_epsilon=0.3,
  inner_kl_coefficient=5e-4,
  outer_optimizer='adam',
  outer_learning_rate=1e-3,
  num_outer_epochs=5,
)

# Second order, of which as much is left as its noise allows (Loaded DiCE's λ):
# on random MDPs .2 to .3 is the best for means over 20 trajectories, as robots'
# and ours are by default.
_CAUSAL = dict(
  evaluator='taylor_expansion',
  evaluator_options={'order': 2, 'causal_lambda': 0.3},
)

_PRESETS = {
  # Finn et al. (2017), https://arxiv.org/abs/1703.03400.
  'trpo_maml': dict(evaluator='log_likelihood', **_TRUST_REGION),
  'trpo_fmaml': dict(
    evaluator='log_likelihood', meta_gradient='first_order', **_TRUST_REGION
  ),
  # Al-Shedivat et al. (2018), Stadie et al. (2018).
  'trpo_emaml': dict(
    evaluator='log_likelihood', meta_gradient='emaml', **_TRUST_REGION
  ),
  # Foerster et al. (2018); with a critic, Farquhar et al. (2019).
  'trpo_dice': dict(evaluator='doubly_robust', **_TRUST_REGION),
  # Rothfuss et al. (2019), https://arxiv.org/abs/1810.06784.
  'promp': dict(
    evaluator='taylor_expansion', evaluator_options={'order': 1}, **_PROMP
  ),
  'promp_taypo2': dict(
    evaluator='taylor_expansion', evaluator_options={'order': 2}, **_PROMP
  ),
  'promp_taypo3': dict(
    evaluator='taylor_expansion', evaluator_options={'order': 3}, **_PROMP
  ),
  'promp_causal': dict(**_CAUSAL, **_PROMP),
  # Four times the steps, of three times the length, as far as a bound on the KL
  # divergence lets them.
  'recommended': dict(
    **_CAUSAL,
    **{
      **_PROMP,
      'outer_learning_rate': 3e-3,
      'num_outer_epochs': 20,
      'max_epoch_kl': 0.04,
    },
  ),
  'vpg_maml': dict(
    evaluator='log_likelihood',
    outer_objective='policy_gradient',
    inner_kl_coefficient=0.0,
    outer_optimizer='adam',
    outer_learning_rate=1e-3,
    num_outer_epochs=1,
  ),
  # Li et al. (2017), https://arxiv.org/abs/1707.09835.
  'meta_sgd': dict(
    evaluator='log_likelihood',
    inner_step_sizes='per_parameter',
    **_TRUST_REGION,
  ),
  # Nichol, Achiam and Schulman (2018), https://arxiv.org/abs/1803.02999: the
  # policy moves to the mean of the adapted ones.
  'reptile': dict(
    evaluator='log_likelihood',
    meta_gradient='reptile',
    inner_kl_coefficient=0.0,
    outer_optimizer='sgd',
    outer_learning_rate=1.0,
    num_outer_epochs=1,
  ),
  # Song et al. (2020), https://arxiv.org/abs/1910.01215.
  'es_maml': dict(
    evaluator='log_likelihood',
    meta_gradient='evolution_strategies',
    inner_kl_coefficient=0.0,
    outer_optimizer='adam',
    outer_learning_rate=1e-2,
    num_outer_epochs=1,
  ),
}


def names() -> tuple[str, ...]:
  """The names that `make` knows."""
  return tuple(_PRESETS)


def make(name: str, **overrides: Any) -> config.AlgorithmConfig:
  """Returns the configuration of an algorithm.

  Args:
    name: one of `names()`.
    **overrides: fields of `AlgorithmConfig` to set differently. With another
      evaluator the preset's options of its own are left out.

  Returns:
    The configuration.

  Raises:
    ValueError: if there is no such preset or field, or the settings do not fit
      together.
  """
  if name not in _PRESETS:
    raise ValueError(
      f'name must be one of {", ".join(_PRESETS)}, but got {name!r}.'
    )
  settings = dict(_PRESETS[name])
  evaluator = overrides.get('evaluator', settings['evaluator'])
  if algorithm_parts.name_of('evaluator', evaluator) != settings['evaluator']:
    settings.pop('evaluator_options', None)  # Those of another evaluator.
  config.AlgorithmConfig.check_fields('overrides', overrides)
  return config.AlgorithmConfig(**{**settings, **overrides})
