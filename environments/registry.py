"""Environments by name.

An entry is a string `'module:factory'`, so that nothing is imported before it
is asked for: MuJoCo, above all, is not needed by who does not use it.
"""

from collections.abc import Callable, Mapping
import importlib
import inspect
from typing import Any, NamedTuple

_HERE = 'acme_metarl.environments'


class _Entry(NamedTuple):
  factory: str | Callable[..., Any]
  options: Mapping[str, Any]
  evaluation_options: Mapping[str, Any]


_REGISTRY: dict[str, _Entry] = {}


def register(
  name: str,
  factory: str | Callable[..., Any],
  evaluation_options: Mapping[str, Any] | None = None,
  /,
  **options: Any,
) -> None:
  """Makes an environment known by a name.

  Args:
    name: what `make` will know it by.
    factory: returns an `acme_metarl.types.Environment` or a
      `BatchedEnvironment`; a callable, or `'module:attribute'`, which is
      imported at the first `make`.
    evaluation_options: what runs pass besides where they evaluate, such as
      `{'split': 'test'}`; their user's own come after these.
    **options: passed to the factory at every `make`, before the caller's own.

  Registering the same thing again, as a module that is loaded twice does, is
  no mistake.

  Raises:
    ValueError: if the name is taken by something else, or the factory is
      neither callable nor `'module:attribute'`.
  """
  if not (callable(factory) or _is_reference(factory)):
    raise ValueError(
      f"factory: got {factory!r}, need a function or 'module:attribute'."
    )
  entry = _Entry(factory, options, dict(evaluation_options or {}))
  taken = _REGISTRY.get(name)
  if taken is not None and _identity(taken) != _identity(entry):
    raise ValueError(
      f'name: an environment {name!r} is registered already, as '
      f'{taken.factory!r} with the options {dict(taken.options)}.'
    )
  _REGISTRY[name] = entry


def names() -> tuple[str, ...]:
  """Names that `make` knows, sorted."""
  return tuple(sorted(_REGISTRY))


def evaluation_options(name: str) -> dict[str, Any]:
  """What an environment is made with, besides, where runs evaluate."""
  return dict(_entry(name).evaluation_options)


def make(name: str, /, **options: Any) -> Any:
  """Makes the environment called `name`.

  Args:
    name: one of `names()`.
    **options: whatever that environment offers; see its docstring.

  Returns:
    An `acme_metarl.types.Environment` (pure JAX), or a
    `BatchedEnvironment` (MuJoCo; with `backend='mjx'` some of them are pure JAX
    too). `environments.batch` makes the latter of either.

  Raises:
    ValueError: if the name is unknown, its factory cannot be found, or the
      environment has no such option or needs another.
  """
  entry = _entry(name)
  factory = entry.factory
  if isinstance(factory, str):
    factory = _find(factory)
  options = {**entry.options, **options}
  _check_options(name, factory, entry.options, options)
  return factory(**options)


def _entry(name: str) -> _Entry:
  if name not in _REGISTRY:
    raise ValueError(
      f'name: there is no environment {name!r}; there are {", ".join(names())}.'
    )
  return _REGISTRY[name]


def _is_reference(factory: Any) -> bool:
  return isinstance(factory, str) and all(factory.partition(':'))


def _identity(entry: _Entry) -> tuple[Any, ...]:
  """What two entries have in common if they are the same."""
  factory = entry.factory
  if not isinstance(factory, str) and hasattr(factory, '__qualname__'):
    place = f'{factory.__module__}:{factory.__qualname__}'
    # Functions made inside functions may share a name and differ.
    if '<' not in place:
      factory = (place,)
  return factory, dict(entry.options), dict(entry.evaluation_options)


def _find(reference: str) -> Callable[..., Any]:
  """Imports `'module:attribute'`."""
  module, _, attribute = reference.partition(':')
  try:
    return getattr(importlib.import_module(module), attribute)
  except ModuleNotFoundError as error:
    # That something which the module itself needs is missing is its own story.
    if error.name is None or not f'{module}.'.startswith(f'{error.name}.'):
      raise
    raise ValueError(
      f'factory: there is no module {error.name!r} to find {reference!r} in.'
    ) from error
  except AttributeError as error:
    raise ValueError(
      f'factory: there is no {attribute!r} in the module {module!r}.'
    ) from error


def _check_options(name, factory, bound, options) -> None:
  """Refuses options that the factory does not take, saying which it takes."""
  try:
    parameters = inspect.signature(factory).parameters.values()
  except ValueError:  # Of some functions written in C.
    return
  missing = [
    p.name
    for p in parameters
    if p.default is p.empty
    and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    and p.name not in options
  ]
  if missing:
    raise ValueError(
      f'options: environment {name!r} needs the option {", ".join(missing)}.'
    )
  if any(p.kind is p.VAR_KEYWORD for p in parameters):
    return  # The factory tells its options itself.
  known = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL]
  unknown = sorted(set(options) - set(known))
  if unknown:
    offered = [option for option in known if option not in bound]
    raise ValueError(
      f'options: environment {name!r} has no option {", ".join(unknown)}; it '
      f'offers {", ".join(offered) or "none"}.'
    )


register('navigation_2d', f'{_HERE}.navigation_2d:Navigation2D')
register('tabular_mdp', f'{_HERE}.tabular_mdp:make')
register(
  'iterated_prisoners_dilemma',
  f'{_HERE}.iterated_prisoners_dilemma:IteratedPrisonersDilemma',
)
register('metaworld', f'{_HERE}.metaworld:make', {'split': 'test'})
for _name in (
  'half_cheetah_direction',
  'half_cheetah_velocity',
  'ant_direction',
  'ant_direction_2d',
  'ant_goal',
  'walker2d_direction',
  'walker2d_velocity',
  'humanoid_direction',
  'humanoid_direction_2d',
  'hopper_params',
  'walker2d_params',
):
  register(_name, f'{_HERE}.mujoco.locomotion:make', name=_name)
