"""The evaluator of the program."""

from collections.abc import Callable, Sequence
import time
from typing import Any

from acme import core
import numpy as np

from acme_metarl.launchers.distributed import agent_parts
from acme_metarl.launchers.distributed import peers as peers_lib
from acme_metarl.launchers.distributed import shared as shared_lib
from acme_metarl.launchers.runs import agent_trainer, evaluation

_POLL_SECONDS = 0.2


class _Variables(core.VariableSource):
  """Those of the request that is played."""

  def set(self, params: Any, learner_step: int) -> None:
    self._variables = {
      'params': params,
      'learner_step': np.int32(learner_step),
    }

  def get_variables(self, names: Sequence[str]) -> list[Any]:
    return [self._variables[name] for name in names]


def run(
  shared: shared_lib.Shared,
  peers: peers_lib.Peers,
  should_stop: Callable[[], bool],
) -> None:
  """Plays what the learner asks for, until asked to stop."""
  with shared.session.reporting():
    parts = agent_parts.make(shared, 'evaluation', should_stop)
    variables = _Variables()
    evaluator = evaluation.Evaluator(
      parts.environment,
      parts.builder,
      parts.policy,
      variables,
      agent_trainer.Keys(parts.config.seed).evaluation,
    )
  try:
    while not should_stop():
      request = peers.call('learner', 'take_evaluation')
      if request is None:
        time.sleep(_POLL_SECONDS)
        continue
      iteration, params = request
      variables.set(params, iteration)
      played = evaluator.play(iteration)
      peers.call('learner', 'report_evaluation', iteration, played)
  except peers_lib.StoppedError:
    pass
  finally:
    parts.environment.close()
