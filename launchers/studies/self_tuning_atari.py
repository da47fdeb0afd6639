"""A self-tuning agent on one Atari game, through Acme's loop and replay."""

import dataclasses
import math
import os
import pathlib
import time
from typing import Any

from acme import specs
import jax
import numpy as np
import tqdm

from acme_metarl import self_tuning
from acme_metarl.agents import environment_loop
from acme_metarl.agents.maml import replay
from acme_metarl.agents.self_tuning import acting, builder, learning
from acme_metarl.agents.self_tuning import config as agent_config
from acme_metarl.environments import atari
from acme_metarl.launchers.runs import outputs, plotting
from acme_metarl.launchers.studies import self_tuning_runs, study

_SAVE_EVERY = 120.0
# Frames that the emulator plays for a step of the agent.
_FRAMES = 4
# Episodes that a point of the figure is the mean of.
_WINDOW = 10


@dataclasses.dataclass(frozen=True)
class Config(study.Seeded):
  """One run.

  Attributes:
    game: name of the game's ROM.
    num_frames: frames of the emulator, four for each step of the agent.
    max_minutes: the run is saved and ended after so many.
    num_inner_steps: updates that the meta-gradient goes through; 0 for A2C.
    evaluator: of the policy loss, see `acme_metarl.self_tuning`.
    order: of an evaluator that has one.
    causal_lambda: of an evaluator that has one.
    critic: shared, conditioned or outer.
    num_rollouts: rollouts in a batch.
    horizon: steps of a rollout.
    sticky: probability that the emulator repeats the action of the frame
      before.
    max_noops: most frames without action at the start of an episode.
    ends_on_life_loss: whether a lost life ends the return.
    replay: reverb or local; what is installed by default.
  """

  game: str = 'breakout'
  num_frames: int = 40_000_000
  max_minutes: float = math.inf
  num_inner_steps: int = 1
  evaluator: str = 'log_likelihood'
  order: int | None = None
  causal_lambda: float | None = None
  critic: str = 'outer'
  num_rollouts: int = 16
  horizon: int = 20
  sticky: float = 0.25
  max_noops: int = 0
  ends_on_life_loss: bool = True
  replay: str | None = None

  def __post_init__(self):
    super().__post_init__()
    study.at_least(self, 1, 'num_frames')
    study.at_least(self, 0, 'num_inner_steps')
    _ = self.agent  # Refuses what there is not.

  @property
  def agent(self) -> agent_config.SelfTuningAgentConfig:
    """The agent, with the settings of Liu et al. (2022)."""
    base = self_tuning.SelfTuningConfig()
    options = {'order': self.order, 'causal_lambda': self.causal_lambda}
    return agent_config.SelfTuningAgentConfig(
      dataclasses.replace(
        base,
        tuned=base.tuned if self.num_inner_steps else (),
        num_inner_steps=max(1, self.num_inner_steps),
        evaluator=self.evaluator,
        evaluator_options={
          name: x for name, x in options.items() if x is not None
        },
        critic=self.critic,
        num_rollouts=self.num_rollouts,
        horizon=self.horizon,
      )
    )


def run(config: Config, directory: str | os.PathLike[str]) -> list[str]:
  """Trains until enough frames, or minutes, are over; returns the files."""
  directory = outputs.writable_directory(directory)
  environment = atari.make(
    config.game,
    sticky=config.sticky,
    max_noops=config.max_noops,
    ends_on_life_loss=config.ends_on_life_loss,
    seed=config.seed,
  )
  rows = train(config, environment, directory)
  if not rows:
    raise ValueError('max_minutes: no episode ended; give it more minutes.')
  stem = f'{config.game}_{config.seed}'
  outputs.write_csv(directory / f'{stem}.csv', rows)
  _draw(rows, config.game, directory / f'{stem}.png')
  return [f'{stem}.csv', f'{stem}.png']


