"""What environments report besides returns, successes say, in a comparison."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from acme_metarl.launchers.comparison import learning_curves, stored_runs
from acme_metarl.launchers.runs import columns, tables

_Rows = Sequence[Mapping[str, Any]]
_Curves = Mapping[str, Sequence[learning_curves.Curve]]


class Scalar(NamedTuple):
  """A number that an environment reports, of all tasks or of a class of them.

  Attributes:
    name: its column in the tables of runs.
    task_class: of the tasks; '' for all of them.
    by_label: curves of the seeds that have it, by algorithm. An algorithm
      without any is there too.
    summaries: of every algorithm.
  """

  name: str
  task_class: str
  by_label: _Curves
  summaries: Sequence[learning_curves.Summary]

  def rows(self, confidence: float) -> list[dict[str, Any]]:
    """Rows of `final_scalars.csv`, with intervals of that confidence."""
    return [
      {
        'environment': summary.environment,
        'algorithm': summary.algorithm,
        'scalar': self.name,
        'task_class': self.task_class,
      }
      | {
        # It is no return.
        name.replace('_return', ''): value
        for name, value in summary.row(confidence).items()
      }
      for summary in self.summaries
    ]


def find(
  found: Mapping[str, _Curves],
  rows: _Rows,
  class_rows: _Rows,
  unfinished: set[learning_curves.Key],
  reference: str | None,
  num_final: int,
) -> dict[str, list[Scalar]]:
  """Finds the numbers that environments report.

  Args:
    found: the returns, by algorithm, by environment.
    rows: of `curves.csv`.
    class_rows: the same for each class of tasks; their returns are among what
      is found.
    unfinished: runs that have not come to their end.
    reference: see `learning_curves.summarise`.
    num_final: the same.

  Returns:
    For each environment those that any of its runs has, in the order of
    columns; all tasks first, then class by class.
  """
  classes: dict[str, list[Mapping[str, Any]]] = {}
  for row in class_rows:
    classes.setdefault(row['task_class'], []).append(row)
  scalars: dict[str, list[Scalar]] = {name: [] for name in found}
  for task_class, own in (('', rows), *sorted(classes.items())):
    names = dict.fromkeys(name for row in own for name in row)
    for name in names:
      if not (
        stored_runs.is_scalar(name)
        or (task_class and name == learning_curves.RETURN)
      ):
        continue
      curves = learning_curves.by_environment(own, unfinished, name)
      for environment, labels in found.items():
        of_environment = curves.get(environment, {})
        by_label = {label: of_environment.get(label, []) for label in labels}
        if any(by_label.values()):
          summaries = learning_curves.summarise(
            environment, by_label, reference, num_final
          )
          scalars[environment].append(
            Scalar(name, task_class, by_label, summaries)
          )
  return scalars


def shown(scalars: Sequence[Scalar]) -> dict[str, list[Scalar]]:
  """Those that readers are shown, the rest being in `final_scalars.csv`.

  Args:
    scalars: of an environment.

  Returns:
    Successes; where none are reported, means over the steps of rollouts. By
    name, one for all tasks and for each class.
  """
  names = [x.name for x in scalars if stored_runs.is_scalar(x.name)]
  if tables.SUCCESS in names:
    names = [tables.SUCCESS]
  return {
    name: [x for x in scalars if x.name == name]
    for name in dict.fromkeys(names)
    if name == tables.SUCCESS or name.endswith('_mean')
  }


def caption(names: Sequence[str]) -> list[str]:
  """Sentences on the scalars that are shown."""
  sentences = []
  if tables.SUCCESS in names:
    meaning = columns.describe(columns.EVALUATION, tables.SUCCESS)
    sentences.append(f'`{tables.SUCCESS}`: {meaning}')
  if set(names) - {tables.SUCCESS}:
    sentences.append(
      '`…_mean`: mean over the steps of rollouts of what else the environment'
      ' reports.'
    )
  return sentences
