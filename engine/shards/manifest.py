"""The manifest of a shards directory: what it says, how it is written, and when it is believed.

`manifest.json` is written last; without it the directory is an unfinished build. It carries a
checksum over its own values, and for each shard one over the frames of its records, so that shards
and manifests of different builds cannot be taken for one another. Nothing of it is used
before its checksum, the types and ranges of its values, and their agreement with each other were
checked. Needs no TensorFlow.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

from engine.base import files, schema
from engine.base.config import UserError
from engine.base.schema import Rule, SchemaError
from engine.images import format as image_formats
from engine.images.format import ImageFormat

FORMAT_VERSION = 2
SPLITS = ("train", "validation", "test", "external")
MANIFEST = "manifest.json"
BUILD_STATE = "build.jsonl"
REJECTED = "rejected.csv"
DICOM = "dicom.csv"

SHARD_NAME = re.compile(r"(train|validation|test|external)-\d{5,}-of-\d{5,}\.tfrecord")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """One shard file.

    Attributes:
        file: its name in the shards directory.
        num_examples: its records.
        bytes: its size.
        sha256: of all its bytes (hex); compared by `--verify` and `--repair`.
        records_sha256: of its frames alone (hex): for each record its length, the length's CRC and
            the record's own CRC, 16 bytes. Compared whenever the shard is opened, which reads no
            pixels, whereas the CRCs are compared with the pixels as those are read.
    """

    file: str
    num_examples: int
    bytes: int
    sha256: str
    records_sha256: str

    @classmethod
    def from_json(cls, values: Any, *, where: str = "") -> "ShardInfo":
        """The inverse of `dataclasses.asdict`.

        Raises:
            SchemaError: the values are not those of a shard.
        """
        schema.require(values, _SHARD, where=where)
        return cls(**values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitInfo:
    """One split: its examples, in total and by class name (every class, zeros included)."""

    num_examples: int
    class_counts: dict[str, int]
    shards: tuple[ShardInfo, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a shards directory holds, and how it was made.

    Attributes:
        class_names: sorted; a label is an index into them, 1 the positive class of two.
        image_size: (height, width) in pixels.
        channels: 1 (grey) or 3 (RGB).
        encoding: `raw`, `png` or `jpeg`.
        resize_method: how pixels were resampled, in words.
        bits: 8, 12 or 16; the values of 16-bit PNG and TIFF were taken to run from 0 to 2**bits - 1
            (16 where there were none).
        group_by: `patient`, `none` or the regular expression that found the groups.
        source: `name` of the image folder, `num_files`, `fingerprint` over paths and contents.
        splits: those that hold examples, among `SPLITS`; `external` is one that was held out beside a
            test split.
        rejected: how many files were left out because they could not be read.
        audit: duplicates and leaks that were found, and what was done about them; `hold_out`, where
            images were held out, is the recipe.
        warnings: the warnings of the build, one line each.
        arguments: the settings of the build.
        versions: of the programs that wrote it.
    """

    class_names: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int
    encoding: str
    keep_aspect_ratio: bool
    resize_method: str
    bits: int = 16
    group_by: str
    seed: int
    source: dict[str, Any]
    splits: dict[str, SplitInfo]
    rejected: int = 0
    audit: dict[str, Any] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def fingerprint(self) -> str:
        """A SHA-256 (hex) over the source's relative paths, and sizes and CRC-32C of its files."""
        return self.source["fingerprint"]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.image_format.image_shape

    @property
    def image_format(self) -> ImageFormat:
        """How the images were decoded and resized."""
        return ImageFormat(
            image_size=self.image_size,
            channels=self.channels,
            keep_aspect_ratio=self.keep_aspect_ratio,
            bits=self.bits,
        )

    @property
    def num_examples(self) -> int:
        """Examples in all splits."""
        return sum(split.num_examples for split in self.splits.values())

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values, `format_version` first, without its checksum."""
        values = dataclasses.asdict(self)
        return {"format_version": values.pop("format_version"), **values}

    @classmethod
    def from_json(cls, values: Any) -> "Manifest":
        """The inverse of `to_json`.

        Raises:
            SchemaError: the values are not those of a manifest, or contradict each other.
        """
        schema.require(values, _MANIFEST)
        schema.require(values["source"], SOURCE_RULES, where="source.")
        height, width = values["image_size"]
        names = tuple(values["class_names"])
        splits = {name: _split_info(name, split, names) for name, split in values["splits"].items()}
        return cls(
            **{
                **values,
                "image_size": (height, width),
                "class_names": names,
                "warnings": tuple(values["warnings"]),
                "splits": splits,
            }
        )


def _split_info(name: str, values: Any, class_names: tuple[str, ...]) -> SplitInfo:
    """One split, its shards and counts in agreement with each other and with `class_names`."""
    where = f"splits.{name}."
    schema.require(values, _SPLIT, where=where)
    counts, shards = values["class_counts"], values["shards"]
    schema.require(counts, dict.fromkeys(class_names, schema.COUNT), where=f"{where}class_counts.")
    infos = tuple(
        ShardInfo.from_json(shard, where=f"{where}shards.{number}.")
        for number, shard in enumerate(shards)
    )
    for number, info in enumerate(infos):
        # Names that follow from their place hold no folder, and none stands in two places.
        if info.file != (expected := shard_name(name, number, len(infos))):
            raise SchemaError(f"{where}shards: got file {info.file}, expected {expected}")
    for total in (sum(counts.values()), sum(info.num_examples for info in infos)):
        if total != values["num_examples"]:
            raise SchemaError(
                f"{where}num_examples: got {values['num_examples']}, its parts make {total}"
            )
    return SplitInfo(
        num_examples=values["num_examples"],
        class_counts={name: counts[name] for name in class_names},
        shards=infos,
    )


def shard_name(split: str, index: int, count: int) -> str:
    """`train-00003-of-00008.tfrecord`."""
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


# ---------------------------------------------------------------------------- what is believed


def _are_splits(value: Any) -> bool:
    return isinstance(value, dict) and len(value) > 0 and set(value) <= set(SPLITS)


def _are_versions(value: Any) -> bool:
    return isinstance(value, dict) and all(map(schema.is_text, value.values()))


_SHARD = {
    "file": Rule(
        "a shard's plain file name, such as train-00000-of-00008.tfrecord",
        lambda value: schema.is_text(value) and SHARD_NAME.fullmatch(value) is not None,
    ),
    "num_examples": schema.COUNT,
    "bytes": schema.COUNT,
    "sha256": schema.DIGEST,
    "records_sha256": schema.DIGEST,
}
_SPLIT = {
    "num_examples": schema.COUNT,
    "class_counts": schema.OBJECT,
    "shards": Rule("a list of shards", lambda value: isinstance(value, list)),
}
SOURCE_RULES = {"name": schema.TEXT, "num_files": schema.COUNT, "fingerprint": schema.TEXT}
_MANIFEST = {
    "format_version": schema.one_of(FORMAT_VERSION),
    "class_names": schema.names("a list of different, non-empty names", at_least=1),
    **image_formats.RULES,
    "encoding": schema.one_of("raw", "png", "jpeg"),
    "resize_method": schema.TEXT,
    "group_by": schema.TEXT,
    "seed": schema.COUNT,
    "source": schema.OBJECT,
    "splits": Rule(f"an object of some of {', '.join(SPLITS)}", _are_splits),
    "rejected": schema.COUNT,
    "audit": schema.OBJECT,
    "warnings": schema.TEXTS,
    "arguments": schema.OBJECT,
    "versions": Rule("an object of texts", _are_versions),
}


def check_version(values: Any, path: Path) -> None:
    """Raises `UserError` where a manifest or a journal is of another format than this program's.

    Raises:
        SchemaError: it names no version at all.
    """
    version = values.get("format_version") if isinstance(values, dict) else None
    if not isinstance(version, int):
        raise SchemaError(f"format_version: got {schema.shown(version)}, expected {FORMAT_VERSION}")
    if version != FORMAT_VERSION:
        age = "an earlier" if version < FORMAT_VERSION else "a later"
        raise UserError(
            f"{path}: has format version {version}, of {age} version of this program (this one "
            f"reads {FORMAT_VERSION}); build the shards again with engine.build_tfrecords --overwrite"
        )


# ---------------------------------------------------------------------------- reading, writing


def read_manifest(shards_dir: Path | str, *, check_files: bool = True) -> Manifest:
    """Reads `manifest.json`.

    Args:
        check_files: also make sure that every shard is there and has its size (its records are
            compared with the manifest when a split is opened, see `record_scan`).

    Raises:
        UserError: there is no such directory, its build did not finish, the manifest is damaged or
            of another format version, or a shard is missing or has another size.
    """
    shards_dir = Path(shards_dir)
    _require_finished(shards_dir)
    path = shards_dir / MANIFEST
    try:
        values = files.read_json(path)
        check_version(values, path)
        manifest = Manifest.from_json(schema.unsealed(values))
    except (OSError, ValueError, RecursionError) as error:
        # The error's text, never its repr, which would show all of a file that is not text.
        raise UserError(
            f"{path}: damaged ({error}); run the same engine.build_tfrecords command again to write "
            "it again, or copy the directory again from where it came"
        ) from error
    if check_files:
        _require_shards(shards_dir, manifest)
    return manifest


def _require_finished(shards_dir: Path) -> None:
    if (shards_dir / MANIFEST).is_file():
        return
    if not shards_dir.exists():
        raise UserError(
            f"{shards_dir}: no such directory; make shards with "
            f"python -m engine.build_tfrecords IMAGES {shards_dir}"
        )
    if not shards_dir.is_dir():
        raise UserError(f"{shards_dir}: is a file; expected a directory of shards")
    if (shards_dir / BUILD_STATE).is_file():
        raise UserError(
            f"{shards_dir}: its build did not finish; run the same engine.build_tfrecords command "
            "again, it continues where it stopped"
        )
    raise UserError(
        f"{shards_dir}: holds no {MANIFEST}; expected a directory made by engine.build_tfrecords"
    )


def _require_shards(shards_dir: Path, manifest: Manifest) -> None:
    for split in manifest.splits.values():
        for shard in split.shards:
            path = shards_dir / shard.file
            found = path.stat().st_size if path.is_file() else None
            if found != shard.bytes:
                problem = "missing" if found is None else f"{found:,} bytes long"
                raise UserError(
                    f"{path}: {problem}, the manifest says {shard.bytes:,} bytes; run the same "
                    "engine.build_tfrecords command again to rebuild this shard alone"
                )


def write_manifest(shards_dir: Path, manifest: Manifest) -> None:
    """Writes `manifest.json`, whole or not at all: the last act of a build."""
    files.write_json(shards_dir / MANIFEST, schema.sealed(manifest.to_json()))
