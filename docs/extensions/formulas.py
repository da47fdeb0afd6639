"""LaTeX of the formulas that docstrings write in plain characters.

Docstrings are read in an editor, where `V̂_t = ρ_t (r_t + γ_t V̂_{t+1})` says
more than LaTeX does; on a page it should look like a formula. Whatever is not
recognised stays what it was.
"""

import re
import unicodedata

_FUNCTIONS = (
  'clip',
  'exp',
  'evaluator',
  'log',
  'max',
  'min',
  'optimiser',
  'reduction',
  'sg',
  'stop_gradient',
)
_OPERATORS = set('=+−-·≤≥<>|∈∘/×≈…⟨⟩→')
_ACCENTS = {'\u0302': r'\hat', '\u0304': r'\bar'}
_SYMBOLS = {
  '−': '-',
  '·': r'\cdot ',
  '×': r'\times ',
  '…': r'\ldots ',
  '|': r'\mid ',
  '□': r'\square ',
  '∘': r'\circ ',
  'ᵀ': r'^{\top}',
  '²': '^{2}',
  '≥': r'\ge ',
  '≤': r'\le ',
  '≈': r'\approx ',
  '∈': r'\in ',
  '→': r'\to ',
  '∇': r'\nabla ',
  '[': '[',
  '%': r'\%',
}
# A letter with what stands above, below and behind it.
_STRONG = re.compile(r'[\u0302\u0304∇Σ□^]|[Α-ΡΤ-Ωα-ω]|\w_[\w{]')
# What may stand in a formula, though it makes none by itself.
_WEAK = re.compile(r"[\w()\[\]{}|,+\-−·/'.²…=]+")
_CALL = re.compile(r"[A-Za-z]'*\(")
_WORD_WITHIN = re.compile(r'(?<![\\_^])[A-Za-z]{2,}')


def to_latex(text: str) -> str:
  """Returns the LaTeX of one formula in plain characters."""
  text = unicodedata.normalize('NFD', text)
  if text == 'pi':
    return r'\pi'
  out, i = [], 0
  while i < len(text):
    name = re.match(r'[A-Za-z]{2,}(?:_[a-z]{2,})?', text[i:])
    if name and name.group() in _FUNCTIONS:
      out.append(rf'\operatorname{{{name.group().replace("_", "-")}}}')
      i += len(name.group())
    elif i + 1 < len(text) and text[i + 1] in _ACCENTS:
      out.append(f'{_ACCENTS[text[i + 1]]}{{{text[i]}}}')
      i += 2
    elif text[i] in '_^' and i + 1 < len(text):
      script, length = _script(text[i + 1 :])
      out.append(f'{text[i]}{{{to_latex(script)}}}')
      i += 1 + length
    elif text[i] in 'ΣΠ' and text[i + 1 : i + 2] in ('_', ' '):
      out.append(r'\sum' if text[i] == 'Σ' else r'\prod')
      i += 1
    elif text[i : i + 2] == '..':
      out.append(r'\ldots ')
      i += 2
    else:
      out.append(_SYMBOLS.get(text[i], text[i]))
      i += 1
  return ''.join(out)


def _script(text: str) -> tuple[str, int]:
  """What a sub- or superscript is, and how many characters it takes."""
  if text[0] in '{(':
    depth = 0
    for i, character in enumerate(text):
      depth += (character in '{(') - (character in '})')
      if not depth:
        return text[1:i], i + 1
  plain = re.match(r'-?\d+|\*|pi\b|\w', text)
  length = len(plain.group()) if plain else 1
  return text[:length], length


def find(text: str) -> list[tuple[int, int]]:
  """Returns where formulas begin and end in a paragraph without code."""
  words = list(re.finditer(r'\S+', text))
  found: list[tuple[int, int]] = []
  run: list[re.Match[str]] = []
  depth = 0
  for word in [*words, None]:
    kind = _kind(word.group()) if word else 'prose'
    if kind != 'prose':
      run.append(word)
      depth += sum(map(word.group().count, '([{'))
      depth -= sum(map(word.group().count, ')]}'))
    if kind == 'prose' or (depth <= 0 and word.group()[-1] in '.,;:'):
      found += _trimmed(run)
      run, depth = [], 0
  return found


def _kind(word: str) -> str:
  core = unicodedata.normalize('NFD', word).rstrip('.,;:')
  if core in _OPERATORS:
    return 'operator'
  within = _WORD_WITHIN.findall(re.sub(r'\{[^}]*\}', '', core))
  known = all(x in _FUNCTIONS for x in within)
  # `v_tm1` and `lambda_` are names of Python's, and r_t: is an argument.
  name = re.search(r'_\w\w|_$|_\(|\w\w_', core)
  if name and not any(f in core for f in _FUNCTIONS if '_' in f):
    return 'prose'
  if known and _STRONG.search(core) and not re.search(r'[`*"“”#&@~$\\]', core):
    return 'strong'
  if not known or not _WEAK.fullmatch(core):
    return 'prose'
  return 'call' if _CALL.match(core) else 'weak'


def _closes(words: list[str]) -> bool:
  """Whether the last word closes a bracket that an earlier one opened."""
  last = sum(map(words[-1].count, ')]}')) > sum(map(words[-1].count, '([{'))
  text = ' '.join(words)
  return last and all(
    text.count(a) == text.count(b) for a, b in ('()', '[]', '{}')
  )


def _trimmed(run: list[re.Match[str]]) -> list[tuple[int, int]]:
  """The part of a run of words that is a formula, if there is one."""
  kinds = [_kind(word.group()) for word in run]
  texts = [word.group() for word in run]
  first, last = 0, len(run) - 1

  def may_end(i: int, neighbour: int) -> bool:
    if kinds[i] != 'weak':
      return kinds[i] != 'operator'
    inside = first <= neighbour <= last and kinds[neighbour] == 'operator'
    return inside or (neighbour > i and texts[i] in _FUNCTIONS)

  while first <= last and not may_end(first, first + 1):
    first += 1
  while last > first and not (
    may_end(last, last - 1) or _closes(texts[first : last + 1])
  ):
    last -= 1
  if first > last or 'strong' not in kinds[first : last + 1]:
    return []
  start = run[first].start()
  end = run[last].start() + len(run[last].group().rstrip('.,;:'))
  text = run[0].string[start:end]
  if text[:1] == '(' and text.count('(') > text.count(')'):
    start += 1
  if text[-1:] == ')' and text.count(')') > text.count('('):
    end -= 1
  text = run[0].string[start:end]
  balanced = all(text.count(a) == text.count(b) for a, b in ('()', '[]', '{}'))
  return [(start, end)] if balanced and len(text) > 1 else []
