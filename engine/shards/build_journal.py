"""What a build has done so far, on disk: how it is continued, and how two builds are distinguished.

`build.jsonl` holds a line for the build (arguments, classes, source) and then a line for each shard
that is whole: its size, checksum, class counts and the files it left out. It stays with the
finished shards, so that one that is damaged later can be rebuilt alone. A line is believed if
its checksum and its values are right; what an unreadable one says is built again.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.base import files, output_paths, schema
from engine.base.config import UserError
from engine.base.progress import say
from engine.base.schema import Rule, SchemaError
from engine.base.setting_names import flag_name
from engine.shards import manifest, tfrecords
from engine.shards.manifest import SHARD_NAME, ShardInfo

_OWN_FILES = (
    tfrecords.MANIFEST,
    tfrecords.REJECTED,
    tfrecords.DICOM,
    *tfrecords.TFDS_FILES,
    tfrecords.BUILD_STATE,
)


@dataclasses.dataclass(frozen=True)
class ShardRecord:
    """One finished shard; `rejected` is (path, reason) of each file it left out, `doubts` (path, doubt)
    of each that was decoded, but may have been misread."""

    info: ShardInfo
    class_counts: dict[str, int]
    rejected: tuple[tuple[str, str], ...]
    doubts: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> "ShardRecord":
        """The inverse of `to_json`.

        Raises:
            SchemaError: the values are not those of a finished shard.
        """
        schema.require(values, _RECORD)
        info = ShardInfo.from_json(values["info"], where="info.")
        if sum(values["class_counts"].values()) != info.num_examples:
            raise SchemaError(f"class_counts: do not make the {info.num_examples} examples")
        rejected = tuple((path, reason) for path, reason in values["rejected"])
        doubts = tuple((path, doubt) for path, doubt in values["doubts"])
        return cls(info, values["class_counts"], rejected, doubts)


@dataclasses.dataclass(frozen=True)
class BuildIdentity:
    """What makes a build this build and no other.

    Attributes:
        arguments: the settings that decide a byte of it.
        source: `name`, `num_files` and `fingerprint` of the image folder.
    """

    arguments: dict[str, Any]
    source: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The identity as JSON values."""
        return {"format_version": manifest.FORMAT_VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, values: Any) -> "BuildIdentity":
        """The inverse of `to_json`.

        Raises:
            SchemaError: the values are not those of a build.
        """
        schema.require(values, _IDENTITY)
        schema.require(values["source"], manifest.SOURCE_RULES, where="source.")
        return cls(values["arguments"], values["source"])


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(schema.is_count, value.values()))


def _are_reasons(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(row, list) and len(row) == 2 and all(map(schema.is_text, row)) for row in value
    )


_RECORD = {
    "info": schema.OBJECT,
    "class_counts": Rule("an object of counts", _are_counts),
    "rejected": Rule("a list of paths and reasons", _are_reasons),
    "doubts": Rule("a list of paths and reasons", _are_reasons),
}
_IDENTITY = {
    "format_version": schema.one_of(manifest.FORMAT_VERSION),
    "arguments": schema.OBJECT,
    "source": schema.OBJECT,
}


class Journal:
    """The journal of one shards directory; `open_journal` makes it.

    Attributes:
        records: file name -> the finished shard of that name.
    """

    def __init__(
        self, shards: Path, identity: BuildIdentity, records: Mapping[str, ShardRecord]
    ) -> None:
        self._path = shards / tfrecords.BUILD_STATE
        self.identity = identity
        self.records = dict(records)

    def note(self, record: ShardRecord) -> None:
        """Adds a finished shard, durably; a line that a crash tears is not read back."""
        self.records[record.info.file] = record
        files.append(self._path, _line(record.to_json()))

    def rewrite(self, order: Iterable[str]) -> None:
        """Writes it again with the shards of `order`, whole or not at all."""
        lines = [self.identity.to_json(), *(self.records[name].to_json() for name in order)]
        with files.written_aside(self._path) as aside:
            aside.write_bytes(b"".join(map(_line, lines)))


def check_directory(images: Path, shards: Path) -> None:
    """Makes sure that `shards` is new, empty, or a build's.

    Raises:
        UserError: it is a file or lies in one, may not be written to, lies in the image folder, or holds
            other files.
    """
    if shards.exists() and not shards.is_dir():
        raise UserError(f"{shards}: is a file; expected a directory to write shards to")
    if not shards.exists():
        output_paths.require_directory(shards, "SHARDS")
    if images.exists() and images.resolve() in (shards.resolve(), *shards.resolve().parents):
        raise UserError(
            f"{shards}: lies inside the image folder {images}, where shards would be taken for "
            "images; give a directory outside it"
        )
    if not shards.exists() or is_begun(shards):
        return
    strangers = sorted(
        entry.name
        for entry in shards.iterdir()
        if not entry.name.startswith(".") and not _is_own_aside(entry.name)
    )
    if strangers:
        raise UserError(
            f"{shards}: holds files that are not of a build ({', '.join(strangers[:3])}); give a "
            "new or empty directory"
        )


