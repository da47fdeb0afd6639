r"""Prints the papers to cite for a preset, as BibTeX.

    python -m acme_metarl.launchers.cite promp_taypo2
    python -m acme_metarl.launchers.cite promp trpo_dice > papers.bib

Without a name it prints those of every preset.
"""

from collections.abc import Mapping, Sequence
import sys

from absl import flags

from acme_metarl import presets
from acme_metarl.launchers.runs import citations, entry


def define(values: flags.FlagValues) -> None:
  """Defines the flags."""
  flags.DEFINE_list(
    'algorithms',
    [],
    f'Presets: {", ".join(presets.names())}. By default all; --algorithms= may '
    'be left out.',
    flag_values=values,
    module_name=__name__,
  )


def run(values: flags.FlagValues, overrides: Mapping[str, str]) -> None:
  """Prints papers.

  Raises:
    ValueError: if there is no such preset.
  """
  for field in overrides:
    raise ValueError(f'--config.{field}: there are no such flags here.')
  found = {}
  for name in values['algorithms'].value or presets.names():
    found |= citations.of_preset(name)
  print('\n\n'.join(paper.bibtex(key) for key, paper in found.items()))


def main(argv: Sequence[str] | None = None) -> None:
  """Prints what a command line asks for, this process's by default."""
  arguments = list(sys.argv[1:] if argv is None else argv)
  names = [x for x in arguments if not x.startswith('-')]
  rest = [x for x in arguments if x.startswith('-')]
  if names:
    rest.append(f'--algorithms={",".join(names)}')
  entry.main('cite', __doc__, define, run, rest)


if __name__ == '__main__':
  main()
