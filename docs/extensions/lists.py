"""Tables of what there is, from the code, for `docs/algorithms.md`.

    python -m docs.extensions.lists

writes them anew into the page; a test compares.
"""

from collections.abc import Callable, Iterable
import inspect
import pathlib
import re
from typing import Any

from acme_metarl import environments, evaluators, presets
from acme_metarl.environments import registry
from acme_metarl.launchers import __main__ as launchers
from acme_metarl.launchers.runs import citations

PAGE = pathlib.Path(__file__).parents[1] / 'algorithms.md'
_EVALUATORS = (
  'importance_sampling',
  'dice_with_baseline',
  'doubly_robust',
  'truncated_doubly_robust',
  'taylor_expansion',
  'loaded_dice',
  'log_likelihood',
)
# What is in the signature of every evaluator.
_ARRAYS = ('v_tm1', 'v_t', 'r_t', 'discount_t', 'rho_tm1')


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
  head = list(head)
  lines = [head, ['---'] * len(head), *map(list, rows)]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _first_sentence(function: Any) -> str:
  line = (inspect.getdoc(function) or '').split('\n')[0]
  return line.replace('|', r'\|').rstrip('.')


def _options(function: Callable[..., Any], without: Iterable[str]) -> str:
  without = set(without)
  shown = []
  for parameter in inspect.signature(function).parameters.values():
    if parameter.name in without:
      continue
    default = parameter.default
    shown.append(
      f'`{parameter.name}`'
      if default is parameter.empty or default is None
      else f'`{parameter.name}={default!r}`'
    )
  return ', '.join(shown)


def list_presets() -> str:
  """Returns the table of presets."""
  rows = []
  for name in presets.names():
    config = presets.make(name)
    options = ', '.join(f'{k} {v}' for k, v in config.evaluator_options.items())
    evaluator = f'`{config.evaluator}`' + (f', {options}' if options else '')
    papers = ', '.join(
      f'[{paper.authors.split(",")[0]} {paper.year}]({paper.url})'
      for paper in citations.of_preset(name).values()
    )
    outer = (
      f'{config.outer_optimizer}, {config.num_outer_epochs} step'
      + 's' * (config.num_outer_epochs > 1)
    )
    rows.append(
      (
        f'`{name}`',
        evaluator,
        f'`{config.meta_gradient}`',
        outer.replace('_', ' '),
        papers,
      )
    )
  head = ('preset', 'evaluator', 'meta-gradient', 'outer update', 'papers')
  return _table(head, rows)


def list_evaluators() -> str:
  """Returns the table of evaluators."""
  rows = []
  for name in _EVALUATORS:
    function = getattr(evaluators, name)
    rows.append(
      (f'`{name}`', _first_sentence(function), _options(function, _ARRAYS))
    )
  return _table(('evaluator', 'is', 'options'), rows)


def list_environments() -> str:
  """Returns the table of environments, those of one factory in one row."""
  names: dict[str, list[str]] = {}
  bound: dict[str, set[str]] = {}
  for name in environments.names():
    entry = registry._REGISTRY[name]
    if not str(entry.factory).startswith('acme_metarl.'):
      continue  # Of a user's or a test's.
    names.setdefault(entry.factory, []).append(name)
    bound.setdefault(entry.factory, set()).update(entry.options)
  rows = []
  for factory, known in names.items():
    function = registry._find(factory)
    rows.append(
      (
        ', '.join(f'`{name}`' for name in known),
        _first_sentence(function),
        _options(function, bound[factory]),
      )
    )
  return _table(('environments', 'is', 'options'), rows)


def list_commands() -> str:
  """Returns the table of commands."""
  return _table(
    ('command', 'does'),
    (
      (f'`{name}`', line.rstrip('.'))
      for name, line in launchers.commands().items()
    ),
  )


LISTS = {
  'presets': list_presets,
  'evaluators': list_evaluators,
  'environments': list_environments,
  'commands': list_commands,
}


def filled(text: str) -> str:
  """Returns a page with what is between its marks written anew."""
  for name, make in LISTS.items():
    text = re.sub(
      rf'(<!-- {name} -->\n).*?(<!-- end -->)',
      lambda match, make=make: f'{match[1]}\n{make()}\n\n{match[2]}',
      text,
      flags=re.DOTALL,
    )
  return text


if __name__ == '__main__':
  PAGE.write_text(filled(PAGE.read_text(encoding='utf-8')), encoding='utf-8')
