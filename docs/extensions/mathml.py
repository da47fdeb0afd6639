"""Formulas as MathML, which every browser shows without a script."""

import html
from typing import Any

from docutils import nodes
import math_core
from sphinx import application
from sphinx.util import logging

_logger = logging.getLogger(__name__)


def _convert(node: Any, *, display: bool) -> str:
  converter = math_core.LatexToMathML(fancy_error=False, annotation=False)
  try:
    return converter.convert_with_local_state(
      node.astext(), displaystyle=display
    )
  except math_core.LatexError as error:
    _logger.warning('%s in %r', error, node.astext(), location=node)
    return f'<code>{html.escape(node.astext())}</code>'


def _visit_inline(writer: Any, node: Any) -> None:
  writer.body.append(f'<span class="math">{_convert(node, display=False)}')
  writer.body.append('</span>')
  raise nodes.SkipNode


def _visit_block(writer: Any, node: Any) -> None:
  writer.body.append(f'<div class="math">{_convert(node, display=True)}</div>')
  raise nodes.SkipNode


def setup(app: application.Sphinx) -> dict[str, Any]:
  """Makes this the renderer of formulas."""
  app.add_html_math_renderer(
    'mathml', (_visit_inline, None), (_visit_block, None)
  )
  app.config.html_math_renderer = 'mathml'
  return {'parallel_read_safe': True, 'parallel_write_safe': True}
