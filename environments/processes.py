"""Environments of other people's, looped over in several processes."""

from collections.abc import Callable, Sequence
import multiprocessing
import signal
import traceback
from typing import Any

import jax
import numpy as np

from acme_metarl import types
from acme_metarl.environments import batched, looping

_CLOSE_SECONDS = 5.0


class ProcessBatch:
  """The rollouts of a `DmEnvBatch` or `GymnasiumBatch`, shared by processes.

      batch = environments.ProcessBatch(
        lambda: environments.GymnasiumBatch(Mine, sample_task, set_task),
        num_processes=8,
      )

  Each process loops over its share of the environments, and the numbers are
  those of the batch alone. That pays where a step costs much more than the
  tenth of a millisecond or so that it takes to talk to a process.

  Processes are spawned, so a program that makes them keeps its work under
  `if __name__ == '__main__':`.
  """

  def __init__(
    self, make_batch: Callable[[], looping.LoopBatch], num_processes: int
  ):
    """Makes a `BatchedEnvironment`; the first `reset` starts the processes.

    Args:
      make_batch: makes the batch; called here, for its specs and tasks, and
        once in every process.
      num_processes: at least 1.

    Raises:
      ValueError: if there are no processes, or it makes another kind of batch.
    """
    if num_processes < 1:
      raise ValueError(f'num_processes: got {num_processes}, need at least 1.')
    looping.check_hooks(make_batch=make_batch)
    self._batch = make_batch()
    if not isinstance(self._batch, looping.LoopBatch):
      raise ValueError(
        f'make_batch: it returned {self._batch!r}, need a DmEnvBatch or a '
        'GymnasiumBatch.'
      )
    self._make_batch = make_batch
    self._num_processes = num_processes
    self._workers: list[Any] = []
    self._batch_shape = None
    self._truncated = None
    self._info = {}

  def __repr__(self) -> str:
    return f'ProcessBatch({self._batch!r}, {self._num_processes})'

  @property
  def has_finite_tasks(self) -> bool:
    """What the user said."""
    return self._batch.has_finite_tasks

  @property
  def truncated(self) -> np.ndarray:
    """`[G, B]`, which rollouts the last step ended without a termination."""
    return self._truncated

  @property
  def info(self) -> dict[str, np.ndarray]:
    """Every scalar that the last step reported, by name, `[G, B]`."""
    return self._info

  def observation_spec(self) -> Any:
    return self._batch.observation_spec()

  def action_spec(self) -> Any:
    return self._batch.action_spec()

  def sample_tasks(
    self, rng: np.random.Generator, num_tasks: int
  ) -> types.PyTree:
    return self._batch.sample_tasks(rng, num_tasks)

  def task_classes(self, tasks: types.PyTree) -> tuple[str, ...]:
    return self._batch.task_classes(tasks)

  def reset(
    self, tasks: types.PyTree, num_rollouts: int, rng: np.random.Generator
  ) -> Any:
    each, seeds, self._batch_shape = looping.rollouts(tasks, num_rollouts, rng)
    self._start()
    self._slices = [
      slice(part[0], part[-1] + 1)
      for part in np.array_split(np.arange(len(each)), self._num_processes)
      if len(part)
    ]
    answers = self._ask(
      [('start', (each[part], seeds[part])) for part in self._slices]
    )
    return self._join([answer[0] for answer in answers])

  def step(self, action: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
    if self._batch_shape is None:
      raise ValueError('step: there is no rollout yet; call reset first.')
    action = batched.check_action(action, self.action_spec(), self._batch_shape)
    action = action.reshape(-1, *action.shape[2:])
    answers = self._ask([('step', (action[part],)) for part in self._slices])
    observation, reward, discount, truncated, info = zip(*answers, strict=True)
    self._truncated = self._join(truncated)
    columns = {}
    for part, column_of in zip(self._slices, info, strict=True):
      for name, column in column_of.items():
        whole = columns.setdefault(name, np.full(len(action), np.nan, 'f4'))
        whole[part] = column
    self._info = {
      name: column.reshape(self._batch_shape)
      for name, column in columns.items()
    }
    return self._join(observation), self._join(reward), self._join(discount)

  def render(self, rollouts: Sequence[int]) -> list[np.ndarray]:
    """Pictures of some rollouts, by their numbers below G·B, tasks first."""
    answers = self._ask(
      [
        ('render', ([i - part.start for i in rollouts if _is_in(i, part)],))
        for part in self._slices
      ]
    )
    of_part = [iter(answer) for answer in answers]
    return [
      next(frames)
      for i in rollouts
      for part, frames in zip(self._slices, of_part, strict=True)
      if _is_in(i, part)
    ]

  def close(self) -> None:
    """Ends the processes; the environment cannot be used afterwards."""
    for pipe, process in self._workers:
      try:
        pipe.send(('close', ()))
      except OSError:
        pass  # It has ended.
      process.join(_CLOSE_SECONDS)
      if process.is_alive():
        process.terminate()
      pipe.close()
    self._workers = []
    self._batch.close()

  def _start(self) -> None:
    """Starts the processes, unless they run: who only asks needs none."""
    if self._workers:
      return
    # Functions defined in a program or in other functions travel by this.
    import cloudpickle

    context = multiprocessing.get_context('spawn')
    for _ in range(self._num_processes):
      ours, theirs = context.Pipe()
      process = context.Process(
        target=_work,
        args=(theirs, cloudpickle.dumps(self._make_batch)),
        daemon=True,
      )
      process.start()
      theirs.close()
      self._workers.append((ours, process))

  def _ask(self, questions: list[tuple[str, tuple]]) -> list[Any]:
    """Sends each process its question, then waits for all answers."""
    workers = self._workers[: len(questions)]
    try:
      for (pipe, _), question in zip(workers, questions, strict=True):
        pipe.send(question)
      answers = [pipe.recv() for pipe, _ in workers]
    except (EOFError, OSError) as error:
      codes = [process.exitcode for _, process in self._workers]
      raise RuntimeError(
        f'{self!r}: a process has ended; exit codes are {codes}.'
      ) from error
    for is_refused, is_well, answer in answers:
      if is_refused:
        raise ValueError(answer)
      if not is_well:
        raise RuntimeError(f'{self!r}: in one of its processes:\n{answer}')
    return [answer for _, _, answer in answers]

  def _join(self, parts: list[Any]) -> Any:
    """`[G, B, ...]` arrays of the `[1, n, ...]` that the processes have."""
    return jax.tree_util.tree_map(
      lambda *x: np.concatenate(x, axis=1).reshape(
        *self._batch_shape, *x[0].shape[2:]
      ),
      *parts,
    )


def _is_in(i: int, part: slice) -> bool:
  return part.start <= i < part.stop


def _work(pipe: Any, make_batch: bytes) -> None:
  """What a process does: answers `(is_refused, is_well, answer)`."""
  import cloudpickle

  # An interrupt is the main process's business.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  batch = None
  while True:
    try:
      what, arguments = pipe.recv()
    except EOFError:  # The main process has ended.
      return
    try:
      if what == 'close':
        if batch is not None:
          batch.close()
        return
      if batch is None:
        batch = cloudpickle.loads(make_batch)()
      pipe.send((False, True, _answer(batch, what, *arguments)))
    except ValueError as error:
      is_refused = not _is_the_users(error)
      answer = str(error) if is_refused else traceback.format_exc()
      pipe.send((is_refused, False, answer))
    except Exception:
      pipe.send((False, False, traceback.format_exc()))


def _is_the_users(error: ValueError) -> bool:
  """Whether it was raised outside this package: its traceback is needed."""
  frame = error.__traceback__
  while frame.tb_next is not None:
    frame = frame.tb_next
  return not frame.tb_frame.f_globals['__name__'].startswith('acme_metarl.')


def _answer(batch: looping.LoopBatch, what: str, first: Any, *others: Any):
  if what == 'render':
    return batch.render(first)
  if what == 'start':
    return (batch.start(first, *others, (1, len(first))),)
  observation, reward, discount = batch.step(first[np.newaxis])
  info = {name: column[0] for name, column in batch.info.items()}
  return observation, reward, discount, batch.truncated, info
