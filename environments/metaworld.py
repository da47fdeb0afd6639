"""Meta-World's meta-learning benchmarks as task distributions.

ML1 (the goals of one of 50 manipulations), ML10, ML25 and ML45 (Yu et al. 2019,
https://arxiv.org/abs/1910.10897), with the train and the test tasks that the
package `metaworld` draws, goals hidden from the observation:

    environments.make('metaworld', benchmark='reach-v3')
    environments.make('metaworld', benchmark='ML10', split='test')

`metaworld` is not installed with this package, and wants a MuJoCo of its own:
`make .venv-metaworld`. Everything is made from its classes. Its Gymnasium id
`Meta-World/ML1-train` gives test tasks (release 3.1.1).
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import os
from typing import Any, NamedTuple

from acme_metarl.environments import adapters, processes, task_classes

SPLITS = ('train', 'test')
# Steps after which Meta-World wants a reset: the horizon of its results.
MAX_HORIZON = 500
_BENCHMARKS = ('ML10', 'ML25', 'ML45')
_OBSERVATION_SIZE, _ACTION_SIZE = 39, 4
_CAMERA = 'corner2'


def make(
  benchmark: str = 'reach-v3',
  split: str = 'train',
  seed: int = 0,
  num_processes: int | None = None,
  render_size: int = 240,
) -> Any:
  """Makes a `BatchedEnvironment`; a class is a manipulation, a task its goal.

  Actions are clipped to [-1, 1] and not scaled, as in published results.

  Args:
    benchmark: a manipulation, such as 'push-v3', for ML1; or ML10, ML25, ML45.
    split: `'train'`, or `'test'`: goals (ML1) or manipulations (the others)
      that the train tasks do not have.
    seed: of the 50 goals of each manipulation.
    num_processes: that share the rollouts, by default one for each processor;
      0 for none besides this one.
    render_size: of pictures, in pixels.

  Returns:
    The environment. It reports `success` and the parts of the reward.

  Raises:
    ValueError: without Meta-World, or if there is no such benchmark or split.
  """
  if split not in SPLITS:
    raise ValueError(f'split: got {split!r}, need {" or ".join(SPLITS)}.')
  classes, tasks = _split(benchmark, split, seed)
  # Test tasks are held out from training.
  is_finite = split == 'train'

  def make_batch():
    return batch(classes, tasks, is_finite, render_size)

  if num_processes is None:
    num_processes = _num_processors()
  if num_processes == 0:
    return make_batch()
  return processes.ProcessBatch(make_batch, num_processes)


def batch(
  classes: Mapping[str, Callable[..., Any]],
  tasks: Mapping[str, Sequence[bytes]],
  has_finite_tasks: bool = True,
  render_size: int = 240,
) -> adapters.GymnasiumBatch:
  """A `BatchedEnvironment` of Meta-World's classes, in this process.

  Args:
    classes: of environments, by name.
    tasks: the `data` of the tasks of each class.
    has_finite_tasks: whether they are those of training.
    render_size: of pictures, in pixels.
  """
  return adapters.GymnasiumBatch(
    lambda: AnyManipulation(classes, render_size),
    sample_task=task_classes.TaskClasses(tasks),
    set_task=lambda environment, task: environment.set_task(task),
    scale_actions=False,
    has_finite_tasks=has_finite_tasks,
    reports=('success',),
  )


class _Task(NamedTuple):
  """What Meta-World's `set_task` takes."""

  env_name: str
  data: bytes


class AnyManipulation:
  """A Gymnasium environment that plays tasks of any class.

  It keeps the simulation of the last one, which takes a third of a second and
  21 MB to make.
  """

  metadata = {'render_modes': ['rgb_array'], 'render_fps': 80}
  render_mode = 'rgb_array'

  def __init__(
    self, classes: Mapping[str, Callable[..., Any]], render_size: int = 240
  ):
    """Makes an environment without a task.

    Args:
      classes: of Meta-World's environments, by name.
      render_size: of pictures, in pixels.
    """
    from gymnasium import spaces
    import numpy as np

    self._classes = classes
    self._render_size = render_size
    self._name = None
    self._simulation = None
    self.observation_space = spaces.Box(
      -np.inf, np.inf, (_OBSERVATION_SIZE,), np.float64
    )
    self.action_space = spaces.Box(-1, 1, (_ACTION_SIZE,), np.float32)

  def __repr__(self) -> str:
    return f'AnyManipulation({self._name})'

  def set_task(self, drawn: task_classes.ClassTask) -> None:
    """Takes the class of the task and its goal, as Meta-World wrote it."""
    if drawn.name != self._name:
      self.close()
      self._simulation = self._classes[drawn.name](
        render_mode=self.render_mode,
        camera_name=_CAMERA,
        width=self._render_size,
        height=self._render_size,
      )
      self._name = drawn.name
    self._simulation.set_task(_Task(drawn.name, drawn.task))

  def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
    """Starts an episode, the same one for the same task."""
    if self._simulation is None:
      raise ValueError(f'{self!r}: there is no task yet; call set_task first.')
    return self._simulation.reset(seed=seed, options=options)

  def step(self, action: Any) -> Any:
    return self._simulation.step(action)

  def render(self) -> Any:
    return self._simulation.render()

  def close(self) -> None:
    if self._simulation is not None:
      self._simulation.close()
    self._simulation = self._name = None


def _split(
  benchmark: str, split: str, seed: int
) -> tuple[dict[str, Any], dict[str, list[bytes]]]:
  """Classes of a split by name, and the tasks of each, as Meta-World has them.

  Raises:
    ValueError: without Meta-World, or if there is no such benchmark.
  """
  try:
    import metaworld
  except ImportError as error:
    raise ValueError(
      f'metaworld: the package metaworld cannot be imported ({error}); make '
      'an environment that has it by: make .venv-metaworld'
    ) from error
  if benchmark not in (*_BENCHMARKS, *metaworld.ML1.ENV_NAMES):
    raise ValueError(
      f'benchmark: got {benchmark!r}, need one of {", ".join(_BENCHMARKS)} or '
      f'a manipulation: {", ".join(metaworld.ML1.ENV_NAMES)}.'
    )
  tasks = _made(benchmark, seed)
  by_class: dict[str, list[bytes]] = {}
  for task in getattr(tasks, f'{split}_tasks'):
    by_class.setdefault(task.env_name, []).append(task.data)
  return dict(getattr(tasks, f'{split}_classes')), by_class


@functools.lru_cache(maxsize=4)
def _made(benchmark: str, seed: int) -> Any:
  """Meta-World's benchmark: both splits, up to a minute of work."""
  import metaworld

  if benchmark in _BENCHMARKS:
    return getattr(metaworld, benchmark)(seed=seed)
  return metaworld.ML1(benchmark, seed=seed)


def _num_processors() -> int:
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1