def train(
  config: Config, environment: Any, directory: pathlib.Path
) -> list[dict[str, Any]]:
  """Trains on a dm_env environment; returns a row per episode.

  Args:
    config: the run.
    environment: unbatched.
    directory: where the run is saved, and goes on from.
  """
  spec = specs.make_environment_spec(environment)
  parts = builder.SelfTuningBuilder(config.agent, replay_kind=config.replay)
  networks = parts.make_networks(spec)
  policy = parts.make_policy(networks, spec)
  table, *_ = parts.make_replay_tables(spec, policy)
  learn_key, act_key = jax.random.split(jax.random.PRNGKey(config.seed))
  with replay.serve([table]) as client:
    learner = parts.make_learner(
      learn_key,
      networks,
      parts.make_dataset_iterator(client),
      lambda _: None,
      spec,
    )
    partial = self_tuning_runs.Partial(
      directory / f'partial_{config.game}_{config.seed}.npz',
      {
        name: x
        for name, x in dataclasses.asdict(config).items()
        if name not in ('num_frames', 'max_minutes', 'replay')
      },
    )
    tuner, rows, seconds = partial.load(learner.save().tuner)
    num_batches = int(rows[-1]['num_updates']) if rows else 0
    learner.restore(
      learning.LearnerState(
        tuner,
        tuner.meta_params.params,
        tuner.meta_params.opt_state,
        (),
        num_batches,
      )
    )
    actor = acting.LearningActor(
      parts.make_actor(
        # A run that goes on draws other actions than it did at the start.
        jax.random.fold_in(act_key, num_batches),
        policy,
        spec,
        learner,
        parts.make_adder(client, spec, policy),
      ),
      learner,
      lambda: table.can_sample(1),
    )
    loop = environment_loop.EnvironmentLoop(
      environment, actor, logger=_Silent()
    )
    started = saved = time.perf_counter()
    frames = rows[-1]['frames'] if rows else 0
    with tqdm.tqdm(
      total=config.num_frames, initial=frames, unit='frame', unit_scale=True
    ) as bar:
      while frames < config.num_frames:
        result = loop.run_episode()
        new = _FRAMES * result['episode_length']
        frames += new
        bar.update(new)
        numbers, num_batches = learner.get_variables(
          ['hyperparameters', 'learner_step']
        )
        now = time.perf_counter()
        rows.append(
          {
            'frames': frames,
            'seconds': round(seconds + now - started, 1),
            'episode_return': float(
              getattr(environment, 'episode_return', result['episode_return'])
            ),
            'num_updates': int(num_batches),
            **{name: float(f'{x:.6g}') for name, x in numbers.items()},
          }
        )
        is_over = now - started > 60 * config.max_minutes
        if is_over or now - saved > _SAVE_EVERY:
          partial.save(learner.save().tuner, rows, seconds + now - started)
          saved = now
        if is_over:
          break
  return rows


class _Silent:
  """The loop's logger: rows are written here."""

  def write(self, data: Any) -> None:
    pass

  def close(self) -> None:
    pass


def _draw(rows: list[dict[str, Any]], game: str, path: pathlib.Path) -> None:
  """Returns of episodes, and the tuned numbers."""
  frames = np.array([row['frames'] for row in rows]) / 1e6
  names = ('episode_return', 'discount', 'lambda_', 'entropy_cost')
  with plotting.panels(len(names), height=2.9) as (figure, axes):
    for panel, name in zip(axes, names, strict=True):
      values = np.array([row[name] for row in rows])
      if name == 'episode_return':
        panel.plot(frames, values, '.', color=plotting.GREY, markersize=3)
        size = min(_WINDOW, len(values))
        mean = np.convolve(values, np.ones(size) / size, 'valid')
        panel.plot(frames[size - 1 :], mean, color=plotting.BLUE)
        panel.set_title(game.replace('_', ' ').capitalize())
      else:
        panel.plot(frames, values, color=plotting.BLUE)
      panel.set(xlabel='million frames', ylabel=name.strip('_'))
    outputs.write_figure(path, figure)
