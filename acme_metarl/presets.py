"""Published algorithms by name.

The rows of Figures 1(d) and 2 of Tang et al. (2021), "Unifying Gradient
Estimators for Meta-Reinforcement Learning via Off-Policy Evaluation",
https://arxiv.org/abs/2106.13125, with the shared settings of the ProMP code.
"""

from typing import Any

from acme_metarl import config

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
  'vpg_maml': dict(
    evaluator='log_likelihood',
    outer_objective='policy_gradient',
    inner_kl_coefficient=0.0,
    outer_optimizer='adam',
    outer_learning_rate=1e-3,
    num_outer_epochs=1,
  ),
}


def names() -> tuple[str, ...]:
  """The names that `make` knows."""
  return tuple(_PRESETS)


def make(name: str, **overrides: Any) -> config.AlgorithmConfig:
  """Returns the configuration of a published algorithm.

  Args:
    name: one of `names()`.
    **overrides: fields of `AlgorithmConfig` to set differently.

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
  return config.AlgorithmConfig.from_dict({**_PRESETS[name], **overrides})
