"""The part of `report.md` on training: network, what was set otherwise, versions, hardware, time and energy."""

from collections.abc import Mapping
from typing import Any

from engine.base.progress import format_duration
from engine.base.settings import TrainConfig
from engine.metrics.estimate import number_text
from engine.runs import markdown
from engine.runs.data_report import mapping, sequence
from engine.runs.run_directory import RunDirectory

Json = Mapping[str, Any]
_ENERGY = (
    "not measured: this report makes no estimate of it. Where the processor's counters can be read "
    "(RAPL, NVML), tools such as CodeCarbon measure it beside a training"
)


def section(run: RunDirectory, settings: Json, environment: Json, training: Json) -> list[str]:
    """The section; empty where nothing of a training is known.

    Args:
        settings, environment, training: `config.json`, `environment.json` and `training.json`; each may
            be empty.
    """
    facts = [
        ("Network", _network(settings, training)),
        ("Best epoch", best(training)),
        ("Head refitted", _refitted(training)),
        ("Resumed", _resumed(environment)),
        ("Learned from", _learned_from(environment)),
        ("Versions", _versions(environment)),
        ("Source", f"`{environment['git_commit']}`" if environment.get("git_commit") else ""),
    ]
    history = (
        markdown.image("History", run.history_figure, run.path)
        if run.history_figure.is_file()
        else ""
    )
    parts = [markdown.facts(facts), _changed(settings), history, _all_settings(settings)]
    parts = [part for part in parts if part]
    return ["## Training", *parts] if parts else []


def cost(environment: Json, training: Json) -> list[str]:
    """The section on time, hardware and energy; empty where no time is known."""
    if training.get("seconds") is None:
        return []
    facts = [
        ("Time", _time(training)),
        ("Speed", _speed(training)),
        ("Ran on", markdown.text(mapping(environment.get("runtime")).get("summary", ""))),
        ("Hardware", _hardware(environment)),
        ("Energy", _ENERGY),
    ]
    return ["## Time and energy", markdown.facts(facts)]


def best(training: Json) -> str:
    """The best epoch and its metric; empty where there is none."""
    if training.get("best_epoch") is None:
        return ""
    value = training.get("best_value")
    reached = f", {markdown.text(training.get('monitor', 'monitored metric'))} {number_text(value)}"
    return f"{training['best_epoch']}{reached if value is not None else ''}"


def changed_settings(settings: Json) -> list[tuple[str, Any, Any]]:
    """(name, value, default) of each setting that is not at its default; a default of None is one that
    the engine chooses."""
    defaults = TrainConfig().to_json()
    return [
        (name, value, defaults[name])
        for name, value in settings.items()
        if name in defaults and value != defaults[name]
    ]


def _changed(settings: Json) -> str:
    if not settings:
        return ""
    rows = [
        (f"`{name}`", f"`{_shown(value)}`", f"`{_shown(default)}`")
        for name, value, default in changed_settings(settings)
    ]
    if not rows:
        return "Every setting is at its default."
    return "Settings that differ from the defaults:\n\n" + markdown.table(
        ("setting", "value", "default"), rows
    )


def _all_settings(settings: Json) -> str:
    listed = [(f"`{name}`", f"`{_shown(value)}`") for name, value in settings.items()]
    return markdown.folded("All settings", markdown.table(("setting", "value"), listed)) * bool(
        listed
    )


def _network(settings: Json, training: Json) -> str:
    parameters = training.get("parameters")
    size = f", {parameters:,} parameters" if isinstance(parameters, int) else ""
    return f"{markdown.text(settings['model'])}{size}" if settings.get("model") else ""


def _time(training: Json) -> str:
    return (
        f"{format_duration(training['seconds'])} for {training.get('epochs', '?')} epochs, with "
        "loading, validating and saving"
    )


def _speed(training: Json) -> str:
    speed = training.get("images_per_second")
    return "" if speed is None else f"{speed:,.0f} images/s in training steps"


def _hardware(environment: Json) -> str:
    gpus = environment.get("gpus")
    named = ", ".join(map(str, gpus)) if isinstance(gpus, list) else ""
    cores, memory = environment.get("cores"), environment.get("memory_gib")
    parts = [
        str(environment.get("processor") or ""),
        f"{cores} cores" if cores else "",
        f"{memory} GiB of memory" if memory else "",
        f"GPUs: {named}" if named else "",
    ]
    return markdown.text(", ".join(part for part in parts if part))


def _versions(environment: Json) -> str:
    python = mapping(environment.get("versions")).get("python")
    packages = {**({"python": python} if python else {}), **mapping(environment.get("packages"))}
    return ", ".join(f"{markdown.text(k)} {markdown.text(v)}" for k, v in packages.items())


def _learned_from(environment: Json) -> str:
    """The runs whose weights or probabilities it learned from."""
    entries = mapping(environment.get("data")).get("learned_from")
    named = [
        f"`{entry.get('flag')}` {markdown.text(entry.get('source'))}"
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping)
    ]
    return ", ".join(dict.fromkeys(named))


def _resumed(environment: Json) -> str:
    sessions = [mapping(session) for session in sequence(environment, "resumed")]
    if not sessions:
        return ""
    hosts = sorted({markdown.text(session["host"]) for session in sessions if session.get("host")})
    times = f"{len(sessions)} times" if len(sessions) > 1 else "once"
    return f"{times}, on {', '.join(hosts)}" if hosts else times


def _refitted(training: Json) -> str:
    told = mapping(training.get("refit_head"))
    before, after = mapping(told.get("before")), mapping(told.get("after"))
    changes = ", ".join(
        f"{markdown.text(name)} {number_text(before[name])} to {number_text(after[name])}"
        for name in before
        if before[name] is not None and after.get(name) is not None
    )
    if not told.get("kept"):
        return f"no better: the head of the epoch stays ({changes})" if changes else ""
    return changes


def _shown(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("`", "'")
