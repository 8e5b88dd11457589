"""The part of `report.md` on data: counts by class and split, patients, copies and leaks, what was left out."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.base.wording import counted
from engine.runs import card_text, markdown
from engine.runs.card_text import CardText

Json = Mapping[str, Any]


def section(data: Json, text: CardText) -> list[str]:
    """The section.

    Args:
        data: `data` of `environment.json`; may be empty, or lack what an earlier version did not record.
        text: what the run's makers say.
    """
    own = text.get(card_text.DATA)
    if not data:
        return ["## Data", own] if own else []
    return [
        "## Data",
        own,
        markdown.facts(_facts(data)),
        _class_counts(data),
        "\n".join(
            filter(None, (markdown.facts(_audit(mapping(data.get("audit")))), _warnings(data)))
        ),
    ]


def mapping(value: Any) -> Json:
    """The value, if it is a mapping; else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(values: Json, name: str) -> Sequence[Any]:
    """A list, empty where there is none."""
    value = values.get(name)
    return value if isinstance(value, (list, tuple)) else ()


def number(values: Json, name: str) -> int | None:
    """A count, where there is one."""
    value = values.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _facts(data: Json) -> list[tuple[str, str]]:
    audit = mapping(data.get("audit"))
    size = "x".join(str(side) for side in sequence(data, "image_size"))
    patients = number(audit, "patients")
    return [
        ("Classes", ", ".join(markdown.text(name) for name in sequence(data, "class_names"))),
        ("Source", _source(audit)),
        ("Patients", f"{patients:,}" if patients else ""),
        ("Images", f"{size} pixels, {data.get('channels', '?')} channel(s)" if size else ""),
        ("Resized by", markdown.text(data.get("resize_method", ""))),
        ("Aspect ratio", _aspect(data)),
        ("Groups kept together", _code(data.get("group_by"))),
        ("Split by seed", markdown.text(data.get("seed", ""))),
        ("Shards", _code(data.get("shards"))),
        ("Fingerprint", _code(data.get("fingerprint"))),
        ("Identity", _code(data.get("identity"))),
    ]


def _source(audit: Json) -> str:
    files = number(audit, "num_files")
    if files is None:
        return ""
    name = audit.get("source")
    return counted(files, "file") + (f" in a folder `{_plain(name)}`" if name else "")


def _aspect(data: Json) -> str:
    kept = data.get("keep_aspect_ratio")
    return "" if kept is None else "kept, with a border" if kept else "not kept"


def _class_counts(data: Json) -> str:
    splits = mapping(data.get("splits"))
    names = [str(name) for name in sequence(data, "class_names")]
    rows = []
    for split, info in splits.items():
        counts = mapping(mapping(info).get("class_counts"))
        total = mapping(info).get("num_examples", sum(counts.values()))
        rows.append((split, *(f"{counts.get(name, 0):,}" for name in names), f"{total:,}"))
    return markdown.table(("split", *map(markdown.text, names), "all"), rows) if rows else ""


def _audit(audit: Json) -> list[tuple[str, str]]:
    """What the build found out; empty where a run of an earlier version did not record it."""
    if not audit:
        return []
    return [
        ("Left out", _left_out(audit)),
        ("Exact copies", _copies(audit)),
        ("Leaks", _leaks(audit)),
        ("Held out", _held_out(mapping(audit.get("hold_out")))),
    ]


def _left_out(audit: Json) -> str:
    rejected, dropped = number(audit, "rejected"), number(audit, "dropped")
    if rejected is None:
        return ""
    text = f"{counted(rejected, 'file')} that cannot be read"
    return text + (f"; {counted(dropped, 'image')} that leaked" if dropped else "")


def _copies(audit: Json) -> str:
    copies, conflicts = number(audit, "duplicate_images"), number(audit, "conflicting_labels")
    if copies is None:
        return ""
    return counted(copies, "image") + (
        f"; **{counted(conflicts, 'image')} under two classes**" if conflicts else ""
    )


def _leaks(audit: Json) -> str:
    """Images that share a patient or their content with another split, as the splits are now."""
    leaking, dropped = number(audit, "leaking_images"), number(audit, "dropped")
    if leaking is None:
        return ""
    left = leaking - (dropped or 0)
    if not left:
        return "none: no split shares a known patient or an image with another"
    return f"**{counted(left, 'image')}** share a patient or their content with another split"


def _held_out(recipe: Json) -> str:
    images = number(recipe, "images")
    if images is None:
        return ""
    rules = [rule for rule in (recipe.get("pattern"), recipe.get("selection")) if rule]
    text = f"{counted(images, 'image')} as {markdown.text(recipe.get('split', '?'))}"
    if rules:
        text += " by " + " or ".join(_code(rule) for rule in rules)
    removed = number(recipe, "removed")
    return text + (f"; {counted(removed, 'image')} of their patients left out" if removed else "")


def _warnings(data: Json) -> str:
    return markdown.warnings(sequence(data, "warnings"))


def _code(value: Any) -> str:
    return f"`{_plain(value)}`" if value else ""


def _plain(value: Any) -> str:
    return " ".join(str(value).replace("`", "'").split())
