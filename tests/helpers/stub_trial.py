"""A trial that trains nothing and ends at once: `python stub_trial.py MODE SHARDS TRIAL`.

Its objective rises over the epochs to a number that follows from the values, less 0.01 for each seed. MODE says what else
happens, to a trial whose number is odd: `crash`, `abort`, `oom`, `diverge`; to every trial: `wrong`
(a configuration error), `all-crash`; `plain` is nothing. It prunes itself as a real trial does.
"""

import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tuning import pruning  # noqa: E402
from tuning.search_directory import TrialDirectory  # noqa: E402
from tuning.trial_files import COMPLETED, PRUNED, Outcome, TrialSpec, best_of  # noqa: E402


def quality(values):
    """What a trial's objective comes to: best at depth 4, rate 0.002, no dropout."""
    rate = values.get("learning_rate", 0.002)
    depth, dropout = values.get("depth", 4), values.get("dropout", 0)
    return 0.99 - 0.05 * abs(depth - 4) - 0.1 * dropout - 2 * abs(rate - 0.002)


def train(spec):
    """The epochs of a trial, and whether it was pruned."""
    history = []
    for epoch in range(1, spec.last_epoch + 1):
        reached = quality(spec.values) - 0.01 * spec.config["seed"]
        value = reached * (1 - 0.5**epoch)
        history.append(1 - value if spec.objective.endswith("loss") else value)
        pruned = pruning.is_behind(history, spec.bars, objective=spec.objective)
        if pruned and epoch < spec.last_epoch:
            return history, True
    return history, False


def main():
    mode, _, path = sys.argv[1:]
    trial = TrialDirectory(path)
    spec = TrialSpec.read(trial.spec)
    odd = spec.trial_id.isdigit() and int(spec.trial_id) % 2 == 1
    if mode == "wrong":
        print("python -m tuning.trial: error: the shards are of another world", file=sys.stderr)
        return 2
    if mode == "all-crash" or (odd and mode == "crash"):
        raise ZeroDivisionError("a bug")
    if odd and mode == "oom":
        os.kill(os.getpid(), signal.SIGKILL)
    if odd and mode == "abort":
        print("terminate called: std::bad_alloc", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGABRT)
    if odd and mode == "diverge":
        Outcome(status="failed", failure="diverged", reason="the loss became nan").write(
            trial.outcome
        )
        return 1
    history, pruned = train(spec)
    value, best_epoch = best_of(history, spec.objective)
    Outcome(
        status=PRUNED if pruned else COMPLETED,
        value=value,
        best_epoch=best_epoch,
        history=history,
        epoch_seconds=2.0,
        seconds=10.0,
    ).write(trial.outcome)
    return 0


if __name__ == "__main__":
    sys.exit(main())
