"""Refuses impossible settings of an `AlgorithmConfig`, and says why."""

import numbers
from typing import Any
import warnings

from acme_metarl import algorithm_parts
from acme_metarl.evaluators import input_checks


def check(config: Any) -> None:
  """Checks all settings, one by one and together.

  Args:
    config: an `AlgorithmConfig`.

  Raises:
    ValueError: says which setting, what it got, and what to do instead.
  """
  _check_numbers(config)
  _check_names(config)
  _check_evaluator(config)
  _check_combinations(config)


def _check_numbers(config: Any) -> None:
  for name in (
    'num_tasks',
    'num_rollouts',
    'horizon',
    'num_inner_steps',
    'num_iterations',
    'num_outer_epochs',
    'cg_iterations',
    'max_backtracks',
  ):
    _check_count(name, getattr(config, name))
  if config.chunk_size is not None:
    _check_count('chunk_size', config.chunk_size)
  for size in config.hidden_sizes:
    _check_count('hidden_sizes', size)
  for name in ('discount', 'gae_lambda'):
    _check_number(name, getattr(config, name), 0, 1, 'in [0, 1]')
  for name in (
    'clip_epsilon',
    'outer_learning_rate',
    'max_kl',
    'inner_kl_target',
    'min_std',
  ):
    _check_number(name, getattr(config, name), 1e-300, None, 'above 0')
  for name in ('inner_kl_coefficient', 'cg_damping'):
    _check_number(name, getattr(config, name), 0, None, 'of at least 0')
  for name in ('inner_learning_rate', 'init_log_std'):
    _check_number(name, getattr(config, name), None, None, 'that is finite')
  ratio = config.backtrack_ratio
  if not (isinstance(ratio, numbers.Real) and 0 < ratio < 1):
    raise ValueError(
      f'backtrack_ratio must be a number between 0 and 1, but got {ratio!r}.'
    )


def _check_count(name: str, value: Any) -> None:
  is_integer = isinstance(value, numbers.Integral) and value is not True
  if not is_integer or value < 1:
    raise ValueError(
      f'{name} must be an integer of at least 1, but got {value!r}.'
    )


def _check_number(name, value, low, high, needs) -> None:
  if input_checks.is_traced(value):
    return  # A hyper-parameter that jax.vmap sweeps.
  fits = (
    isinstance(value, numbers.Real)
    and abs(value) < float('inf')
    and (low is None or value >= low)
    and (high is None or value <= high)
  )
  if not fits:
    raise ValueError(f'{name} must be a number {needs}, but got {value!r}.')


def _check_names(config: Any) -> None:
  for name, known, may_be_callable in (
    ('baseline', tuple(algorithm_parts.BASELINES), True),
    ('evaluator', tuple(algorithm_parts.EVALUATORS), True),
    ('reduction', algorithm_parts.REDUCTIONS, True),
    ('outer_objective', algorithm_parts.OUTER_OBJECTIVES, True),
    ('meta_gradient', algorithm_parts.META_GRADIENTS, False),
    ('outer_optimizer', algorithm_parts.OUTER_OPTIMIZERS, False),
    ('inner_step_sizes', algorithm_parts.STEP_SIZES, False),
    ('compute_dtype', algorithm_parts.COMPUTE_DTYPES, False),
  ):
    value = getattr(config, name)
    if may_be_callable and callable(value):
      continue
    if value not in known:
      extra = ', or a callable' if may_be_callable else ''
      names = ', '.join(map(str, known))
      raise ValueError(
        f'{name} must be one of {names}{extra}, but got {value!r}.'
      )


def _check_evaluator(config: Any) -> None:
  if not isinstance(config.evaluator, str):
    return
  accepted = algorithm_parts.evaluator_options(config.evaluator)
  unknown = sorted(set(config.evaluator_options) - accepted)
  if unknown:
    raise ValueError(
      f'evaluator_options has {unknown}, which {config.evaluator} does not'
      f' take; it takes {sorted(accepted)}.'
    )
  arrays = sorted({'q_tm1', 'v_mu_tm1'} & set(config.evaluator_options))
  if arrays:
    raise ValueError(
      f'evaluator_options has {arrays}, which depend on the data. Wrap the'
      ' evaluator in a function that computes them, and pass that.'
    )
  if 'order' in config.evaluator_options:
    _check_count(
      "evaluator_options['order']", config.evaluator_options['order']
    )


def _check_combinations(config: Any) -> None:
  if config.uses_trust_region and config.num_outer_epochs != 1:
    raise ValueError(
      'outer_optimizer "trust_region" takes one step that uses up the whole'
      f' max_kl, but num_outer_epochs is {config.num_outer_epochs}. Set'
      ' num_outer_epochs=1, or use "adam" for several steps.'
    )
  if config.outer_objective == 'policy_gradient':
    if config.uses_trust_region:
      raise ValueError(
        'outer_objective "policy_gradient" (mean A log π) does not estimate'
        ' improvement away from its own data, so a line search on it means'
        ' nothing. Use outer_objective="surrogate" with the trust region.'
      )
    if config.num_outer_epochs != 1:
      raise ValueError(
        'outer_objective "policy_gradient" has the right gradient only on data'
        ' of the current policy, which holds for the first epoch, but'
        f' num_outer_epochs is {config.num_outer_epochs}. Set it to 1, or use'
        ' outer_objective="surrogate" or "clipped_surrogate".'
      )
  if config.adaptive_inner_kl and config.inner_kl_coefficient == 0:
    raise ValueError(
      'adaptive_inner_kl halves and doubles inner_kl_coefficient, which stays'
      ' 0 for ever. Start from a coefficient above 0, for example 5e-4.'
    )
  if (
    config.meta_gradient in algorithm_parts.SCORE_META_GRADIENTS
    and isinstance(config.evaluator, str)
    and config.evaluator != 'log_likelihood'
  ):
    warnings.warn(
      f'meta_gradient "{config.meta_gradient}" adds the score of the pre-update'
      f' samples, and the derivatives of "{config.evaluator}" contain some or'
      ' all of it already: it is counted twice. evaluator="log_likelihood"'
      ' is the one whose derivative leaves it out.',
      stacklevel=5,
    )
