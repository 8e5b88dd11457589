"""The data that a run learned from besides its own: its teacher's, and that of the run it started from.

Such a run may know images that it never saw itself. `environment.json` lists these data sets under
`data.learned_from`, those that they learned from in turn included.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.base.config import UserError
from engine.base.files import one_line
from engine.runs import ensemble
from engine.runs.run_directory import RunDirectory
from engine.shards import data_identity

KEY = "learned_from"
TEACHER, START = "--distill-from", "--init-from"
_USED = ("train", "validation")  # the splits that weights or their choice depend on
_KEPT = ("fingerprint", "identity")


def describe(sources: Mapping[str, str | None], data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What runs learned from, as JSON values: of each run its data set, and whether it is divided as `data`.

    Args:
        sources: flag -> the path that it names; model files say nothing of their data.
        data: the data set of the run that learns from them, as `data_identity.describe` gives it.
    """
    found: list[dict[str, Any]] = []
    for flag, path in sources.items():
        for own in map(_data, _runs(path)):
            if "fingerprint" not in own:
                continue
            alike = data_identity.divided_alike(own, data)
            learned = [(own, alike)]
            for earlier in _listed(own):
                same = earlier.get("identity") == data["identity"]
                learned.append((earlier, same or (alike and earlier["divided_alike"])))
            for each, is_alike in learned:
                known = {name: each[name] for name in _KEPT if name in each}
                entry = {"flag": flag, "source": path, **known, "divided_alike": is_alike}
                if entry not in found:
                    found.append(entry)
    return found


def warnings(data: Mapping[str, Any]) -> list[str]:
    """What is to be said of what a run learned from, before anything is measured.

    Args:
        data: the run's data set with what it learned from, as `environment.json` holds it.
    """
    divided = [
        _warning(entry)
        for entry in _listed(data)
        if entry["fingerprint"] == data["fingerprint"] and not entry["divided_alike"]
    ]
    return divided + _unknown(data)


def warnings_about(
    trained_on: Mapping[str, Any], measured: Mapping[str, Any], split: str
) -> list[str]:
    """What a reader of figures must know of what the run learned from.

    Args:
        trained_on: the run's data set, as `environment.json` holds it.
        measured: `fingerprint` and `identity` of the measured one.
    """
    fingerprint, identity = measured["fingerprint"], measured["identity"]
    found = list(map(_warning, _that_may_know(trained_on, fingerprint, identity, split)))
    return found + (_unknown(trained_on) if fingerprint == trained_on.get("fingerprint") else [])


def may_know(trained_on: Mapping[str, Any], fingerprint: str, identity: str, split: str) -> bool:
    """Whether what the run learned from may have been trained on the measured examples."""
    return bool(_that_may_know(trained_on, fingerprint, identity, split))


def _that_may_know(
    trained_on: Mapping[str, Any], fingerprint: str, identity: str, split: str
) -> list[Mapping[str, Any]]:
    found = []
    for entry in _listed(trained_on):
        if entry["fingerprint"] != fingerprint:
            continue
        is_own = identity == trained_on.get("identity")
        if identity == entry.get("identity") or (is_own and entry["divided_alike"]):
            # The run's own account says what its training and validation split are.
            knows = split in _USED and not is_own
        else:
            knows = True
        if knows:
            found.append(entry)
    return found


def _warning(entry: Mapping[str, Any]) -> str:
    return (
        f"{_named(entry)} was trained on the same images, divided in another way; it may know some of "
        "those that are held out here, so that figures on them look better than they are"
    )


def _unknown(data: Mapping[str, Any]) -> list[str]:
    """A warning for each teacher of other images: it saw the training images, and perhaps these too."""
    return [
        f"{_named(entry)} was trained on other images than the run's; whether it knows patients that "
        "are held out here cannot be told"
        for entry in _listed(data)
        if entry["flag"] == TEACHER and entry["fingerprint"] != data.get("fingerprint")
    ]


def _named(entry: Mapping[str, Any]) -> str:
    return f"{entry['flag']} {one_line(str(entry['source']))}"


def _runs(path: str | None) -> list[RunDirectory]:
    if path is None or not Path(path).is_dir():
        return []
    try:
        run = ensemble.opened(path)
    except UserError:
        return []
    return list(run.members) or [run]


def _data(run: RunDirectory) -> Mapping[str, Any]:
    try:
        data = run.read_environment().get("data")
    except (AttributeError, UserError):
        return {}
    return data if isinstance(data, Mapping) else {}


def _listed(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = data.get(KEY)
    whole = ("flag", "source", "fingerprint", "divided_alike")
    return [
        entry
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, Mapping) and all(name in entry for name in whole)
    ]
