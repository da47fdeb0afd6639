"""Which commands and which packages made the runs of a comparison."""

from collections.abc import Sequence
import json
from typing import Any

from acme_metarl.launchers.comparison import stored_runs
from acme_metarl.launchers.runs import outputs, versions

# In a run's directory: who made it.
MADE_BY_JSON = 'made_by.json'


def note(run: stored_runs.Run) -> None:
  """Adds this command to those that made a run, in its directory."""
  entries = _made_by(run)
  entry = versions.entry()
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
      entry['command'] = versions.portable(entry['command'])
      key = json.dumps(entry, sort_keys=True)
      by_entry.setdefault(key, []).append(run.name)
  return {
    'report': versions.entry(),
    'runs': [
      {**json.loads(entry), 'runs': names} for entry, names in by_entry.items()
    ],
    'made_elsewhere': unknown,
  }


def _made_by(run: stored_runs.Run) -> list[dict[str, Any]]:
  path = run.directory / MADE_BY_JSON
  return json.loads(path.read_text(encoding='utf-8')) if path.exists() else []
