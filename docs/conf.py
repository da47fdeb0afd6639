"""How the documentation is built; `make docs` does it."""

import pathlib
import re
import sys

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))

from docs.extensions import docstrings  # noqa: E402

_INIT = (_ROOT / 'acme_metarl' / '__init__.py').read_text(encoding='utf-8')

project = 'acme_metarl'
author = 'the authors of acme_metarl'
copyright = f'2026, {author}. Apache-2.0'
release = version = re.search(r"__version__ = '(.+)'", _INIT).group(1)

extensions = [
  'sphinx.ext.autodoc',
  'sphinx.ext.napoleon',
  'myst_nb',
  'sphinx_copybutton',
  'docs.extensions.mathml',
  'docs.extensions.reference',
  'docs.extensions.links',
]
exclude_patterns = ['_build', '**/.ipynb_checkpoints']
html_theme = 'furo'
html_title = f'acme_metarl {release}'
html_static_path = ['static']
html_css_files = ['site.css']
html_math_renderer = 'mathml'
html_copy_source = False
html_show_sourcelink = False

# The agent's dependencies are for Python 3.10 only, and the documentation needs
# no physics.
autodoc_mock_imports = [
  'acme',
  'brax',
  'gymnasium',
  'gymnax',
  'launchpad',
  'mujoco',
  'reverb',
]
# Docstrings give shapes, which say more than types do.
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
autodoc_class_signature = 'mixed'
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

myst_enable_extensions = ['dollarmath', 'amsmath', 'deflist', 'colon_fence']
myst_heading_anchors = 4
myst_dmath_double_inline = True
nb_execution_mode = 'off'  # Tests run the notebooks; outputs are committed.
nb_merge_streams = True
copybutton_prompt_text = r'>>> |\.\.\. |\$ '
copybutton_prompt_is_regexp = True


def _process_docstring(app, what, name, obj, options, lines):
  lines[:] = docstrings.to_rst(lines)


def setup(app):
  """Has docstrings read before Napoleon reads them."""
  app.connect('autodoc-process-docstring', _process_docstring, priority=400)
