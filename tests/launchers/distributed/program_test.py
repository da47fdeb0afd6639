import importlib.util
import subprocess
import sys

import cloudpickle
import launchpad as lp
import pytest

from acme_metarl import presets
from acme_metarl.launchers.distributed import options as options_lib
from acme_metarl.launchers.distributed import planning
from acme_metarl.launchers.distributed import program as program_lib
from acme_metarl.launchers.runs import checkpointing
from acme_metarl.launchers.runs import config as run_config


def _make(eval_every=1, **options):
  config = run_config.RunConfig(
    algorithm=presets.make('promp_taypo2', num_tasks=4),
    eval_every=eval_every,
  )
  options = options_lib.ProgramOptions(tasks_per_actor=2, **options)
  return program_lib.make_program(config, options, 'somewhere')


def _labels(program):
  return {label: len(nodes) for label, nodes in program.groups.items()}


def test_nodes():
  assert _labels(_make(num_actors=3)) == {
    'replay': 1,
    'counter': 1,
    'learner': 1,
    'actor': 3,
    'evaluator': 1,
  }
  assert 'evaluator' not in _labels(_make(eval_every=0))


def test_every_server_has_an_address_of_its_own():
  program = _make()
  names = [
    address.name
    for node in program.get_all_nodes()
    for address in node.addresses
  ]
  assert names == ['replay', 'counter', 'learner']


def test_nodes_load_little_where_they_are_unpickled(tmp_path):
  program = _make(num_actors=1)
  (actor,) = program.groups['actor']
  for role in ('replay', 'counter', 'learner'):
    (address,) = program.groups[role][0].addresses
    address.bind(lp.SimpleLocalAddressBuilder())
  path = tmp_path / 'actor.pickle'
  path.write_bytes(cloudpickle.dumps(actor.function))
  script = (
    'import pickle, sys; import acme_metarl; '
    'pickle.load(open(sys.argv[1], "rb")); '
    'print([m for m in ("jax", "tensorflow", "reverb") if m in sys.modules])'
  )
  done = subprocess.run(
    [sys.executable, '-c', script, str(path)], capture_output=True, text=True
  )
  assert done.stdout == '[]\n', done.stderr


def test_resources_are_of_the_programs_roles():
  resources = program_lib.local_resources(options_lib.ProgramOptions())
  assert set(resources) == set(_labels(_make()))
  assert resources['actor'].env['JAX_PLATFORMS'] == 'cpu'


def test_counts_go_on_from_a_run_on_one_machine(tmp_path):
  assert planning.counts(None) == {}
  metadata = {
    'actor': {'num_trials': 7},
    'environment': {'trial_index': 7, 'num_diverged': 1},
  }
  checkpoint = checkpointing.Checkpoint(7, {}, metadata, tmp_path)
  assert planning.counts(checkpoint) == {'trials': 7, 'num_diverged': 1}
  metadata['counts'] = {'trials': 9}
  assert planning.counts(checkpoint) == {'trials': 9}


@pytest.mark.skipif(
  importlib.util.find_spec('xmanager') is not None, reason='XManager is here'
)
def test_containers_need_xmanager():
  with pytest.raises(ValueError, match='pip install xmanager'):
    program_lib.xm_resources(options_lib.ProgramOptions(), '.', 'r.txt', {})
