"""Links of a page mean the same on the site."""

import pathlib

from docs.extensions import links

_ROOT = pathlib.Path(__file__).parents[3].resolve()


def _rewrite(text, page='docs/distributed.md'):
  return links.rewrite(text, _ROOT / page, _ROOT)


def test_pages_stay_and_those_of_the_root_have_their_place():
  page = '[a](sharding.md#top), [b](https://x.org/y.md), ![c](../x.png)'
  assert _rewrite(page) == page
  assert _rewrite('[a](../README.md)') == '[a](index.md)'
  assert (
    _rewrite('[a](docs/sharding.md#b)', 'README.md') == '[a](sharding.md#b)'
  )


def test_what_the_site_does_not_have_is_named():
  assert _rewrite('[there](../launchers)') == 'there (`launchers`)'
  assert _rewrite('[`launchers`](../launchers)') == '`launchers`'
