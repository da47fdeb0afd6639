"""The parts that an algorithm is made of: their names, and files of them.

A configuration takes objects. Those that have a name here may be given by it,
and are written to files by it. What else can be written: dataclasses
registered here, with their fields, and functions at the top level of a module,
as 'module:name'. Reading the latter imports a module, so it is done only where
the user asked for it.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import importlib
import inspect
import math
from typing import Any

import numpy as np
import optax

from acme_metarl import evaluators
from acme_metarl.evaluators import reductions
from acme_metarl.meta import baselines, objectives

# What every evaluator takes; the rest are options.
_INPUTS = ('v_tm1', 'v_t', 'r_t', 'discount_t', 'rho_tm1')
META_GRADIENTS = (
  'full',
  'first_order',
  'emaml',
  'linearised',
  'score_function',
  'reptile',
  'evolution_strategies',
)
# These add the score of the samples to the derivative of the inner update.
SCORE_META_GRADIENTS = ('emaml', 'linearised', 'score_function')
# These do not differentiate an outer objective.
UNDIFFERENTIATED = ('reptile', 'evolution_strategies')
COMPUTE_DTYPES = (None, 'float32', 'float16', 'bfloat16')
STEP_SIZES = ('fixed', 'scalar', 'per_parameter')
DIFFERENTIATIONS = ('reverse', 'mixed')
# Evaluator options that lie in [0, 1], and the agent's discount factor.
LEARNABLE_OPTIONS = (
  'lambda_',
  'causal_lambda',
  'leak_rho',
  'leak_c',
  'discount',
)

# Parts by kind, which is the name of the configuration's field, and by name.
_PARTS: dict[str, dict[str, Any]] = {
  'evaluator': {
    name: getattr(evaluators, name)
    for name in (
      'importance_sampling',
      'doubly_robust',
      'truncated_doubly_robust',
      'taylor_expansion',
      'log_likelihood',
      'dice',
      'loaded_dice',
      'lvc',
      'vtrace',
      'dice_with_baseline',
    )
  },
  'reduction': {
    'per_step': reductions.per_step,
    'start_state': reductions.start_state,
  },
  'baseline': {
    'linear_feature': baselines.LinearFeature,
    'linear_time': baselines.LinearTime,
    'zero': baselines.Zero,
    'learned_value': baselines.LearnedValue,
  },
  'outer_objective': {
    'clipped_surrogate': objectives.ClippedSurrogate,
    'surrogate': objectives.Surrogate,
    'policy_gradient': objectives.PolicyGradient,
    'evaluated': objectives.Evaluated,
  },
  'optimizer': {},
}
# Fields of parts that are parts themselves.
_KIND_OF_FIELD = {'evaluator': 'evaluator', 'reduction': 'reduction'}


def register(kind: str, name: str, part: Any) -> Any:
  """Gives a part of your own a name, under which configurations write it.

  Args:
    kind: 'evaluator', 'reduction', 'baseline', 'outer_objective' or
      'optimizer'.
    name: its name.
    part: a function; for 'baseline' and 'outer_objective' a dataclass whose
      fields are numbers, texts or parts; for 'optimizer' a function of
      `learning_rate` and keyword options to an optax transformation.

  Returns:
    The part.

  Raises:
    ValueError: if there is no such kind, or another part has the name.

  Example:
    >>> from acme_metarl import config, evaluators
    >>> def halved(*arrays):
    ...   return 0.5 * evaluators.doubly_robust(*arrays)
    >>> _ = register('evaluator', 'halved', halved)
    >>> config.AlgorithmConfig(evaluator=halved).to_dict()['evaluator']
    'halved'
  """
  if kind not in _PARTS:
    raise ValueError(
      f'kind must be one of {", ".join(_PARTS)}, but got {kind!r}.'
    )
  if _PARTS[kind].get(name, part) is not part:
    raise ValueError(
      f'name: the {kind} {name!r} exists already; choose another name.'
    )
  if ':' in name:
    raise ValueError(f'name must not contain a colon, but got {name!r}.')
  _PARTS[kind][name] = part
  return part


def names(kind: str) -> tuple[str, ...]:
  """The names of the parts of a kind."""
  return tuple(_PARTS[kind])


def named(kind: str, name: str) -> Any:
  """The part that has a name."""
  return _PARTS[kind][name]


def name_of(kind: str, part: Any) -> Any:
  """The name of a part, if it has one, else the part itself."""
  for name, value in _PARTS[kind].items():
    if value is part:
      return name
  return part


def evaluator_options(evaluator: str | Callable[..., Any]) -> frozenset[str]:
  """The options that an evaluator takes.

  Args:
    evaluator: a name or a function.

  Returns:
    Names of its keyword arguments, without the five arrays that every
    evaluator takes.
  """
  if isinstance(evaluator, str):
    evaluator = _PARTS['evaluator'][evaluator]
  try:
    parameters = inspect.signature(evaluator).parameters.values()
  except (TypeError, ValueError):
    return frozenset()
  taken = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
  return frozenset(taken - set(_INPUTS))


def optimizer_names() -> tuple[str, ...]:
  """Optimisers by name: those of optax that take a learning rate."""
  found = {
    name
    for name, function in vars(optax).items()
    if inspect.isfunction(function)
    and next(iter(inspect.signature(function).parameters), None)
    == 'learning_rate'
  }
  return tuple(sorted(found | set(_PARTS['optimizer'])))


def make_optimizer(
  name: str, learning_rate: Any, options: Mapping[str, Any]
) -> optax.GradientTransformation:
  """Makes an optimiser by name."""
  factory = _PARTS['optimizer'].get(name) or getattr(optax, name)
  return factory(learning_rate, **options)


def write(field: str, value: Any) -> Any:
  """Turns a value of a configuration into plain JSON types.

  Args:
    field: name of the field, for the message.
    value: numbers, texts, sequences, mappings, parts.

  Returns:
    The same in dictionaries, lists, texts and numbers; numbers that are not
    finite, which JSON does not have, become 'inf', '-inf' or 'nan'.

  Raises:
    ValueError: if it cannot be written.
  """
  if value is None or isinstance(value, str | bool):
    return value
  if isinstance(value, np.generic | np.ndarray):
    value = value.tolist()
  if isinstance(value, int):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else str(value)
  if isinstance(value, Mapping):
    return {str(key): write(field, item) for key, item in value.items()}
  if isinstance(value, list | tuple) and not hasattr(value, '_fields'):
    return [write(field, item) for item in value]
  if hasattr(value, 'tolist') and not callable(value):  # An array of JAX.
    return write(field, np.asarray(value))
  kind = _KIND_OF_FIELD.get(field, field)
  if kind in _PARTS:
    name = name_of(kind, value)
    if isinstance(name, str):
      return name
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
      return _write_dataclass(kind, value)
  if callable(value) and not isinstance(value, functools.partial):
    return _reference(field, value)
  raise ValueError(
    f'{field} is {value!r}, which cannot be written to a file. Give it a name'
    ' with algorithm_parts.register and pass that, or a function at the top'
    ' level of a module.'
  )


def _write_dataclass(kind: str, value: Any) -> dict[str, Any]:
  name = name_of(kind, type(value))
  if not isinstance(name, str):
    name = _reference(kind, type(value))
  fields = dataclasses.fields(value)
  return {
    'name': name,
    **{f.name: write(f.name, getattr(value, f.name)) for f in fields if f.init},
  }


def read(field: str, value: Any, allow_imports: bool) -> Any:
  """Turns what `write` gave for a part back into it.

  Args:
    field: name of the field.
    value: of the file, or of the user.
    allow_imports: whether 'module:name' may import the module.

  Returns:
    The part, or its name; what is no text and no mapping as it is.

  Raises:
    ValueError: if it is not allowed or leads nowhere.
  """
  kind = _KIND_OF_FIELD.get(field, field)
  if isinstance(value, str) and ':' in value:
    return name_of(kind, _dereference(field, value, allow_imports))
  if kind in ('baseline', 'outer_objective') and isinstance(value, Mapping):
    values = dict(value)
    name = values.pop('name', None)
    if isinstance(name, str) and ':' in name:
      part = _dereference(field, name, allow_imports)
    elif name in _PARTS[kind]:
      part = _PARTS[kind][name]
    else:
      raise ValueError(
        f'{field} must name one of {", ".join(_PARTS[kind])}, but got {name!r}.'
      )
    fields: dict[str, Any] = {
      k: tuple(v) if isinstance(v, list) else read(k, v, allow_imports)
      for k, v in values.items()
    }
    if isinstance(fields.get('evaluator'), str):
      fields['evaluator'] = _PARTS['evaluator'][fields['evaluator']]
    if isinstance(fields.get('reduction'), str):
      fields['reduction'] = _PARTS['reduction'][fields['reduction']]
    try:
      return part(**fields)
    except TypeError as error:
      raise ValueError(f'{field}: {name} takes other fields ({error}).') from (
        error
      )
  return value


def read_number(value: Any) -> Any:
  """Numbers that JSON does not have, from their names; others as they are."""
  if value in ('inf', '-inf', 'nan') and isinstance(value, str):
    return float(value)
  return value


def _reference(field: str, value: Any) -> str:
  module = getattr(value, '__module__', None)
  reference = f'{module}:{getattr(value, "__qualname__", None)}'
  try:
    found = _dereference(field, reference, allow_imports=True)
  except ValueError:
    found = None
  if found is not value:
    raise ValueError(
      f'{field} is {value!r}, which no import leads to, so it cannot be written'
      ' to a file. Define it at the top level of a module, or give it a name'
      ' with algorithm_parts.register.'
    )
  return reference


def _dereference(field: str, reference: str, allow_imports: bool) -> Any:
  module, _, name = reference.partition(':')
  if module == 'acme_metarl.evaluators' and name in _PARTS['evaluator']:
    return _PARTS['evaluator'][name]  # As earlier versions wrote them.
  if not allow_imports:
    raise ValueError(
      f'{field} is {reference!r}, code outside this library, which is not'
      ' imported because a file says so. Say it yourself: pass'
      f' --config.{field}={reference}, or in Python the object.'
    )
  try:
    return functools.reduce(
      getattr, name.split('.'), importlib.import_module(module)
    )
  except (ImportError, AttributeError, ValueError) as error:
    raise ValueError(
      f'{reference!r} needs {name!r} in a module {module!r} that can be'
      f' imported, but: {error}.'
    ) from error
