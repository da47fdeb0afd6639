"""What Launchpad's nodes run; nothing heavy is loaded before it is needed.

Launchpad unpickles a node where it runs, and thereby imports this module:
actors and the evaluator need little more of it than to watch over a child.
"""

from collections.abc import Callable
import logging
import threading
import traceback

import launchpad as lp

from acme_metarl.launchers.distributed import (
  launchpad_shared,
  processes,
  serving,
)
from acme_metarl.launchers.distributed import session as session_lib


def run(
  name: str,
  body: Callable[[launchpad_shared.Shared, threading.Event], None],
  shared: launchpad_shared.Shared,
) -> None:
  """Runs a node; in a process of its own, ends the process.

  Args:
    name: of the process.
    body: given what is shared, and an event that asks it to stop.
    shared: what every node is told.
  """
  # Else JAX tells about every kind of device that is not there.
  logging.getLogger('jax').setLevel(logging.WARNING)
  stop = lp.stop_event()
  if shared.session.is_asked_to_stop():
    stop.set()
  if not shared.in_own_process:
    _run_reporting(body, shared, stop)
    return
  processes.set_name(name)
  if shared.folder is not None:
    processes.die_with(shared.supervisor)
  code = 1
  try:
    _run_reporting(body, shared, stop)
    code = 0
  except BaseException:
    traceback.print_exc()
  finally:
    # Threads of Reverb and gRPC can keep an interpreter from ending.
    processes.leave(code)


def _run_reporting(body, shared, stop) -> None:
  """Runs; what was reported is told by the launcher, without a traceback."""
  try:
    body(shared, stop)
  except Exception:
    outcome = shared.session.outcome()
    if outcome is None or outcome.status != session_lib.FAILED:
      raise


def serve_replay(
  shared: launchpad_shared.Shared, stop: threading.Event
) -> None:
  """Serves the queue of trials."""
  from acme_metarl.agents.maml import replay
  from acme_metarl.launchers.distributed import agent_parts

  port = shared.port('replay')
  with shared.session.reporting():
    parts = agent_parts.make(shared, 'train', lambda: False)
    tables = parts.builder.make_replay_tables(parts.spec, parts.policy)
  with replay.serve(tables, port):
    if shared.options.local_only:
      serving.restrict_to_loopback(port)
    _wait(shared, stop)


def serve_counter(
  shared: launchpad_shared.Shared, stop: threading.Event
) -> None:
  """Counts for all nodes, and thereby numbers the trials."""
  from acme.utils import counting

  counter = counting.Counter()
  counter.increment(**shared.counts)
  functions = {
    'increment': counter.increment,
    'get_counts': counter.get_counts,
  }
  with serving.serve(
    functions,
    shared.port('counter'),
    shared.options.local_only,
    # One call at a time: what an increment returns must be its own.
    num_threads=1,
  ):
    _wait(shared, stop)


def learn(shared: launchpad_shared.Shared, stop: threading.Event) -> None:
  """Learns until the end of the run."""
  with shared.session.reporting():
    from acme_metarl.launchers.distributed import learning_node, remote

    learning_node.run(shared, remote.Peers(shared, stop.is_set), stop)
  if shared.folder is None:
    lp.stop()  # Nobody here watches over all the nodes.


def act(shared: launchpad_shared.Shared, stop: threading.Event) -> None:
  """Plays trials, in a child that may die."""

  def run_actor():
    from acme_metarl.launchers.distributed import acting_node, remote

    should_stop = _should_stop(shared, stop)
    acting_node.run(shared, remote.Peers(shared, should_stop), should_stop)

  _keep_running('actor', run_actor, shared, stop)


def evaluate(shared: launchpad_shared.Shared, stop: threading.Event) -> None:
  """Plays evaluations, in a child that may die."""

  def run_evaluator():
    from acme_metarl.launchers.distributed import evaluating_node, remote

    should_stop = _should_stop(shared, stop)
    evaluating_node.run(shared, remote.Peers(shared, should_stop), should_stop)

  _keep_running('evaluator', run_evaluator, shared, stop)


def _keep_running(name, function, shared, stop) -> None:
  processes.keep_running(
    name,
    function,
    _should_stop(shared, stop),
    in_child=shared.in_own_process,
  )


def _should_stop(
  shared: launchpad_shared.Shared, stop: threading.Event
) -> Callable[[], bool]:
  session = shared.session
  return lambda: stop.is_set() or session.outcome() is not None


def _wait(shared: launchpad_shared.Shared, stop: threading.Event) -> None:
  """Waits until nobody needs a server any more: the learner ends last."""
  stop.wait()
  shared.session.wait()
