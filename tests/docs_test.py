"""Links of the pages lead somewhere; their tables are those of the results."""

import pathlib
import re

import pytest

_ROOT = pathlib.Path(__file__).parent.parent
_PAGES = sorted([*_ROOT.glob('*.md'), *_ROOT.glob('docs/*.md')])
_RESULTS = _ROOT / 'launchers' / 'results'


def _anchors(page):
  """What GitHub makes of the page's headings."""
  headings = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
  return {
    re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
    for heading in headings
  }


@pytest.mark.parametrize('page', _PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
  links = re.findall(r'\]\(([^)\s]+)\)', page.read_text())
  for link in links:
    if '://' in link:
      continue
    path, _, anchor = link.partition('#')
    target = page.parent / path if path else page
    assert target.exists(), link
    assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize('page', _PAGES, ids=lambda page: page.name)
def test_returns_are_those_of_the_results(page):
  stored = [
    line
    for table in _RESULTS.glob('*/final_returns.md')
    for line in table.read_text().splitlines()
  ]
  row = r'^\| (?:TRPO|PROMP|VPG)[^|]*\| \d+ +\| \d+ .*$'
  rows = re.findall(row, page.read_text(), re.MULTILINE)
  assert set(rows) <= set(stored)
  assert rows or page.stem not in ('reproduction', 'which_estimator')
