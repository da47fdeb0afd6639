"""Tries every link, anchor and picture of a built site, without a network.

    python docs/extensions/check_site.py build/docs

Anything that a page would fetch from elsewhere is a mistake too: the site works
offline.
"""

import html.parser
import pathlib
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
  """What a page has and wants.

  Attributes:
    anchors: names that a link may lead to.
    links: where its links lead.
    parts: what a browser loads to show the page.
  """

  def __init__(self, text: str):
    super().__init__()
    self.anchors: set[str] = set()
    self.links: list[str] = []
    self.parts: list[str] = []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    """Notes what one tag has and wants."""
    values = {name: value or '' for name, value in attrs}
    self.anchors |= {values[x] for x in ('id', 'name') if x in values}
    if tag == 'a' and 'href' in values:
      self.links.append(values['href'])
    elif tag == 'link' and values.get('rel') in ('stylesheet', 'icon'):
      self.parts.append(values['href'])
    elif 'src' in values:
      self.parts.append(values['src'])


def problems(site: pathlib.Path) -> list[str]:
  """Returns a sentence for each link that leads nowhere."""
  site = site.resolve()
  pages = {
    path: Page(path.read_text(encoding='utf-8'))
    for path in sorted(site.rglob('*.html'))
  }
  found = []
  for path, page in pages.items():
    place = path.relative_to(site)
    for link in page.links + page.parts:
      parts = urllib.parse.urlsplit(link)
      if parts.scheme == 'data':
        continue
      if parts.scheme or parts.netloc:
        if link in page.parts:
          found.append(f'{place}: {link} is loaded from elsewhere.')
        continue
      target = path
      if parts.path:
        target = (path.parent / urllib.parse.unquote(parts.path)).resolve()
      anchor = urllib.parse.unquote(parts.fragment)
      if not target.exists():
        found.append(f'{place}: {link} is not there.')
      elif anchor and target in pages and anchor not in pages[target].anchors:
        found.append(f'{place}: {link} has no such heading.')
  if not pages:
    found.append(f'{site} has no page.')
  return found


if __name__ == '__main__':
  found_problems = problems(pathlib.Path(sys.argv[1]))
  print('\n'.join(found_problems) or 'All links of the site lead somewhere.')
  sys.exit(bool(found_problems))
