"""Runs the program as actors of Ray, on this machine or on a cluster."""

from collections.abc import Collection, Iterator
import contextlib
import os
import socket
import tempfile
from typing import Any

import psutil

from acme_metarl.launchers.distributed import options as options_lib
from acme_metarl.launchers.distributed import planning, supervising
from acme_metarl.launchers.distributed import session as session_lib
from acme_metarl.launchers.distributed import shared as shared_lib
from acme_metarl.launchers.runs import config as run_config
from acme_metarl.launchers.runs import stopping

# What Ray reads when it is imported, so not before this is set.
_SETTINGS = {
  'RAY_USAGE_STATS_ENABLED': '0',
  'RAY_enable_metrics_collection': '0',
  # Nobody looks at what it would keep of every call.
  'RAY_task_events_report_interval_ms': '0',
  # Which devices a role sees is said by `options`.
  'RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO': '0',
  # Else nodes give way to everything else on the machine.
  'RAY_worker_niceness': '0',
  'RAY_DEDUP_LOGS': '0',
  'RAY_COLOR_PREFIX': '0',
}
# With this, Ray takes this machine's loopback address for its own, and then
# listens to nobody else; without, its servers listen on all addresses.
_LOCAL_ONLY = {'RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER': '0'}
_SERVERS = ('replay', 'counter', 'learner')
# How often Ray starts an actor or the evaluator anew.
_MAX_RESTARTS = 100
# How long nodes may take to end once the learner has.
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.2
_CONNECT_SECONDS = 5.0
_START_ATTEMPTS = 3


def train(
  plan: run_config.Plan,
  given: Collection[str],
  options: options_lib.ProgramOptions,
  address: str | None,
  max_restarts: int,
) -> bool:
  """Trains until the end, or until asked to stop.

  Args:
    plan: the run; its directory is read and written on this machine only.
    given: what texts of its configuration may import, as `module:name`.
    options: of the program.
    address: of a cluster of Ray; None starts one on this machine, which ends
      with this process.
    max_restarts: of the program, when a node dies that Ray does not bring back.

  Returns:
    Whether the run came to its end.

  Raises:
    FailedError: with a sentence for the user.
    ValueError: if settings do not fit together.
  """
  config, directory, _ = plan

  def launch(checkpoint, stop):
    shared = shared_lib.Shared(
      **planning.shared_values(
        config, options, directory, checkpoint, given, None
      )
    )
    with _nodes(shared, address is not None) as nodes:
      return _watch(nodes, stop)

  with _ray(address, options.local_only):
    return supervising.run(plan, launch, max_restarts)


def check_address(address: str) -> None:
  """Refuses what is no cluster's; Ray itself would try for minutes.

  Raises:
    ValueError: if it is not of the form HOST:PORT, or nobody is there.
  """
  host, _, port = address.rpartition(':')
  if not host or not port.isdigit():
    raise ValueError(f'address: got {address!r}, need HOST:PORT.')
  try:
    socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
  except (OSError, OverflowError) as error:
    raise ValueError(
      f'address: got {address!r}, where nobody answers ({error}); start a '
      'cluster with `ray start --head`, or leave it out.'
    ) from error


@contextlib.contextmanager
def _ray(address: str | None, local_only: bool) -> Iterator[None]:
  """Connects to a cluster, or makes one of this machine."""
  os.environ.update(_SETTINGS)
  if address is None and local_only:
    os.environ.update(_LOCAL_ONLY)
  import ray

  with contextlib.ExitStack() as stack:
    where: dict[str, Any] = {'address': address}
    if address is None:
      # What Ray writes is of no use without the processes.
      folder = tempfile.TemporaryDirectory(
        prefix='acme_metarl.', ignore_cleanup_errors=True
      )
      where = {
        'address': 'local',
        'include_dashboard': False,
        '_temp_dir': stack.enter_context(folder),
      }
    _init(where)
    stack.callback(ray.shutdown)
    yield


def _init(where: dict[str, Any]) -> None:
  """Starts Ray or connects to it; on a busy machine it may take a few tries.

  Ray gives its own processes half a minute, and leaves them when that is over.
  """
  import ray

  for attempt in range(_START_ATTEMPTS):
    try:
      ray.init(logging_level='error', log_to_driver=True, **where)
      return
    except Exception as error:  # Ray raises nothing more precise.
      for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
          child.kill()
      if attempt + 1 == _START_ATTEMPTS:
        raise supervising.FailedError(
          f'Ray did not start in {_START_ATTEMPTS} attempts ({error}).'
        ) from error


@contextlib.contextmanager
def _nodes(
  shared: shared_lib.Shared, is_cluster: bool
) -> Iterator[dict[str, list[Any]]]:
  """Starts the nodes, by role; ends them."""
  import ray

  from acme_metarl.launchers.distributed import ray_nodes

  options = shared.options
  numbers = dict.fromkeys(_SERVERS, 1) | {'actor': options.num_actors}
  if shared.config['eval_every']:
    numbers['evaluator'] = 1
  variables = options.environment_variables()
  nodes = {}
  for role, number in numbers.items():
    node = ray.remote(ray_nodes.NODES[role]).options(
      # One for `run`; each of the others may wait for a call.
      max_concurrency=2 * options.num_actors + 8,
      **_placement(role, options, is_cluster),
    )
    nodes[role] = [node.remote(shared, variables[role]) for _ in range(number)]
  try:
    yield nodes
  finally:
    for node in (node for alike in nodes.values() for node in alike):
      ray.kill(node)


def _placement(
  role: str, options: options_lib.ProgramOptions, is_cluster: bool
) -> dict[str, Any]:
  """What Ray is asked for: restarts, processors, accelerators, a machine."""
  import ray
  from ray.util import scheduling_strategies

  asked: dict[str, Any] = {'num_cpus': 0}
  if role not in _SERVERS:
    asked |= {'max_restarts': _MAX_RESTARTS, 'max_task_retries': _MAX_RESTARTS}
  if not is_cluster:
    return asked
  if role in _SERVERS:
    # The learner's files are here, and the others are near it.
    asked['scheduling_strategy'] = (
      scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
      )
    )
  else:
    asked |= {'num_cpus': 1, 'scheduling_strategy': 'SPREAD'}
  device = options.devices()[role]
  if device.kind == 'gpu':
    asked['num_gpus'] = max(len(device.indices), 1)
  return asked


def _watch(
  nodes: dict[str, list[Any]], stop: stopping.StopRequest
) -> session_lib.Outcome:
  """Waits until somebody knows how it ended."""
  import ray

  handles = {role: nodes[role][0] for role in _SERVERS}
  roles = {
    node.run.remote(handles): role
    for role, alike in nodes.items()
    for node in alike
  }
  is_told = False
  while True:
    done, _ = ray.wait(list(roles), timeout=_POLL_SECONDS)
    if stop and not is_told:
      is_told = True
      handles['learner'].stop.remote()
    if done:
      break
  role = roles.pop(done[0])
  for node in (node for alike in nodes.values() for node in alike):
    node.stop.remote()
  ray.wait(list(roles), num_returns=len(roles), timeout=_STOP_SECONDS)
  try:
    # The others end when they are told to, and nobody had told them.
    return ray.get(done[0]) or _crashed(f'the {role} ended')
  except ray.exceptions.RayError as error:
    first, _, _ = str(error).strip().partition('\n')
    return _crashed(f'the {role} died ({first})')


def _crashed(message: str) -> session_lib.Outcome:
  return session_lib.Outcome(session_lib.CRASHED, message)
