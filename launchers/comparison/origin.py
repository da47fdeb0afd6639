"""Which commands and which packages made the runs of a comparison."""

from collections.abc import Sequence
from importlib import metadata
import json
import os
import pathlib
import platform
import shlex
import sys
from typing import Any

from acme_metarl.launchers.comparison import stored_runs
from acme_metarl.launchers.runs import outputs

# In a run's directory: who made it.
MADE_BY_JSON = 'made_by.json'
_PACKAGES = (
  'acme_metarl',
  'jax',
  'jaxlib',
  'numpy',
  'scipy',
  'chex',
  'distrax',
  'dm-haiku',
  'optax',
  'rlax',
  'dm-acme',
  'dm-reverb',
  'gymnasium',
  'mujoco',
  'mujoco-mjx',
  'matplotlib',
)


def versions() -> dict[str, str]:
  """Versions of Python and of the packages that results depend on."""
  found = {
    'python': platform.python_version(),
    'platform': f'{platform.system()} {platform.machine()}',
  }
  for name in _PACKAGES:
    try:
      found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
      continue
  return found


def command() -> str:
  """The command line of this process, as one would type it anywhere."""
  return _portable(
    shlex.join(['python', '-m', 'acme_metarl.launchers.compare', *sys.argv[1:]])
  )


def _portable(text: str) -> str:
  """Leaves the working directory out of paths below it."""
  return text.replace(f'{pathlib.Path.cwd()}{os.sep}', '')


def note(run: stored_runs.Run) -> None:
  """Adds this command to those that made a run, in its directory."""
  entries = _made_by(run)
  entry = {'command': command(), 'versions': versions()}
  if entry not in entries:
    outputs.write_json(run.directory / MADE_BY_JSON, [*entries, entry])


def summary(runs: Sequence[stored_runs.Run]) -> dict[str, Any]:
  """What made this report, and what made the runs.

  Args:
    runs: of the comparison; of one that was not made by `compare`, nothing is
      known.

  Returns:
    What `versions.json` holds.
  """
  by_entry: dict[str, list[str]] = {}
  unknown = []
  for run in runs:
    entries = _made_by(run)
    if not entries:
      unknown.append(run.name)
    for entry in entries:
      entry['command'] = _portable(entry['command'])
      key = json.dumps(entry, sort_keys=True)
      by_entry.setdefault(key, []).append(run.name)
  return {
    'report': {'command': command(), 'versions': versions()},
    'runs': [
      {**json.loads(entry), 'runs': names} for entry, names in by_entry.items()
    ],
    'made_elsewhere': unknown,
  }


def _made_by(run: stored_runs.Run) -> list[dict[str, Any]]:
  path = run.directory / MADE_BY_JSON
  return json.loads(path.read_text(encoding='utf-8')) if path.exists() else []
