"""reStructuredText of docstrings that are written to be read in an editor.

They have Markdown's `code` and lists, Google's sections and formulas in plain
characters. Napoleon, which comes after this, makes fields of the sections.
"""

import re

from docs.extensions import formulas

_CODE = re.compile(r'``[^`]+``|`[^`]+`')
_BULLET = re.compile(r'\s*(?:\*|\d+\.) ')
# Where a section of Google's style begins.
_SECTION = re.compile(
  r'(Args|Attributes|Example|Examples|Note|Raises|Returns|Yields|Usage):$'
)


def to_rst(lines: list[str]) -> list[str]:
  """Returns the lines of a docstring as reStructuredText."""
  out: list[str] = []
  for paragraph in _paragraphs(lines):
    first = paragraph[0].strip()
    if first.startswith('>>>'):
      out += paragraph
    elif _is_literal(paragraph, out):
      out += ['::', '', *paragraph]
    else:
      text = _inline('\n'.join(paragraph)).split('\n')
      out += _separated(text)
    out.append('')
  return out


def _paragraphs(lines: list[str]) -> list[list[str]]:
  """Blocks between blank lines; doctests and sections' heads by themselves."""
  blocks: list[list[str]] = [[]]
  in_doctest = False
  for line in lines:
    starts = line.strip().startswith('>>>')
    if not line.strip():
      blocks.append([])
    elif starts and not in_doctest and blocks[-1]:
      blocks.append([line])
    else:
      blocks[-1].append(line)
    in_doctest = bool(line.strip()) and (starts or in_doctest)
  return [block for block in blocks if block]


def _is_literal(paragraph: list[str], before: list[str]) -> bool:
  """An indented block below a paragraph that is not indented: code."""
  above = [line for line in before if line.strip()]
  return (
    bool(above)
    and paragraph[0].startswith('    ')
    and not above[-1].startswith(' ')
    and not any(_SECTION.match(line) for line in above)
    and not _BULLET.match(above[-1])
  )


def _separated(lines: list[str]) -> list[str]:
  """Puts a blank line before a list that follows text."""
  out: list[str] = []
  in_list = False
  for line in lines:
    starts = bool(_BULLET.match(line)) and '* ' in line
    if starts and not in_list and out:
      out.append('')
    in_list = starts or (in_list and line.startswith(' '))
    out.append(line)
  return out


def _inline(text: str) -> str:
  """Formulas, code and names of one paragraph."""
  # Code is no formula, nor is the name of an argument at a line's beginning.
  masked = _CODE.sub(lambda m: '`' * len(m.group()), text)
  masked = re.sub(
    r'(?m)^\s+\**\w+:(?= |$)', lambda m: '`' * len(m.group()), masked
  )
  pieces, end = [], 0
  for start, stop in formulas.find(masked):
    pieces += [_plain(text[end:start]), _math(text[start:stop], text, stop)]
    end = stop
  return ''.join([*pieces, _plain(text[end:])])


def _math(formula: str, text: str, stop: int) -> str:
  latex = re.sub(r'\s+', ' ', formulas.to_latex(formula)).strip()
  # A role ends where no letter follows.
  return f':math:`{latex}`' + ('\\ ' if text[stop : stop + 1].isalnum() else '')


def _plain(text: str) -> str:
  out, end = [], 0
  for code in _CODE.finditer(text):
    out += [_escaped(text[end : code.start()]), _code(code.group().strip('`'))]
    end = code.end()
    if text[end : end + 1].isalnum():
      out.append('\\ ')
  return ''.join([*out, _escaped(text[end:])])


def _code(text: str) -> str:
  text = re.sub(r'\s+', ' ', text)
  if re.fullmatch(r'[A-Za-z_][\w.]*', text):
    return f':py:obj:`{text}`'
  return f'``{text}``'


def _escaped(text: str) -> str:
  text = text.replace('|', r'\|')
  # `lambda_` would be a reference; at a line's beginning it is an argument.
  return re.sub(r'(?m)(?<=\w)_(?=[\s.,;)]|$)', r'\\_', text)
