"""What every main of a run does: flags, messages, exit codes."""

from collections.abc import Callable, Mapping, Sequence
import logging as python_logging
import re
import sys
from typing import Any

from absl import flags, logging

from acme_metarl.launchers.runs import config_flags, mistakes, outputs

# Whose flags, which are the process's, every main takes too.
_OTHERS = ('absl.logging', 'launchpad')
# What flags were called in 0.1, where a main has the new one and not the old;
# these names go with 0.3.
_OLD_NAMES = {
  'output': 'logdir',
  'estimators': 'evaluators',
  'compositional_estimators': 'compositional_evaluators',
  'ablation_estimator': 'ablation_evaluator',
  'outer': 'outer_evaluator',
}
_FLAG = re.compile(r'--?(\w+)(=.*)?', re.DOTALL)


def _renamed(
  arguments: Sequence[str], values: flags.FlagValues, launcher: str
) -> list[str]:
  """The command line with the names that flags have now."""
  renamed = []
  for argument in arguments:
    match = _FLAG.fullmatch(argument)
    old = match.group(1) if match else ''
    new = _OLD_NAMES.get(old, '')
    if old not in values and new in values:
      print(f'{launcher}: --{old} is called --{new} now.', file=sys.stderr)
      argument = f'--{new}{match.group(2) or ""}'
    renamed.append(argument)
  return renamed


def main(
  launcher: str,
  doc: str,
  define: Callable[[flags.FlagValues], Any],
  run: Callable[[flags.FlagValues, Mapping[str, str]], Any],
  argv: Sequence[str] | None = None,
) -> None:
  """Reads a command line, runs, and tells mistakes without a traceback.

  No global flag is defined, so that any number of mains can be called in one
  process.

  Args:
    launcher: its name, in front of messages.
    doc: what `--help` says first.
    define: defines flags.
    run: given the flags, and the values of `--config.FIELD`.
    argv: flags; those of this process by default.

  Raises:
    SystemExit: with a sentence, if the user is mistaken; or after `--help`.
  """
  values = flags.FlagValues()
  define(values)
  flags.DEFINE_bool(
    'help', False, 'Show this.', flag_values=values, module_name=launcher
  )
  text = values.get_help()
  flags.FLAGS.mark_as_parsed()  # Those who read global flags ask for that.
  shared = [
    flag
    for module, of_module in flags.FLAGS.flags_by_module_dict().items()
    if module.startswith(_OTHERS)
    for flag in of_module
  ]
  for flag in shared:
    if flag.name not in values:
      values[flag.name] = flag
  # Else JAX tells about every kind of device that is not there.
  python_logging.getLogger('jax').setLevel(python_logging.WARNING)
  try:
    arguments = sys.argv[1:] if argv is None else argv
    arguments = _renamed(arguments, values, launcher)
    rest, overrides = config_flags.split([launcher, *arguments])
    _, *positional = values(rest)
    if values['help'].value:
      outputs.show(f'{doc.strip()}\n\nFlags:\n{text}')
      sys.exit(0)
    if positional:
      raise ValueError(
        f'unexpected argument {positional[0]!r}; use flags only.'
      )
    run(values, overrides)
  except flags.Error as error:
    sys.exit(f'{launcher}: {error} See --help.')
  except ValueError as error:
    if not mistakes.is_explained(error):
      raise
    logging.debug('Where it came from:', exc_info=True)
    sys.exit(f'{launcher}: {error}')
  except outputs.CannotWriteError as error:
    sys.exit(
      f'{launcher}: cannot write ({error}); the last checkpoint is intact.'
    )
  except KeyboardInterrupt:
    print(
      f'{launcher}: interrupted; --resume goes on from the last checkpoint.'
    )
    sys.exit(130)
  finally:
    for flag in shared:
      flag.unparse()
