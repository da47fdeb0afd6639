"""The Launchpad program: replay, counter, learner, actors, evaluator."""

from collections.abc import Collection, Mapping
import os
from typing import Any

from absl import flags
import launchpad as lp
from launchpad.nodes.python import local_multi_processing

from acme_metarl.launchers.distributed import (
  launchpad_shared,
  nodes,
  planning,
)
from acme_metarl.launchers.distributed import options as options_lib
from acme_metarl.launchers.runs import checkpointing
from acme_metarl.launchers.runs import config as run_config

# Nodes stop in their own time; who is in a hurry kills the launcher, with which
# they end too. Launchpad would kill them after ten seconds.
_NO_NOTICE = {'lp_termination_notice_secs': -1}
# Launchpad 0.5 looks at this flag to pass any other one on, and lacks it.
_MISSING_FLAG = 'lp_dummy_config'


def make_program(
  config: run_config.RunConfig,
  options: options_lib.ProgramOptions,
  directory: str | os.PathLike[str],
  checkpoint: checkpointing.Checkpoint | None = None,
  session_folder: str | None = None,
  given: Collection[str] = (),
) -> lp.Program:
  """Makes the program, for any launch type.

  Args:
    config: of the run.
    options: of the program.
    directory: log directory, which only the learner reads and writes.
    checkpoint: the run goes on from there; the learner loads its file.
    session_folder: where nodes on this machine tell each other how the launch
      ends; see `Session`. None on several machines.
    given: what texts of the configuration may import, as `module:name`.

  Returns:
    A program that has not been launched.

  Raises:
    ValueError: if settings do not fit together.
  """
  servers = {
    'replay': nodes.serve_replay,
    'counter': nodes.serve_counter,
    'learner': nodes.learn,
  }
  # Every platform gives a node one port, whatever its address is called.
  addresses = {role: lp.Address(role) for role in servers}
  shared = launchpad_shared.Shared(
    **planning.shared_values(
      config, options, directory, checkpoint, given, session_folder
    ),
    addresses=addresses,
    supervisor=os.getpid(),
  )
  program = lp.Program('acme_metarl')
  for role, body in servers.items():
    node = lp.PyNode(nodes.run, role, body, shared)
    addresses[role].assign(node)
    program.add_node(node, label=role)
  with program.group('actor'):
    for _ in range(options.num_actors):
      program.add_node(lp.PyNode(nodes.run, 'actor_keeper', nodes.act, shared))
  if config.eval_every:
    program.add_node(
      lp.PyNode(nodes.run, 'evaluator_keeper', nodes.evaluate, shared),
      label='evaluator',
    )
  return program


def local_resources(
  options: options_lib.ProgramOptions,
) -> dict[str, local_multi_processing.PythonProcess]:
  """What each role's processes are given on this machine."""
  if _MISSING_FLAG not in flags.FLAGS:
    flags.DEFINE_multi_string(_MISSING_FLAG, [], 'Not for users.')
  return {
    role: local_multi_processing.PythonProcess(
      args=dict(_NO_NOTICE), env=variables
    )
    for role, variables in options.environment_variables().items()
  }


def xm_resources(
  options: options_lib.ProgramOptions,
  code_directory: str | os.PathLike[str],
  requirements: str | os.PathLike[str],
  hardware: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
  """What each role's container is given by XManager.

  Args:
    options: of the program.
    code_directory: holds the package; copied into the containers.
    requirements: file of the packages that containers install.
    hardware: keyword arguments of `xm.JobRequirements` by role, for example
      `{'learner': {'cpu': 8, 'ram': 32 * xm.GiB, 'v100': 1}}`. Vertex AI knows
      four kinds of machines at most.

  Returns:
    A `DockerConfig` for each role.

  Raises:
    ValueError: if XManager is missing.
  """
  try:
    from launchpad.nodes.python import xm_docker
    from xmanager import xm
  except Exception as error:  # Launchpad raises nothing more precise.
    raise ValueError(
      'lp_launch_type: containers need XManager; pip install xmanager.'
    ) from error
  return {
    role: xm_docker.DockerConfig(
      code_directory=str(code_directory),
      docker_requirements=str(requirements),
      hw_requirements=xm.JobRequirements(**hardware.get(role, {})),
    )
    for role in options.devices()
  }
