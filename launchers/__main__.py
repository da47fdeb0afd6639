"""Runs a command by its name: `acme-metarl COMMAND`, or lists them.

    python -m acme_metarl.launchers
    python -m acme_metarl.launchers train_on_device --num_iterations=2
    python -m acme_metarl.launchers cite promp_taypo2

`acme-metarl COMMAND FLAGS` is `python -m acme_metarl.launchers.COMMAND FLAGS`.
"""

import ast
from collections.abc import Sequence
import pathlib
import runpy
import sys

from acme_metarl.launchers.runs import outputs

_PACKAGE = 'acme_metarl.launchers'
# Beginnings of names, by what they are for; a name is in the first that fits.
_GROUPS = {
  'Training': ('train', 'self_tuning'),
  'What came of it': ('evaluate', 'compare', 'cite'),
  'Benchmarks': ('benchmark_',),
  'Studies': ('',),
}


def commands() -> dict[str, str]:
  """What each command does, by its name; nothing is imported for it."""
  found = {}
  for path in sorted(pathlib.Path(__file__).parent.glob('[!_]*.py')):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    found[path.stem] = (ast.get_docstring(tree) or '').splitlines()[0]
  return found


def listing() -> str:
  """All commands, a line each."""
  known = commands()
  groups: dict[str, list[str]] = {title: [] for title in _GROUPS}
  for name in known:
    title = next(t for t, starts in _GROUPS.items() if name.startswith(starts))
    groups[title].append(name)
  width = max(map(len, known))
  lines = ['Commands; acme-metarl COMMAND --help says more.']
  for title, names in groups.items():
    lines += ['', f'{title}:']
    lines += [f'  {name:{width}}  {known[name]}' for name in names]
  return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs a command; this process's by default.

  Raises:
    SystemExit: with a sentence, if there is no such command.
  """
  arguments = list(sys.argv[1:] if argv is None else argv)
  if not arguments or arguments[0] in ('-h', '--help', '-help', 'help'):
    outputs.show(listing())
    return
  name, *rest = arguments
  if name not in commands():
    sys.exit(
      f'acme-metarl: there is no command {name!r}; there are'
      f' {", ".join(commands())}.'
    )
  sys.argv = [sys.argv[0], *rest]
  try:
    runpy.run_module(f'{_PACKAGE}.{name}', run_name='__main__', alter_sys=True)
  except ModuleNotFoundError as error:
    if (error.name or '').startswith('acme_metarl'):
      raise
    sys.exit(
      f'acme-metarl: {name} needs the package {error.name!r}, which is not'
      ' installed; see the README, "Install parts of it".'
    )


if __name__ == '__main__':
  main()
