"""What the columns of a run's tables mean; TensorBoard's tags are the same.

`learner.csv` has a row an iteration, `evaluation.csv` a row for each evaluation
and number of adaptation steps. A tag is `learner/COLUMN`, or
`evaluation/COLUMN_k` after k adaptation steps.
"""

from collections.abc import Iterable, Mapping
import pathlib
import re

from acme_metarl.launchers.runs import outputs

FILE = 'columns.md'
_SHARED = {
  'iteration': 'Number of meta-updates made by then.',
  'environment_steps': (
    'Steps of all training rollouts so far, those after an early end not'
    ' counted.'
  ),
  'wall_seconds': (
    'Seconds since the run began, the time of its resumptions added up.'
  ),
}
# Names by table, as patterns: `_k` stands for a number of adaptation steps.
LEARNER: Mapping[str, str] = {
  **_SHARED,
  'return_k': (
    'Mean undiscounted return of the training tasks after k adaptation steps.'
  ),
  '*_ever_k': (
    'Largest number that the environment reported in a rollout after k'
    ' adaptation steps, mean over rollouts and training tasks; of `success` the'
    ' share of rollouts that ever succeeded.'
  ),
  '*_last_k': 'The same of the last number of a rollout.',
  '*_mean_k': 'The same of the mean over the steps of a rollout.',
  'num_diverged': 'Rollouts so far that diverged or acted non-finitely.',
  'acting_seconds': 'Seconds of playing the trial.',
  'waiting_seconds': 'Seconds of waiting for trials of actors.',
  'learning_seconds': 'Seconds of the meta-update.',
  'loss_before': 'Outer loss before the meta-update.',
  'loss': (
    'Outer loss in the last epoch, or after the step of the trust region.'
  ),
  'objective_before': (
    'Outer objective, without penalties, before the meta-update.'
  ),
  'objective': 'Outer objective, as the loss.',
  'meta_gradient_norm': 'Norm of the meta-gradient, in the first epoch.',
  'meta_gradient_variance': (
    "Trace of the covariance of single tasks' meta-gradients."
  ),
  'meta_gradient_cosine': (
    'Cosine between the meta-gradients of the two halves of the meta-batch: 1'
    ' where they agree, about 0 where noise is all there is.'
  ),
  'clipped_share': (
    'Share of the last stage whose importance ratio left 1 ± clip_epsilon.'
  ),
  'inner_kl_k': (
    'KL divergence that the meta-update moved the policy of stage k by.'
  ),
  'outer_kl': 'The same of the adapted policy.',
  'effective_sample_size_k': (
    'Effective sample size of the importance ratios of stage k, as a share of'
    ' its steps.'
  ),
  'kl_coefficient_k': 'Weight of the KL penalty of inner step k + 1.',
  'num_epochs': 'Outer steps made; a KL bound has others halved.',
  'num_skipped': (
    'Meta-updates so far whose gradient was not finite, which were left out.'
  ),
  'step_accepted': (
    'Whether the trust region took a step: 1, or 0 where none improved the'
    ' objective within the bound.'
  ),
  'num_backtracks': 'How often the trust region shortened its step.',
  'causal_lambda': "The evaluator's causal λ, where it is adapted.",
  'lag': 'Meta-updates between acting and learning, mean over tasks.',
  'lag_max': 'The largest of them.',
  'older_share': 'Share of tasks whose lag is above max_lag.',
  'num_dropped': 'Tasks so far that were too old, and dropped.',
  'num_lost': 'Tasks so far that never arrived.',
  'num_duplicated': 'Tasks so far that arrived twice.',
}
EVALUATION: Mapping[str, str] = {
  **_SHARED,
  'num_inner_steps_taken': 'Adaptation steps before the rollouts: 0, 1, …',
  'return_mean': (
    'Mean undiscounted return on tasks drawn anew, each task counted as the'
    ' mean of its rollouts.'
  ),
  'return_stderr': (
    'Standard error of that mean over tasks; nan for a single task.'
  ),
  'success_ever': 'Share of rollouts that succeeded at any of their steps.',
  '*_ever': (
    'Largest number that the environment reported in a rollout, mean over'
    ' rollouts and tasks.'
  ),
  '*_last': 'The same of the last number of a rollout.',
  '*_mean': 'The same of the mean over the steps of a rollout.',
  'task_class': (
    'Class of the tasks; in `evaluation_classes.csv` there is a row for each.'
  ),
  'num_tasks': 'Tasks of the class.',
  'task': (
    'Number of the task; in `evaluation_tasks.csv` there is a row for each, and'
    ' the numbers are those of the task alone.'
  ),
  'return': 'Mean undiscounted return of the rollouts of the task.',
}
_REPORTED = 'Reported by the environment or by a part of your own.'


def describe(table: Mapping[str, str], column: str) -> str:
  """What a column of a table means.

  Args:
    table: `LEARNER` or `EVALUATION`.
    column: its name.
  """
  if column in table:
    return table[column]
  for name, text in table.items():
    pattern = re.sub('_k$', r'_\\d+', re.escape(name)).replace(r'\*', '.*')
    if re.fullmatch(pattern, column):
      return text
  return _REPORTED


def is_known(table: Mapping[str, str], column: str) -> bool:
  """Whether a column is in a table, and not of a user's own."""
  return describe(table, column) != _REPORTED


def page(title: str, table: Mapping[str, str], columns: Iterable[str]) -> str:
  """A table of columns and what they mean, in Markdown."""
  rows = [f'| `{name}` | {describe(table, name)} |' for name in columns]
  head = [f'## {title}', '', '| column | what it is |', '|---|---|']
  return '\n'.join([*head, *rows, ''])


def reference() -> str:
  """All columns that there are, in Markdown, for the documentation."""
  return '\n'.join(
    [
      page('`learner.csv`: a row an iteration', LEARNER, LEARNER),
      page(
        '`evaluation.csv`: a row for each evaluation and number of adaptation'
        ' steps',
        EVALUATION,
        EVALUATION,
      ),
    ]
  )


def write(directory: pathlib.Path, table: str, columns: Iterable[str]) -> None:
  """Adds what the columns of a new file mean to `columns.md` beside it.

  Args:
    directory: of the run.
    table: name of the file.
    columns: that it has.
  """
  path = directory / FILE
  text = path.read_text(encoding='utf-8') if path.exists() else ''
  title = f'`{table}`'
  if f'## {title}\n' in text:
    return
  known = LEARNER if table.startswith('learner') else EVALUATION
  parts = [text, page(title, known, columns)]
  outputs.write(path, '\n'.join(x for x in parts if x).encode())
