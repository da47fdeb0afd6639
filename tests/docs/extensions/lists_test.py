"""The page's lists are those of the code."""

from docs.extensions import lists


def test_page_is_up_to_date():
  text = lists.PAGE.read_text(encoding='utf-8')
  assert lists.filled(text) == text, 'Run python -m docs.extensions.lists.'


def test_lists_are_whole():
  assert '| `promp_taypo2` | `taylor_expansion`, order 2 |' in (
    lists.list_presets()
  )
  assert "`reward='sparse'`" in lists.list_environments()
  assert '`order=1`' in lists.list_evaluators()
  assert '`train_on_device`' in lists.list_commands()
