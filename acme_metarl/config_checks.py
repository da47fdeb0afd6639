"""Refuses impossible settings of an `AlgorithmConfig`, and says why."""

from collections.abc import Mapping
import numbers
from typing import Any
import warnings

import numpy as np
import optax

from acme_metarl import algorithm_parts
from acme_metarl.evaluators import input_checks


def plain(value: Any) -> Any:
  """NumPy's numbers become Python's, in tuples and mappings too."""
  if isinstance(value, np.generic):
    return value.item()
  if isinstance(value, tuple) and not hasattr(value, '_fields'):
    return tuple(plain(x) for x in value)
  if isinstance(value, Mapping):
    items = ((k, plain(x)) for k, x in value.items())
    return type(value)(items)  # type: ignore[call-arg]
  return value


def check(config: Any) -> None:
  """Checks all settings, one by one and together.

  Args:
    config: an `AlgorithmConfig`.

  Raises:
    ValueError: says which setting, what it got, and what to do instead.
  """
  _check_mappings(config)
  _check_numbers(config)
  _check_names(config)
  _check_evaluator(config)
  _check_inner_loop(config)
  _check_stage_weights(config)
  _check_combinations(config)


def _check_mappings(config: Any) -> None:
  for name in (
    'evaluator_options',
    'learned_evaluator_options',
    'inner_optimizer_options',
    'outer_optimizer_options',
  ):
    value = getattr(config, name)
    if not isinstance(value, Mapping):
      raise ValueError(f'{name} must be options by name, but got {value!r}.')


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
    'es_noise_std',
  ):
    _check_number(name, getattr(config, name), 1e-300, None, 'above 0')
  if config.max_epoch_kl is not None:
    _check_number('max_epoch_kl', config.max_epoch_kl, 1e-300, None, 'above 0')
  for name in ('inner_kl_coefficient', 'cg_damping'):
    _check_number(name, getattr(config, name), 0, None, 'of at least 0')
  for name in ('inner_learning_rate', 'init_log_std'):
    _check_number(name, getattr(config, name), None, None, 'that is finite')
  _check_number(
    'backtrack_ratio',
    config.backtrack_ratio,
    1e-300,
    1 - 1e-12,
    'between 0 and 1',
  )
  for name in ('normalize_advantages', 'adaptive_inner_kl'):
    value = getattr(config, name)
    if not isinstance(value, bool):
      raise ValueError(f'{name} must be True or False, but got {value!r}.')


def _check_count(name: str, value: Any) -> None:
  if input_checks.is_traced(value):
    raise ValueError(
      f'{name} sets the size of the computation, so it must be a Python'
      ' integer, but got a traced array.'
    )
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
    and abs(value) < float('inf')  # type: ignore[operator]
    and (low is None or value >= low)
    and (high is None or value <= high)
  )
  if not fits:
    raise ValueError(f'{name} must be a number {needs}, but got {value!r}.')


def _check_names(config: Any) -> None:
  parts = algorithm_parts
  for name, known, may_be_callable in (
    ('baseline', parts.names('baseline'), True),
    ('evaluator', parts.names('evaluator'), True),
    ('reduction', parts.names('reduction'), True),
    ('outer_objective', parts.names('outer_objective'), True),
    ('meta_gradient', parts.META_GRADIENTS, False),
    ('inner_step_sizes', parts.STEP_SIZES, False),
    ('inner_differentiation', parts.DIFFERENTIATIONS, False),
    ('compute_dtype', parts.COMPUTE_DTYPES, False),
  ):
    value = getattr(config, name)
    if may_be_callable and callable(value) and not isinstance(value, type):
      continue
    if not isinstance(value, str | None) or value not in known:
      extra = ', or a callable' if may_be_callable else ''
      raise ValueError(
        f'{name} must be one of {", ".join(map(str, known))}{extra}, but got'
        f' {value!r}.'
      )
  _check_optimizer(config, 'outer_optimizer', ('trust_region',))
  _check_optimizer(config, 'inner_optimizer', ())


