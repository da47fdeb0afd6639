"""Tabular MDPs: generation, exact derivatives, sampling, enumeration."""

from acme_metarl.tabular.enumeration import enumerate_trajectories
from acme_metarl.tabular.estimation import Derivatives, estimate_derivatives
from acme_metarl.tabular.exact import (
  action_values,
  adapt,
  finite_horizon_values,
  meta_gradient,
  state_values,
  value,
  value_gradient,
  value_hessian,
)
from acme_metarl.tabular.mdp import (
  TabularMDP,
  log_prob,
  make_mdp,
  random_deterministic_policy,
  random_mdp,
  random_transition,
  softmax_policy,
  uniform_policy,
)
from acme_metarl.tabular.sampling import Trajectories, sample_trajectories

__all__ = [
  'Derivatives',
  'TabularMDP',
  'Trajectories',
  'action_values',
  'adapt',
  'enumerate_trajectories',
  'estimate_derivatives',
  'finite_horizon_values',
  'log_prob',
  'make_mdp',
  'meta_gradient',
  'random_deterministic_policy',
  'random_mdp',
  'random_transition',
  'sample_trajectories',
  'softmax_policy',
  'state_values',
  'uniform_policy',
  'value',
  'value_gradient',
  'value_hessian',
]
