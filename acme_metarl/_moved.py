"""Modules that moved keep their old names for one release, with a warning.

`import acme_metarl.reductions` gives the very module that is now
`acme_metarl.evaluators.reductions`. To be deleted with version 0.2.
"""

from collections.abc import Sequence
import importlib
import importlib.abc
import importlib.machinery
import sys
import types
import warnings

_PACKAGE = 'acme_metarl'
# Below the package, from where to where; submodules move along.
PLACES = {
  'adaptation': 'meta.adaptation',
  'baselines': 'meta.baselines',
  'derivative_accuracy': 'studies.derivative_accuracy',
  'derivatives': 'evaluators.derivatives',
  'diagnostics': 'meta.diagnostics',
  'environment': 'types',
  'intrinsic_reward': 'studies.intrinsic_reward',
  'launchers.checkpointing': 'launchers.runs.checkpointing',
  'launchers.config_flags': 'launchers.runs.config_flags',
  'launchers.evaluation': 'launchers.runs.evaluation',
  'launchers.host_devices': 'launchers.runs.host_devices',
  'launchers.outputs': 'launchers.runs.outputs',
  'launchers.plotting': 'launchers.runs.plotting',
  'launchers.run_config': 'launchers.runs.config',
  'launchers.run_flags': 'launchers.runs.flags',
  'launchers.run_logging': 'launchers.runs.tables',
  'launchers.run_records': 'launchers.runs.records',
  'launchers.stopping': 'launchers.runs.stopping',
  'launchers.training': 'launchers.runs.agent_trainer',
  'meta_gradient_bias': 'studies.meta_gradient_bias',
  'meta_gradients': 'meta.task_loss',
  'meta_learning': 'meta.learner',
  'n_sample_objectives': 'studies.n_sample_objectives',
  'n_sample_toy': 'studies.n_sample_toy',
  'objectives': 'meta.objectives',
  'opponent_shaping': 'studies.opponent_shaping',
  'outer_loop': 'meta.outer_loop',
  'policies': 'meta.policies',
  'ratios': 'evaluators.ratios',
  'recurrences': 'evaluators.recurrences',
  'reductions': 'evaluators.reductions',
  'synthetic': 'meta.synthetic',
  'task_batching': 'meta.task_batching',
  'trial_sampling': 'on_device.sampling',
  'trust_region': 'meta.trust_region',
}
# By the new place of a module, names that it had and where those are.
MEMBERS = {
  'meta.adaptation': {
    'Evaluator': 'evaluators.protocols.Evaluator',
    'discounted_sums': 'meta.preparation.discounted_sums',
    'inner_objective': 'evaluators.derivatives.reduced_estimate',
  },
  'meta.objectives': {'masked_mean': 'evaluators.reductions.masked_mean'},
  'meta.policies': {'flat_observation': 'meta.observations.flatten'},
  'studies.opponent_shaping.estimation': {
    'dice_with_baseline': 'evaluators.importance_weighted.dice_with_baseline'
  },
}


class _Finder(importlib.abc.MetaPathFinder):
  """Finds modules by the names that they had."""

  def find_spec(
    self,
    fullname: str,
    path: Sequence[str] | None,
    target: types.ModuleType | None = None,
  ) -> importlib.machinery.ModuleSpec | None:
    new = _new_name(fullname)
    if new is None:
      return None
    return importlib.machinery.ModuleSpec(fullname, _Loader(new))


class _Loader(importlib.abc.Loader):
  """Puts the module of another name in the place of a new one."""

  def __init__(self, new: str):
    self._new = new

  def exec_module(self, module: types.ModuleType) -> None:
    old = module.__name__
    warnings.warn(
      f'{old} is now {self._new}; the old name goes with version 0.2.',
      DeprecationWarning,
      stacklevel=2,  # Frames of the import system do not count.
    )
    found = importlib.import_module(self._new)
    members = MEMBERS.get(self._new.removeprefix(f'{_PACKAGE}.'), {})
    for name, place in members.items():
      owner, _, member = f'{_PACKAGE}.{place}'.rpartition('.')
      setattr(found, name, getattr(importlib.import_module(owner), member))
    sys.modules[old] = found


def _new_name(fullname: str) -> str | None:
  if not fullname.startswith(f'{_PACKAGE}.'):
    return None
  parts = fullname.split('.')[1:]
  for length in range(1, min(len(parts), 2) + 1):
    place = PLACES.get('.'.join(parts[:length]))
    if place is not None:
      return '.'.join([_PACKAGE, place, *parts[length:]])
  return None


def install() -> None:
  """Makes the old names importable, once."""
  # In front: a submodule of a moved package lies in that package's folder, and
  # the ordinary finder would load it a second time.
  if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Finder())
