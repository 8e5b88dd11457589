"""`report.md` of a search: the winner, the leaderboard, failed trials with reasons, and figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.base import files
from engine.base.progress import format_duration
from engine.metrics.estimate import HEADLINE, title
from engine.runs import markdown
from engine.training import runtime
from tuning import figures, leaderboard, pruning
from tuning.held_out import HeldOut
from tuning.leaderboard import Trial
from tuning.live_table import number, value_text
from tuning.repeats import Repeats
from tuning.search_directory import SearchDirectory
from tuning.search_space import Choices, SearchSpace
from tuning.settings import SearchConfig
from tuning.trial_files import PRUNED, Outcome

LISTED = 30  # trials of the leaderboard in the report; leaderboard.csv has all


def write_report(
    directory: SearchDirectory,
    config: SearchConfig,
    space: SearchSpace,
    trials: Sequence[Trial],
    *,
    winner: Trial | None,
    repeats: Sequence[Repeats] = (),
    held_out: HeldOut | None = None,
    remark: str | None = None,
) -> Path:
    """Writes the report from the results so far; returns its path."""
    name = markdown.text(directory.path.resolve().name)
    parts = [
        f"# Search: {name}",
        _about(config, trials),
        *_winner(config, space, winner, repeats),
        f"**{remark}**" if remark else "",
        *_held_out(config, held_out),
        *_repeats(config, repeats),
        *_leaderboard(config, space, trials),
        *_failures(trials),
        *_space(space),
        *_figures(directory),
    ]
    files.write_text(directory.report, "\n\n".join(part for part in parts if part) + "\n")
    return directory.report


def _about(config: SearchConfig, trials: Sequence[Trial]) -> str:
    outcomes = [trial.outcome for trial in trials if trial.outcome is not None]
    seconds = sum(outcome.seconds for outcome in outcomes)
    machine = runtime.describe_machine()
    return (
        f"{config.tuner} search, {len(outcomes)} trials of at most {config.epochs} epochs; "
        f"{_ended(outcomes)}. The trials took {format_duration(seconds)}, start-up included, "
        f"{config.num_workers} at a time; {pruning_text(outcomes, config)}.\n\n"
        f"The winner is chosen by {config.objective} on the validation split, at each trial's best epoch. "
        f"Seed {config.seed}. {_machine(machine)}"
    )


def _machine(machine: dict[str, Any]) -> str:
    processor = machine.get("processor") or machine.get("cpu") or ""
    cores = machine.get("cores") or machine.get("num_cores")
    return f"{markdown.text(processor)}{f', {cores} cores' if cores else ''}." if processor else ""


def _ended(outcomes: Sequence[Outcome]) -> str:
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome.status] = counts.get(outcome.status, 0) + 1
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "none ended"


def pruning_text(outcomes: Sequence[Outcome], config: SearchConfig) -> str:
    """How much time pruning saved, in a few words."""
    if config.tuner == "hyperband":
        return "stopped early by Hyperband's own rule"
    pruned = [outcome for outcome in outcomes if outcome.status == PRUNED]
    if not pruned:
        return "none pruned" if config.prunes else "pruning off"
    saved = pruning.seconds_saved(outcomes, epochs=config.epochs)
    epochs = sum(config.epochs - len(outcome.history) for outcome in pruned)
    return (
        f"{len(pruned)} pruned, which saved {epochs} epochs or about {format_duration(saved)} "
        "(estimated from each trial's own time per epoch)"
    )


def _winner(
    config: SearchConfig, space: SearchSpace, winner: Trial | None, repeats: Sequence[Repeats]
) -> list[str]:
    if winner is None:
        return ["## Winner", "None: no trial has ended with a value yet."]
    facts = [f"- {name}: {value_text(winner.values[name])}" for name in space.names]
    own = next((found for found in repeats if found.trial_id == winner.trial_id), None)
    chosen = f"{config.objective} {number(winner.best)}"
    if own is not None and len(own.values) > 1:
        chosen = f"mean {config.objective} {number(own.mean)} over {len(own.values)} seeds"
    note = (
        "The best of many trials on one validation split looks better than it is, because it was chosen "
        "partly by chance. Judge it by the test split or by other data."
    )
    train = "    python -m engine.train SHARDS --config best.json --workdir RUN"
    return [f"## Winner: trial {winner.trial_id}, {chosen}", "\n".join(facts), train, note]


def _held_out(config: SearchConfig, held_out: HeldOut | None) -> list[str]:
    if held_out is None:
        return []
    default = held_out.default
    rows = [
        (
            title(name),
            str(held_out.winner.metrics[name]),
            "not known" if default is None else str(default.metrics[name]),
        )
        for name in HEADLINE
    ]
    return [
        "## Test split",
        markdown.table(("metric", f"winner (trial {held_out.trial_id})", "default"), rows),
        "95 % intervals over patients. The default configuration was trained for the same "
        f"{config.epochs} epochs with the same seed. The split was measured only after the choice.",
    ]


def _repeats(config: SearchConfig, repeats: Sequence[Repeats]) -> list[str]:
    if not repeats:
        return []
    rows = [
        (
            found.trial_id,
            number(found.mean) if found.values else "-",
            number(found.spread),
            f"{number(min(found.values))} to {number(max(found.values))}" if found.values else "-",
            str(len(found.values)) + (f" ({found.failed} failed)" if found.failed else ""),
        )
        for found in repeats
    ]
    heads = ("trial", f"mean {config.objective}", "standard deviation", "range", "seeds")
    return ["## The top trials with more seeds", markdown.table(heads, rows)]


def _leaderboard(config: SearchConfig, space: SearchSpace, trials: Sequence[Trial]) -> list[str]:
    ranked = leaderboard.ranked(trials, config.objective)
    heads = ("trial", config.objective, "epoch", "epochs", "status", "time", *space.names)
    rows = [_row(trial, space) for trial in ranked[:LISTED]]
    more = (
        f"The best {LISTED} of {len(ranked)}; leaderboard.csv has all." if ranked[LISTED:] else ""
    )
    return ["## Leaderboard", markdown.table(heads, rows), more] if rows else []


def _row(trial: Trial, space: SearchSpace) -> tuple[str, ...]:
    outcome = trial.outcome or Outcome(status="running")
    return (
        trial.trial_id,
        number(trial.best),
        str(outcome.best_epoch or "-"),
        f"{len(trial.history)}/{trial.spec.last_epoch}",
        trial.status,
        format_duration(outcome.seconds),
        *(value_text(trial.values[name]) for name in space.names),
    )


def _failures(trials: Sequence[Trial]) -> list[str]:
    rows = [
        (trial.trial_id, trial.outcome.failure, markdown.text(trial.outcome.reason))
        for trial in trials
        if trial.outcome is not None and trial.outcome.failed
    ]
    if not rows:
        return []
    kept = "The standard error of each is in `trials/<trial>/stderr.log`."
    return ["## Failed", markdown.table(("trial", "failure", "reason"), rows), kept]


def _space(space: SearchSpace) -> list[str]:
    rows = []
    for parameter in space.parameters:
        if isinstance(parameter, Choices):
            what = ", ".join(value_text(value) for value in parameter.values)
        else:
            what = f"{value_text(parameter.low)} to {value_text(parameter.high)}, {parameter.scale}"
        rows.append((parameter.name, what))
    return ["## Search space", markdown.table(("setting", "values"), rows)]


def _figures(directory: SearchDirectory) -> list[str]:
    drawn = [name for name in figures.FILES if (directory.figures / name).is_file()]
    links = [f"![{figures.FILES[name]}](figures/{name})" for name in drawn]
    logs = "Epoch by epoch: `tensorboard --logdir tensorboard` (HParams) and each trial's `run/`."
    return ["## Figures", *links, logs] if links else []
