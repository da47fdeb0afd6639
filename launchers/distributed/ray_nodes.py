"""What Ray's actors run; nothing heavy is loaded before it is needed."""

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import logging
import os
import threading
from typing import Any

import ray

from acme_metarl.launchers.distributed import peers as peers_lib
from acme_metarl.launchers.distributed import session as session_lib
from acme_metarl.launchers.distributed import shared as shared_lib

# How often whoever waits asks whether to stop.
_POLL_SECONDS = 1.0
# How long a question about replay may wait for its answer to become yes.
_PATIENCE_SECONDS = 0.1


_FIELDS = dataclasses.fields(shared_lib.Shared)


@dataclasses.dataclass(frozen=True)
class Shared(shared_lib.Shared):
  """See the class of this name that all engines have.

  Attributes:
    own_session: of this node; nodes may have no folder in common.
  """

  own_session: session_lib.OwnSession

  @property
  def session(self) -> session_lib.Session:
    """The session, as this node sees it."""
    return self.own_session


class Node(abc.ABC):
  """One node of the program, in a process of its own.

  `run` does what its role does; meanwhile others `call` what it serves.
  """

  def __init__(self, shared: shared_lib.Shared, variables: Mapping[str, str]):
    """Makes a node.

    Args:
      shared: what every node is told.
      variables: of its process's environment.
    """
    # Before JAX is imported, which reads them.
    os.environ.update(variables)
    # Else JAX tells about every kind of device that is not there.
    logging.getLogger('jax').setLevel(logging.WARNING)
    self._shared = shared
    self._stop = threading.Event()
    self._functions: Mapping[str, Callable[..., Any]] = {}
    self._serves = threading.Event()

  @abc.abstractmethod
  def body(self, shared: shared_lib.Shared, peers: 'Peers') -> None:
    """What the role does, until its end or until asked to stop."""

  def run(self, handles: Mapping[str, Any]) -> session_lib.Outcome | None:
    """Runs until the role's end.

    Args:
      handles: of the nodes that serve, by role.

    Returns:
      How the launch ended, if this node knows. Errors that are told in a
      sentence are an outcome too, others are raised.
    """
    peers = Peers(handles, self._stop.is_set, self)
    session = session_lib.OwnSession()
    told = {x.name: getattr(self._shared, x.name) for x in _FIELDS}
    shared = Shared(**told, own_session=session)
    try:
      with session.reporting():
        self.body(shared, peers)
    except Exception:
      outcome = session.outcome()
      if outcome is None or outcome.status != session_lib.FAILED:
        raise
    return session.outcome()

  def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
    """Calls a function that this node serves, as soon as it does."""
    self._serves.wait()
    return self._functions[function](*args, **kwargs)

  def stop(self) -> None:
    """Asks it to stop."""
    self._stop.set()

  @contextlib.contextmanager
  def serving(
    self, functions: Mapping[str, Callable[..., Any]]
  ) -> Iterator[None]:
    """Serves functions, and goes on until the process ends."""
    self._functions = functions
    self._serves.set()
    yield


class Replay(Node):
  """The queue of trials."""

  def body(self, shared: shared_lib.Shared, peers: 'Peers') -> None:
    """Serves it."""
    from acme_metarl.agents.maml import replay
    from acme_metarl.launchers.distributed import agent_parts

    is_stopped = self._stop.is_set
    parts = agent_parts.make(shared, 'train', is_stopped, replay_kind='local')
    (table,) = parts.builder.make_replay_tables(parts.spec, parts.policy)
    with replay.serve([table]) as client:
      queue = client.queue(table.name)
      functions = {
        'insert': lambda items: queue.insert(items, is_stopped),
        'sample': lambda number: queue.sample(number, is_stopped),
        'can_sample': lambda number: table.wait_for(number, _PATIENCE_SECONDS),
        'counts': queue.counts,
        'checkpoint': queue.checkpoint,
      }
      with peers.serve(functions):
        self._stop.wait()


