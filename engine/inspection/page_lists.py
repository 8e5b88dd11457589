"""The lists of an inspection's page: copies, near copies, doubted labels and unreadable files, as Markdown.

Every name of a file, a class or a patient is escaped.
"""

from collections.abc import Sequence

from engine.base.files import one_line
from engine.base.wording import counted
from engine.images.image_folder import Example
from engine.inspection import display
from engine.inspection.inspection import Inspection
from engine.inspection.page_pictures import PagePictures
from engine.runs import markdown

MOST_LISTED = 500  # unreadable files


def escaped(text: str) -> str:
    """A name as Markdown; control characters are shown, not obeyed."""
    return markdown.text(one_line(text))


def exact(found: Inspection, page: PagePictures) -> str:
    """Images of equal contents, side by side."""
    copies = found.copies
    if not copies.exact:
        return "## Copies\n\nNo two images have the same content."
    shown = copies.exact[: found.settings.shown]
    listed = [
        _side_by_side(
            page, group.images, "equal", display.marks(group.crosses_splits, group.crosses_classes)
        )
        for group in shown
    ]
    text = (
        f"{counted(len(copies.exact), 'group')} of images with the very same content, "
        f"{copies.num_exact:,} more than needed{first_shown(len(shown), len(copies.exact))}."
    )
    return "\n\n".join(["## Copies", text, *listed])


def near(found: Inspection, page: PagePictures) -> str:
    """Near copies, side by side."""
    copies, settings = found.copies, found.settings
    shown = copies.near[: settings.shown]
    listed = [
        _side_by_side(
            page,
            (pair.first, pair.second),
            f"{counted(pair.distance, 'bit')} different{', mirrored' if pair.is_mirrored else ''}",
            display.marks(pair.crosses_splits, pair.crosses_classes, pair.crosses_patients),
        )
        for pair in shown
    ]
    text = escaped(display.copies_text(copies, settings.near_distance))
    text += f"{first_shown(len(shown), len(copies.near))}."
    return "\n\n".join(["## Near copies", text, *listed])


def _side_by_side(page: PagePictures, examples: Sequence[Example], kind: str, across: str) -> str:
    """The first two images, and below them their paths and what they cross."""
    sheet = page.sheet(kind, page.images_of(examples[:2]), columns=2)
    crossed = f", across {across}" if across else ""
    return f"{sheet}\\\n{_paths(examples)} ({kind}{crossed})"


def suspects(found: Inspection, page: PagePictures) -> str:
    """Labels that the run doubts, each with its image; '' without a run."""
    doubted = found.suspects
    if doubted is None:
        return ""
    shown = doubted.images[: found.settings.shown]
    text = escaped(display.suspects_text(found))
    rows = [
        [
            page.sheet("doubted label", page.images_of([one.example]), columns=1),
            _paths([one.example]),
            escaped(one.example.class_name),
            f"{one.of_label:.3f}",
            f"{escaped(one.suggested)} {one.probability:.3f}",
        ]
        for one in shown
    ]
    heads = ["", "image", "label", "its probability", "class by the run"]
    table = f"\n\n{markdown.table(heads, rows, left=3)}" if rows else ""
    return (
        f"## Labels that the run doubts\n\n{text}{first_shown(len(shown), len(doubted.images))}. "
        f"Either may be wrong: an expert has to look at the image.{table}"
    )


def rejected(found: Inspection) -> str:
    """Files that cannot be read; '' where there are none."""
    if not found.rejected:
        return ""
    rows = [
        [escaped(path), escaped(reason)]
        for path, reason in list(found.rejected.items())[:MOST_LISTED]
    ]
    return (
        f"## Files that cannot be read\n\n{counted(len(found.rejected), 'file')}"
        f"{first_shown(len(rows), len(found.rejected))}.\n\n"
        + markdown.table(["file", "why"], rows, left=2)
    )


def first_shown(shown: int, total: int) -> str:
    """What follows a count of which only some are listed."""
    return f"; the first {shown:,} are shown" if shown < total else ""


def _paths(examples: Sequence[Example]) -> str:
    """Some paths in one cell of a table."""
    shown = [escaped(example.path) for example in examples[:6]]
    if len(examples) > len(shown):
        shown.append(f"{len(examples) - len(shown):,} more")
    return " · ".join(shown)
