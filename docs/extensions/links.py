"""Links that lead out of `docs/`: readable in a checkout and on the site.

A page links results and sources by paths relative to itself. On the site a
link to a picture is the picture, a link to another page is that page, and one
to a folder or a source file is its path from the repository's root.
"""

import pathlib
import re
from typing import Any

_LINK = re.compile(r'(?<!!)\[([^\]]+)\]\(([^)\s#:]+)(#[^)\s]*)?\)')
# Pages of the site that are files of the repository's root.
_PAGES = {
  'README.md': 'index.md',
  'CONTRIBUTING.md': 'contributing.md',
  'CHANGELOG.md': 'changelog.md',
}


def rewrite(text: str, page: pathlib.Path, root: pathlib.Path) -> str:
  """Returns a page's Markdown with its links out of `docs/` replaced.

  Args:
    text: the Markdown.
    page: the file that the links are relative to.
    root: the repository's root.

  Returns:
    The Markdown, for a page in `docs/`.
  """

  def replace(link: re.Match[str]) -> str:
    label, path, anchor = link.groups()
    target = (page.parent / path).resolve()
    if not target.is_relative_to(root):
      return link.group()
    inside = target.relative_to(root)
    if str(inside) in _PAGES:
      target = root / 'docs' / _PAGES[str(inside)]
      inside = target.relative_to(root)
    if inside.parts[:1] == ('docs',) and target.is_file():
      start = root / 'docs' if page.parent == root else page.parent
      ups = len(start.relative_to(root / 'docs').parts)
      return (
        f'[{label}]({"../" * ups}{inside.relative_to("docs")}{anchor or ""})'
      )
    place = str(inside)
    # A label that is the path already needs no second one.
    return label if place in label else f'{label} (`{place}`)'

  return _LINK.sub(replace, text)


def _read(app: Any, name: str, content: list[str]) -> None:
  page = pathlib.Path(app.env.doc2path(name))
  if page.suffix != '.md':
    return
  root = pathlib.Path(app.srcdir).parent.resolve()
  text = content[0]
  included = re.fullmatch(r'See \[.+\]\((.+)\)\.', text.strip())
  if included:
    page = (page.parent / included.group(1)).resolve()
    text = page.read_text()
    app.env.note_dependency(str(page))
  content[0] = rewrite(text, page.resolve(), root)


def setup(app: Any) -> dict[str, Any]:
  """Has pages rewritten as they are read."""
  app.connect('source-read', _read)
  return {'parallel_read_safe': True, 'parallel_write_safe': True}
