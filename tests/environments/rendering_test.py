"""Tests of rendering."""

from unittest import mock

import numpy as np
import pytest

from acme_metarl import environments
from acme_metarl.environments import rendering

GOALS = np.array([[2, 2], [-2, 2], [2, -2]], np.float32)
HORIZON = 15


def _still(observation):
  return np.zeros(observation.shape[:2] + (2,))


def _go(observation):
  return np.broadcast_to(5 * np.sign(GOALS)[:, None], observation.shape)


def _pixels(path):
  image = pytest.importorskip('matplotlib.image')
  return image.imread(path)


def test_navigation_plays_every_policy(tmp_path):
  environment = environments.make('navigation_2d')
  with mock.patch.object(rendering, 'plot_navigation') as plot:
    environments.render(
      environment,
      [_still, _go],
      tmp_path / 'picture.png',
      tasks=GOALS,
      num_rollouts=4,
      horizon=HORIZON,
    )
  observations, goals, _ = plot.call_args.args
  returns = plot.call_args.kwargs['returns']
  assert observations.shape == (3, 2, 4, HORIZON + 1, 2)
  np.testing.assert_array_equal(goals, GOALS)
  # Standing still earns nothing and stays; going ends near the goal.
  np.testing.assert_array_equal(returns[:, 0], 0)
  assert np.ptp(observations[:, 0], axis=-2).max() == 0
  start, end = observations[:, 1, :, 0], observations[:, 1, :, -1]
  np.testing.assert_allclose(
    end - start, np.broadcast_to(GOALS[:, None] * 0.75, end.shape), atol=1e-5
  )
  assert returns[:, 1].min() > 1


def test_navigation_picture_has_a_panel_per_task_and_stage(tmp_path):
  path = environments.render(
    environments.TrialEnvironment(environments.make('navigation_2d')),
    [_still, _go],
    tmp_path / 'new' / 'picture.png',
    tasks=GOALS,
    horizon=HORIZON,
  )
  height, width, _ = _pixels(path).shape
  # And a key below them.
  assert 1.5 * width < height < 1.6 * width


def test_navigation_picture_shows_the_trajectories(tmp_path):
  pytest.importorskip('matplotlib')
  straight = np.zeros((1, 1, 2, 3, 4))
  bent = straight.copy()
  bent[0, 0, 1, 1, :2] = 1
  paths = [
    environments.plot_navigation(data, GOALS[:1], tmp_path / name)
    for data, name in ((straight, 'a.png'), (bent, 'b.png'))
  ]
  left, right = map(_pixels, paths)
  assert left.shape == right.shape
  # A thin line of some dozens of pixels.
  assert np.any(left != right, axis=-1).sum() > 20


def test_navigation_picture_says_what_it_shows():
  rng = np.random.default_rng(0)
  observations = rng.normal(size=(2, 3, 4, 6, 2))
  observations[1, 2, 3, 4] = 7.0, -9.0  # Far beyond the goals.
  returns = np.arange(6.0).reshape(2, 3)
  figure = rendering.navigation_figure(observations, GOALS[:2], returns, 0.5)
  panels = figure.axes
  goal = f'{GOALS[1][0]:g}, {GOALS[1][1]:g}'
  assert [x.get_title() for x in panels[3:]] == [
    f'task {goal}, before adaptation\nmean return 3.00',
    f'task {goal}, after 1 step\nmean return 4.00',
    f'task {goal}, after 2 steps\nmean return 5.00',
  ]
  for panel in panels:
    (low, high), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    assert low <= -9 and top >= 9 and high == top and low == bottom
  # Names on the outer axes, of which there are as many as rows and columns.
  assert [x.get_xlabel() for x in panels] == [''] * 3 + ['x position'] * 3
  assert [x.get_ylabel() for x in panels] == ['y position', '', ''] * 2
  (key,) = figure.legends
  assert {x.get_text() for x in key.get_texts()} == {
    'start',
    'end',
    'goal',
    'dead zone: reward 0',
  }
  lines = {line.get_label(): line for line in panels[0].lines}
  for name, step in (('start', 0), ('end', -1)):
    np.testing.assert_array_equal(
      np.transpose(lines[name].get_data()), observations[0, 0, :, step]
    )
  np.testing.assert_array_equal(np.ravel(lines['goal'].get_data()), GOALS[0])
  (zone,) = panels[0].patches
  assert np.abs(zone.get_xy()).sum(axis=1) == pytest.approx(0.5)
  without = rendering.navigation_figure(observations, GOALS[:2])
  assert not without.axes[0].patches


def test_draws_its_own_tasks(tmp_path):
  environment = environments.batch(environments.make('navigation_2d'))
  with mock.patch.object(rendering, 'plot_navigation') as plot:
    for seed in (0, 0, 1):
      environments.render(
        environment,
        [_still],
        tmp_path / 'picture.png',
        num_tasks=5,
        horizon=1,
        seed=seed,
      )
  first, again, other = (call.args[0] for call in plot.call_args_list)
  assert first.shape[0] == 5
  np.testing.assert_array_equal(first, again)
  assert not np.array_equal(first, other)


def test_mujoco_is_handed_on(tmp_path):
  pytest.importorskip('mujoco')
  from acme_metarl.environments.mujoco import rendering as mujoco_rendering

  environment = environments.make('half_cheetah_direction', num_threads=1)
  with mock.patch.object(
    mujoco_rendering, 'render_rollouts', autospec=True
  ) as draw:
    path = environments.render(
      environment, [_still], tmp_path / 'film.mp4', num_tasks=3, width=64
    )
  assert path is draw.return_value
  assert draw.call_args.args[0] is environment
  assert draw.call_args.kwargs['tasks'].shape == (3,)
  assert draw.call_args.kwargs['width'] == 64
  environment.close()


def test_mistakes(tmp_path):
  navigation = environments.make('navigation_2d')
  with pytest.raises(ValueError, match='policies'):
    environments.render(navigation, [], tmp_path / 'a.png')
  with pytest.raises(ValueError, match='TabularEnvironment'):
    environments.render(
      environments.make('tabular_mdp'), [_still], tmp_path / 'a.png'
    )
  with pytest.raises(ValueError, match='observations'):
    environments.plot_navigation(np.zeros((1, 2, 3, 2)), GOALS, 'a.png')
  with pytest.raises(ValueError, match='goals'):
    environments.plot_navigation(np.zeros((1, 1, 2, 3, 2)), GOALS, 'a.png')