def _check_optimizer(config: Any, name: str, further: tuple[str, ...]) -> None:
  value, options = getattr(config, name), getattr(config, f'{name}_options')
  is_object = isinstance(value, optax.GradientTransformation)
  if options and (is_object or value in further):
    raise ValueError(
      f'{name}_options belong to an optimiser given by its name in optax, but'
      f' {name} is {value!r}.'
    )
  if is_object or value in further:
    return
  known = (*further, *algorithm_parts.optimizer_names())
  if not isinstance(value, str) or value not in known:
    raise ValueError(
      f'{name} must be one of {", ".join(known)}, or an optax transformation,'
      f' but got {value!r}.'
    )
  try:
    algorithm_parts.make_optimizer(value, 1.0, options)
  except TypeError as error:
    raise ValueError(
      f'{name}_options do not fit {value!r}: {error}.'
    ) from error


def _check_evaluator(config: Any) -> None:
  if isinstance(config.evaluator, str):
    accepted = algorithm_parts.evaluator_options(config.evaluator)
    for field in ('evaluator_options', 'learned_evaluator_options'):
      given = set(getattr(config, field))
      unknown = sorted(given - accepted - {'discount'})
      if 'discount' in given and field == 'evaluator_options':
        unknown.append('discount')
      if unknown:
        raise ValueError(
          f'{field} has {unknown}, which {config.evaluator} does not take; it'
          f' takes {sorted(accepted)}.'
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
  _check_causal_lambda(config)
  for name, value in config.learned_evaluator_options.items():
    if name not in algorithm_parts.LEARNABLE_OPTIONS:
      raise ValueError(
        f'learned_evaluator_options has {name!r}; numbers in (0, 1) can be'
        f' learned: {", ".join(algorithm_parts.LEARNABLE_OPTIONS)}.'
      )
    _check_number(
      f'learned_evaluator_options[{name!r}]',
      value,
      1e-9,
      1 - 1e-9,
      'between 0 and 1, since it is learned behind a sigmoid,',
    )


def _check_causal_lambda(config: Any) -> None:
  value = config.evaluator_options.get('causal_lambda')
  if isinstance(value, str) and not config.sets_causal_lambda:
    raise ValueError(
      "evaluator_options['causal_lambda'] must be a number in [0, 1] or"
      f" 'adaptive', but got {value!r}."
    )
  if not config.sets_causal_lambda:
    return
  needs = {
    'an outer loss with a meta-gradient': config.meta_gradient
    not in (*algorithm_parts.UNDIFFERENTIATED, 'first_order'),
    'the inner loop of the library': config.inner_loop is None,
    'at least 2 tasks': config.num_tasks > 1,
    'that it is not learned as well': 'causal_lambda'
    not in config.learned_evaluator_options,
  }
  missing = [need for need, is_met in needs.items() if not is_met]
  if missing:
    raise ValueError(
      "evaluator_options['causal_lambda'] is 'adaptive', which needs"
      f' {" and ".join(missing)}. Give a number in [0, 1] instead.'
    )


def _check_inner_loop(config: Any) -> None:
  if config.inner_loop is not None and not callable(config.inner_loop):
    raise ValueError(
      'inner_loop must be a function of (configuration, policy) to an inner'
      f' loop, but got {config.inner_loop!r}.'
    )
  if config.inner_differentiation == 'mixed':
    if config.uses_trust_region:
      raise ValueError(
        'inner_differentiation "mixed" allows no forward derivatives of the'
        ' update, which a trust region takes. Use "reverse" with it.'
      )
    if config.meta_gradient == 'linearised':
      raise ValueError(
        'inner_differentiation "mixed" does not know the weights of'
        ' meta_gradient "linearised". Use "reverse" with it.'
      )
  if 'discount' in config.learned_evaluator_options and config.discount == 0:
    raise ValueError(
      'learned_evaluator_options has "discount", which changes the discounts'
      ' of the data, but discount is 0. Set discount to the largest one.'
    )
  is_fitted = config.baseline in ('linear_feature', 'linear_time')
  if config.num_rollouts == 1 and config.normalize_advantages and is_fitted:
    raise ValueError(
      f'num_rollouts is 1 and baseline {config.baseline!r} is fitted to the one'
      ' rollout, explains nearly all of it, and normalize_advantages blows up'
      ' what is left. Use at least 2 rollouts, normalize_advantages=False, or'
      ' baseline="zero".'
    )


def _check_stage_weights(config: Any) -> None:
  weights = config.stage_weights
  if weights is None:
    return
  num_stages = config.num_inner_steps + 1
  if not isinstance(weights, tuple) or len(weights) != num_stages:
    raise ValueError(
      f'stage_weights must be {num_stages} numbers, one for each stage'
      f' (num_inner_steps is {config.num_inner_steps}), but got {weights!r}.'
    )
  for weight in weights:
    _check_number('stage_weights', weight, 0, None, 'of at least 0')
  if not weights[-1] > 0:
    raise ValueError(
      'stage_weights must end with a number above 0, the weight of the policy'
      f' that all adaptation steps lead to, but got {weights!r}.'
    )
  if config.meta_gradient in algorithm_parts.UNDIFFERENTIATED:
    raise ValueError(
      f'stage_weights weigh outer objectives, which meta_gradient'
      f' {config.meta_gradient!r} does not differentiate. Leave them None.'
    )


def _check_combinations(config: Any) -> None:
  if config.uses_trust_region and config.num_outer_epochs != 1:
    raise ValueError(
      'outer_optimizer "trust_region" takes one step that uses up the whole'
      f' max_kl, but num_outer_epochs is {config.num_outer_epochs}. Set'
      ' num_outer_epochs=1, or use "adam" for several steps.'
    )
  if config.max_epoch_kl is not None and config.uses_trust_region:
    raise ValueError(
      'max_epoch_kl bounds the steps of an optax optimiser, and the trust'
      ' region has max_kl. Set max_epoch_kl=None.'
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
  kind = config.meta_gradient
  if kind in algorithm_parts.UNDIFFERENTIATED:
    if config.uses_trust_region or config.num_outer_epochs != 1:
      raise ValueError(
        f'meta_gradient "{kind}" gives one direction, for the data of the'
        ' current policy: it needs num_outer_epochs=1 and no trust region, but'
        f' got num_outer_epochs={config.num_outer_epochs} and outer_optimizer='
        f'{config.outer_optimizer!r}.'
      )
    coefficient = config.inner_kl_coefficient
    if input_checks.is_traced(coefficient) or coefficient != 0:
      raise ValueError(
        f'meta_gradient "{kind}" has no outer loss that a KL penalty could be'
        f' added to, but inner_kl_coefficient is'
        f' {config.inner_kl_coefficient}. Set it to 0.'
      )
  if kind == 'reptile' and (
    config.inner_step_sizes != 'fixed' or config.learned_evaluator_options
  ):
    raise ValueError(
      'meta_gradient "reptile" moves the policy along the mean of its'
      ' adaptations and has no gradient for step sizes or evaluator options;'
      ' use inner_step_sizes="fixed" and learn no options.'
    )
  if kind == 'evolution_strategies' and config.num_tasks % 2:
    raise ValueError(
      'meta_gradient "evolution_strategies" plays every task twice, with a'
      f' perturbation and its opposite, so num_tasks must be even, but got'
      f' {config.num_tasks}.'
    )
  coefficient = config.inner_kl_coefficient
  is_zero = not input_checks.is_traced(coefficient) and coefficient == 0
  if config.adaptive_inner_kl and is_zero:
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
