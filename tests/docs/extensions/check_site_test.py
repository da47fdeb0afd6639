"""Every way in which a link can be broken is told."""

from docs.extensions import check_site


def _site(folder, body):
  (folder / 'a.html').write_text('<h1 id="top">A</h1><img src="a.html">')
  (folder / 'index.html').write_text(body)
  return check_site.problems(folder)


def test_right_links(tmp_path):
  body = '<a id="m" href="a.html#top">a</a><a href="#m">m</a><a href="https://x.org">'
  assert not _site(tmp_path, body)


def test_broken_links(tmp_path):
  body = (
    '<a href="b.html">b</a><a href="a.html#end">a</a><a href="#end">m</a>'
    '<script src="https://x.org/y.js"></script><img src="b.png">'
  )
  assert _site(tmp_path, body) == [
    'index.html: b.html is not there.',
    'index.html: a.html#end has no such heading.',
    'index.html: #end has no such heading.',
    'index.html: https://x.org/y.js is loaded from elsewhere.',
    'index.html: b.png is not there.',
  ]


def test_an_empty_site_is_a_mistake(tmp_path):
  assert check_site.problems(tmp_path)
