"""`report.html`, also in a browser where there is one."""

import base64
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import html_page, run_report, tables
from acme_metarl.launchers.runs.played import Played

_BROWSER = shutil.which('chromium') or shutil.which('google-chrome')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run's directory, whose report is written."""
  directory = tmp_path_factory.mktemp('run')
  evaluation = tables.CSVLogger(directory / tables.EVALUATION_CSV)
  learner = tables.CSVLogger(directory / tables.LEARNER_CSV)
  for iteration in range(3):
    steps = 1000 * iteration
    returns = np.full((4, 2, 2), float(iteration))
    returns[:, 1] += 10 + np.arange(4)[:, np.newaxis]
    for row in tables.evaluation_rows(Played(returns), iteration, steps, 0.0):
      evaluation.write(row)
    learner.write(
      {
        'iteration': iteration,
        'environment_steps': steps,
        'return_0': 0.5,
        'return_1': 1.5,
        'meta_gradient_norm': float('nan') if iteration == 1 else 2.0,
      }
    )
  evaluation.close()
  learner.close()
  folder = directory / 'evaluation-00000002'
  folder.mkdir()
  (folder / 'behaviour.mp4').write_bytes(b'a film')
  (folder / 'results.csv').write_text('num_inner_steps_taken,return_mean\n0,7')
  config = run_config.RunConfig(preset='<b>mine</b>')
  return directory, run_report.write(directory, config)


class _Reader(html.parser.HTMLParser):
  """Collects what a page holds, and what it would load."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.links, self.open = [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    if tag not in ('meta', 'img', 'br'):
      self.open.append(tag)
    self.links += [v for k, v in attrs if k in ('src', 'href', 'data')]

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(run):
  reader = _Reader(run[1].read_text(encoding='utf-8'))
  assert not reader.open
  assert reader.links == [
    f'data:video/mp4;base64,{base64.b64encode(b"a film").decode()}'
  ]
  assert {'svg', 'b'}.isdisjoint(reader.tags)  # What names say is text.


def test_charts_hold_the_tables(run):
  text = run[1].read_text(encoding='utf-8')
  data = json.loads(re.search(r'id="data">(.*?)</script>', text).group(1))
  titles = [chart['title'] for chart in data]
  assert titles == [
    'Return on tasks drawn anew',
    'Return on training tasks',
    'meta gradient norm',
  ]
  before, after = data[0]['series']
  assert (before['name'], after['name']) == (
    'before adaptation',
    'after 1 step',
  )
  assert after['x'] == [0, 1000, 2000]
  assert after['y'] == [11.5, 12.5, 13.5]
  assert after['error'] == pytest.approx([0.645497] * 3, abs=1e-5)
  assert data[2]['series'][0]['y'] == [2.0, None, 2.0]
  # The last evaluation, what evaluate found, and all settings.
  assert '<td>13.5</td>' in text and '<td>7</td>' in text
  assert '&quot;num_tasks&quot;: 40' in text


def test_long_runs_are_thinned_out_to_their_end():
  numbers = html_page._numbers(np.arange(100_001.0))
  assert len(numbers) <= 1500
  assert numbers[0] == 0 and numbers[-1] == 100_000


def test_nothing_ends_the_script(tmp_path):
  chart = html_page.Chart(
    '</script><b>', 'x', 'y', [html_page.Series('a', 'red', [0], [1])]
  )
  text = html_page.page('a', 'b', [chart], {}, {'x': '</pre><b>'})
  assert 'b' not in _Reader(text).tags


_HOVER = """
<script>
const svg = document.querySelector('svg');
const box = svg.getBoundingClientRect();
svg.dispatchEvent(new MouseEvent('mousemove', {
  clientX: box.left + 0.97 * box.width, clientY: box.top + 50}));
document.querySelectorAll('.legend')[1].querySelector('button').click();
</script>
"""


@pytest.mark.skipif(not _BROWSER, reason='no browser is installed')
def test_in_a_browser_charts_are_drawn_and_answer(run, tmp_path):
  page = tmp_path / 'page.html'
  page.write_text(
    run[1].read_text(encoding='utf-8').replace('</body>', f'{_HOVER}</body>')
  )
  done = subprocess.run(
    [
      _BROWSER,
      *('--headless', '--no-sandbox', '--disable-gpu', '--dump-dom'),
      *('--window-size=1000,900', f'--user-data-dir={tmp_path / "profile"}'),
      page.as_uri(),
    ],
    capture_output=True,
    text=True,
    timeout=120,
  )
  text = done.stdout
  charts = text.split('<figure>')[1:]
  # One of the training curves was clicked away; a NaN parts a curve in two.
  assert [x.count('class="curve"') for x in charts] == [2, 1, 2]
  assert 'aria-pressed="false"' in charts[1]
  (tip,) = re.findall(r'<div class="tip"[^>]*>([^<]+)</div>', text)
  assert tip.splitlines() == [
    'environment steps 2k',
    'before adaptation: 2 ± 0',
    'after 1 step: 13.5 ± 0.6455',
  ]
  assert 'NaN' not in text
