"""Docstrings become reStructuredText that says the same."""

import textwrap

from docs.extensions import docstrings


def _rst(text):
  lines = textwrap.dedent(text).strip('\n').splitlines()
  return '\n'.join(docstrings.to_rst(lines))


def test_code_names_and_formulas():
  assert _rst('`[T]` of `doubly_robust`; `lambda_`s and lambda_ for V^π.') == (
    '``[T]`` of :py:obj:`doubly_robust`; :py:obj:`lambda_`\\ s and lambda\\_'
    ' for :math:`V^{π}`.\n'
  )


def test_formulas_in_code_and_names_of_arguments_stay():
  assert _rst('Args:\n  r_t: `V^π` of x_t.') == (
    'Args:\n  r_t: ``V^π`` of :math:`x_{t}`.\n'
  )


def test_lists_are_set_off_and_indented_text_is_code():
  assert _rst('One:\n* a\n* b\n\nThus\n\n    f(x) -> *y') == (
    'One:\n\n* a\n* b\n\nThus\n\n::\n\n    f(x) -> *y\n'
  )


def test_examples_stay():
  text = 'Example:\n  >>> f(lambda_)\n  3_'
  assert _rst(text) == 'Example:\n\n  >>> f(lambda_)\n  3_\n'
