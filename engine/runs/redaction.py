"""What a model card leaves out that the report of the same run holds: it is made to be passed on.

A report lies beside the run's files and names what helps its makers: files (and by them patients), directories and
hosts. A card is uploaded. It keeps the facts and the counts: of the build's warnings how many there are, of
directories the last part of their names.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from engine.base.wording import counted
from engine.metrics.subject import Subject

Json = Mapping[str, Any]
PICTURES = ("most_wrong.png", "least_certain.png")  # of patients, with the names of their files
_DIRECTORIES = re.compile(r"(?<![\w.])(?:~|\.{1,2})?/(?:[^\s/,;:'\"`]+/)*(?=[^\s/,;:'\"`])")


def environment(values: Json) -> Json:
    """`environment.json` as a card may tell it."""
    data, sessions = values.get("data"), values.get("resumed")
    found = dict(values)
    if isinstance(data, Mapping):
        found["data"] = _data(data)
    if isinstance(sessions, list):
        found["resumed"] = [
            {name: value for name, value in session.items() if name != "host"}
            for session in sessions
            if isinstance(session, Mapping)
        ]
    return found


def settings(values: Json) -> Json:
    """`config.json` with names in place of paths, such as those of earlier runs."""
    return {
        name: without_directories(value) if isinstance(value, str) else value
        for name, value in values.items()
    }


def subject(found: Subject) -> Subject:
    """What an evaluation is of, with names in place of paths."""
    return dataclasses.replace(
        found,
        shards=_name(found.shards),
        warnings=tuple(without_directories(warning) for warning in found.warnings),
    )


def without_directories(text: str) -> str:
    """A line of text in which the last part of each path is left."""
    return _DIRECTORIES.sub("", text)


def _data(data: Json) -> Json:
    found = dict(data)
    if data.get("shards"):
        found["shards"] = _name(str(data["shards"]))
    warnings = data.get("warnings")
    if isinstance(warnings, (list, tuple)) and warnings:
        # They name images, and with them patients, as examples.
        line = f"{counted(len(warnings), 'warning')} of the build, listed in the run's report.md"
        found["warnings"] = [line]
    sources = data.get("learned_from")
    if isinstance(sources, list):
        found["learned_from"] = [
            {**entry, "source": _name(str(entry.get("source", "")))}
            for entry in sources
            if isinstance(entry, Mapping)
        ]
    return found


def _name(path: str) -> str:
    return PurePosixPath(path.replace("\\", "/")).name or path