def is_begun(shards: Path) -> bool:
    """Whether the directory holds a build, finished or not."""
    return (shards / tfrecords.BUILD_STATE).is_file() or is_finished(shards)


def is_finished(shards: Path) -> bool:
    """Whether the directory holds a finished build."""
    return (shards / tfrecords.MANIFEST).is_file()


def open_journal(shards: Path, identity: BuildIdentity, *, overwrite: bool) -> Journal:
    """The journal to continue: a new one, or that of an earlier start of the same build.

    Raises:
        UserError: the directory holds another build, and `overwrite` is false.
    """
    if is_begun(shards) and overwrite:
        remove_build(shards)
    shards.mkdir(parents=True, exist_ok=True)
    if not is_begun(shards):
        journal = Journal(shards, identity, {})
        journal.rewrite(())
        return journal
    found, records, is_whole = _read(shards / tfrecords.BUILD_STATE)
    _require_same(shards, found, identity)
    journal = Journal(shards, identity, records)
    if not (is_whole and is_finished(shards)):
        # Without what cannot be read, as a line that a crash tore, to which the next would be glued.
        journal.rewrite(records)
    return journal


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`--image-size 128x128, now 224x224` for each argument that is not the same."""
    return [
        f"{flag_name(name)} {_shown(before.get(name))}, now {_shown(now.get(name))}"
        for name in {**now, **before}
        if before.get(name) != now.get(name)
    ]


def remove_build(shards: Path) -> None:
    """Removes what builds write, and nothing else; the manifest first, the journal last."""
    for entry in sorted(shards.iterdir(), key=lambda path: path.name != tfrecords.MANIFEST):
        own = entry.name in _OWN_FILES or SHARD_NAME.fullmatch(entry.name)
        if entry.name != tfrecords.BUILD_STATE and (own or _is_own_aside(entry.name)):
            entry.unlink()
    (shards / tfrecords.BUILD_STATE).unlink(missing_ok=True)


def remove_leftovers(shards: Path) -> None:
    """Removes what a kill in the middle of a write left aside."""
    for entry in list(shards.iterdir()):
        if _is_own_aside(entry.name):
            entry.unlink()


def _is_own_aside(name: str) -> bool:
    if files.ASIDE_SUFFIX not in name:
        return False
    final = name.replace(files.ASIDE_SUFFIX, "", 1)
    return final in _OWN_FILES or bool(SHARD_NAME.fullmatch(final))


def _read(path: Path) -> tuple[BuildIdentity | None, dict[str, ShardRecord], bool]:
    """What build the journal is of, its finished shards by name, and whether every line was right.

    Raises:
        UserError: it is of another format version.
    """
    identity, records, problems = None, {}, []
    lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
    for number, line in enumerate(
        lines[:-1], start=1
    ):  # behind the last is nothing, or a torn line
        try:
            values = json.loads(line)
            if number == 1:
                manifest.check_version(values, path)
                identity = BuildIdentity.from_json(schema.unsealed(values))
            else:
                record = ShardRecord.from_json(schema.unsealed(values))
                records[record.info.file] = record
        except (ValueError, RecursionError) as error:
            problems.append(f"line {number}: {error}")
    if problems:
        say(f"{path}: {len(problems)} unreadable lines are ignored ({problems[0]})")
    # A link is not written through, but replaced.
    return identity, records, not (problems or lines[-1] or path.is_symlink())


def _require_same(shards: Path, found: BuildIdentity | None, identity: BuildIdentity) -> None:
    kind = "a finished build" if is_finished(shards) else "an unfinished build"
    if found is None:
        raise UserError(
            f"{shards}: holds {kind} without a readable journal {tfrecords.BUILD_STATE}, so it "
            "cannot be compared or continued; give another directory, or --overwrite to start again"
        )
    differing = differences(found.arguments, identity.arguments)
    if found.source["fingerprint"] != identity.source["fingerprint"]:
        differing.append(_source_difference(found.source, identity.source))
    if differing:
        raise UserError(
            f"{shards}: holds {kind} that differs: {'; '.join(differing)}; give the same arguments "
            "and images, another directory, or --overwrite to start again"
        )


def _source_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if before["num_files"] != now["num_files"]:
        return f"the images, {before['num_files']:,} files, now {now['num_files']:,}"
    return f"the contents or names of the {now['num_files']:,} images"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):  # of --hold-out-metadata
        return f"{value['selection']} ({value['images']:,} images, {value['sha256'][:8]})"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "x".join(map(str, value))
    return str(value)


def _line(value: Any) -> bytes:
    return json.dumps(schema.sealed(value)).encode() + b"\n"
