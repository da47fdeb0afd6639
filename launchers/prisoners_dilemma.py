r"""Learning to cooperate by shaping the opponent: iterated prisoner's dilemma.

LOLA-DiCE with exact look-aheads, with every estimator from fresh games, with
every estimator from a buffer of past games, and with only one half of the
look-ahead exact. See `acme_metarl.studies.opponent_shaping`.

    python -m acme_metarl.launchers.prisoners_dilemma \
        --logdir=results/prisoners_dilemma

writes into the output directory
* `results.json`: settings and a row per condition, with learning curves;
* `results.csv`: a row per condition, without the curves;
* `prisoners_dilemma.png`.
While it runs, the rows so far are in `results.partial.json`.

Conditions:
* `exact`: nothing is estimated;
* `inner_exact`: only the gradient after the look-ahead is;
* `on_policy`: look-aheads from fresh games, once per estimator;
* `off_policy`: look-aheads from the buffer, once per estimator;
* `hessian_exact`: the look-ahead moves by an estimate from fresh games and is
  differentiated as if it were exact;
* `value_exact`: the reverse.
"""

from collections.abc import Sequence

from acme_metarl.launchers.studies import prisoners_dilemma, study


def main(argv: Sequence[str] | None = None) -> None:
  """Makes the study that flags ask for, this process's by default."""
  study.main(
    'prisoners_dilemma',
    __doc__,
    prisoners_dilemma.Config(),
    prisoners_dilemma.run,
    argv,
  )


if __name__ == '__main__':
  main()
