"""Runs the tutorials' texts and writes the notebooks beside them.

    python -m docs.extensions.notebooks docs/tutorials/*.py

A text is Python with cells between `# %%` and `# %% [markdown]`, the percent
format that editors and jupytext know.
"""

import pathlib
import re
import sys

MARKDOWN, CODE = 'markdown', 'code'


def cells(text: str) -> list[tuple[str, str]]:
  """Returns the kind and the source of each cell of a text."""
  found = []
  for cell in re.split(r'(?m)^# %%', text)[1:]:
    head, _, source = cell.partition('\n')
    if '[markdown]' in head:
      source = re.sub(r'(?m)^# ?', '', source)
    found.append((MARKDOWN if '[markdown]' in head else CODE, source.strip()))
  return found


def run(path: pathlib.Path) -> None:
  """Runs a text and writes its notebook, outputs included.

  Raises:
    nbclient.exceptions.CellExecutionError: if a cell fails.
  """
  # Installed where pages are built, and not where tests run.
  import nbclient
  import nbformat

  notebook = nbformat.v4.new_notebook()
  make = {
    MARKDOWN: nbformat.v4.new_markdown_cell,
    CODE: nbformat.v4.new_code_cell,
  }
  for i, (kind, source) in enumerate(cells(path.read_text(encoding='utf-8'))):
    notebook.cells.append(make[kind](source, id=f'cell-{i}'))
  nbclient.NotebookClient(
    notebook,
    timeout=900,
    kernel_name='python3',
    resources={'metadata': {'path': str(path.parent)}},
  ).execute()
  for cell in notebook.cells:
    cell.metadata = {}  # Times of execution.
    # What goes to the terminal is no part of a page.
    if 'outputs' in cell:
      cell.outputs = [x for x in cell.outputs if x.get('name') != 'stderr']
  # As Jupyter would name the interpreter, without its version.
  notebook.metadata = {
    'kernelspec': {
      'display_name': 'Python 3',
      'language': 'python',
      'name': 'python3',
    },
    'language_info': {'name': 'python'},
  }
  nbformat.write(notebook, path.with_suffix('.ipynb'))


if __name__ == '__main__':
  for argument in sys.argv[1:]:
    run(pathlib.Path(argument))