class Counter(Node):
  """Counts for all nodes, and thereby numbers the trials."""

  def body(self, shared: shared_lib.Shared, peers: 'Peers') -> None:
    """Serves the counts."""
    from acme.utils import counting

    counter = counting.Counter()
    counter.increment(**shared.counts)
    # One call at a time: what an increment returns must be its own.
    lock = threading.Lock()

    def increment(**counts):
      with lock:
        return counter.increment(**counts)

    functions = {'increment': increment, 'get_counts': counter.get_counts}
    with peers.serve(functions):
      self._stop.wait()


class Learner(Node):
  """Learns until the end of the run."""

  def body(self, shared: shared_lib.Shared, peers: 'Peers') -> None:
    """Learns."""
    from acme_metarl.launchers.distributed import learning_node

    learning_node.run(shared, peers, self._stop)


class Actor(Node):
  """Plays trials."""

  def body(self, shared: shared_lib.Shared, peers: 'Peers') -> None:
    """Plays."""
    from acme_metarl.launchers.distributed import acting_node

    acting_node.run(shared, peers, self._stop.is_set)


class Evaluator(Node):
  """Plays evaluations."""

  def body(self, shared: shared_lib.Shared, peers: 'Peers') -> None:
    """Plays."""
    from acme_metarl.launchers.distributed import evaluating_node

    evaluating_node.run(shared, peers, self._stop.is_set)


class Peers:
  """The other nodes, see `peers.Peers`."""

  def __init__(
    self,
    handles: Mapping[str, Any],
    should_stop: Callable[[], bool],
    node: Node,
  ):
    """Makes what a node reaches others by.

    Args:
      handles: of Ray, by role.
      should_stop: asked while there is no answer.
      node: the one that asks.
    """
    self._handles = handles
    self._should_stop = should_stop
    self.serve = node.serving

  def call(self, role: str, function: str, *args: Any, **kwargs: Any) -> Any:
    """Calls a function that a node serves."""
    answer = self._handles[role].call.remote(function, *args, **kwargs)
    while True:
      try:
        return ray.get(answer, timeout=_POLL_SECONDS)
      except ray.exceptions.GetTimeoutError as error:
        if self._should_stop():
          raise peers_lib.StoppedError from error

  def replay(self) -> 'ReplayClient':
    """A client of replay."""
    return ReplayClient(self)


class ReplayClient:
  """Access to the queue of another node, see `replay.connect`."""

  def __init__(self, peers: Peers):
    self._peers = peers

  def queue(self, table: str) -> 'ReplayQueue':
    """The two ends of the one table."""
    del table
    return ReplayQueue(self._peers)


class ReplayQueue:
  """A queue of another node, see `replay.Queue`; both stop together."""

  def __init__(self, peers: Peers):
    self._peers = peers
    self._is_closed = False

  def insert(self, items: Sequence[Any], should_stop: Any = None) -> bool:
    """Inserts items."""
    del should_stop  # It is the node's.
    try:
      return self._peers.call('replay', 'insert', items)
    except peers_lib.StoppedError:
      return False

  def can_sample(self, num_samples: int) -> bool:
    """Whether there are so many; waits a moment where there are not."""
    try:
      return not self._is_closed and self._peers.call(
        'replay', 'can_sample', num_samples
      )
    except peers_lib.StoppedError:
      return False

  def sample(self, num_samples: int, should_stop: Any = None) -> list[Any]:
    """Takes samples."""
    del should_stop
    try:
      return self._peers.call('replay', 'sample', num_samples)
    except peers_lib.StoppedError:
      return []

  def counts(self) -> Any:
    """Counts now."""
    try:
      return self._peers.call('replay', 'counts')
    except peers_lib.StoppedError as error:
      raise TimeoutError('replay does not answer.') from error

  def checkpoint(self) -> str:
    """Not done: what is in it is played again."""
    return self._peers.call('replay', 'checkpoint')

  def close(self) -> None:
    """Takes no more samples."""
    self._is_closed = True


NODES = {
  'replay': Replay,
  'counter': Counter,
  'learner': Learner,
  'actor': Actor,
  'evaluator': Evaluator,
}
