"""What only its makers know of a model, in their own words: `RUN/card.md`, which reports take up.

A Markdown file with a heading for each part. Parts called as in `KNOWN` go where the report has them; others follow
at its end. Nothing writes the file but `write_template`, and nothing removes it: it outlives reports and trainings.
Comments (`<!-- -->`) are left out, and a part without text counts as not written.
"""

import dataclasses
import re
from collections.abc import Mapping

from engine.base import files
from engine.base.config import UserError
from engine.runs.run_directory import RunDirectory

NAME, INTENDED, NOT_INTENDED = "Name", "Intended use", "Not intended"
DATA, LIMITS, LICENCE, CONTACT, CITATION = "Data", "Limits", "Licence", "Contact", "Citation"
KNOWN = (NAME, INTENDED, NOT_INTENDED, DATA, LIMITS, LICENCE, CONTACT, CITATION)
_ALSO_CALLED = {"license": LICENCE, "out of scope": NOT_INTENDED, "limitations": LIMITS}
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_HEADING = re.compile(r"##?[ \t]+(.+?)[ \t]*#*")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_IDENTIFIER = re.compile(r"[a-z][a-z0-9.-]{1,60}")
_LONGEST = 200_000  # characters

TEMPLATE = """\
# Name

<!-- What the model is called; without it, the run directory's name. -->

# Intended use

<!-- For what question, on what images (modality, view, age), by whom, at what point of the work. -->

# Not intended

<!-- What it must not be used for, and on what images. -->

# Data

<!-- Where the images come from, when, how they were chosen, by which devices; who gave the labels, and how
sure they are; age and sex of the patients; consent, de-identification. -->

# Limits

<!-- What you know or suspect to go wrong. -->

# Licence

<!-- Such as apache-2.0, mit, cc-by-nc-4.0; of the weights, which may depend on the licence of the images. -->

# Contact

# Citation
"""


@dataclasses.dataclass(frozen=True)
class CardText:
    """The parts of a `card.md`: heading -> Markdown, those of `KNOWN` under the names that stand there."""

    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def get(self, name: str) -> str:
        """A part; empty if nobody wrote it."""
        return self.parts.get(name, "")

    @property
    def others(self) -> dict[str, str]:
        """The parts under headings of the writer's own."""
        return {name: text for name, text in self.parts.items() if name not in KNOWN}

    @property
    def name(self) -> str:
        """What the model is called; empty if the file does not say."""
        return " ".join(self.get(NAME).split())

    @property
    def licence_identifier(self) -> str | None:
        """The licence as model hubs name it (`apache-2.0`), or `other`; None where none is given."""
        first = self.get(LICENCE).strip().partition("\n")[0].strip().rstrip(".").lower()
        if not first:
            return None
        return first if _IDENTIFIER.fullmatch(first) else "other"


def read(run: RunDirectory) -> CardText:
    """The parts of the run's `card.md`; none where there is no such file.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    path = run.card_text
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return CardText()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected Markdown in UTF-8") from error
    if len(text) > _LONGEST:
        raise UserError(f"{path}: got {len(text):,} characters, expected at most {_LONGEST:,}")
    return CardText(_parts(_COMMENT.sub("", text)))


def write_template(run: RunDirectory) -> None:
    """Writes a `card.md` with the headings, and comments on what belongs there.

    Raises:
        UserError: there is one already.
    """
    if run.card_text.exists():
        raise UserError(
            f"{run.card_text}: exists already; edit it, or remove it for a new template"
        )
    files.write_text(run.card_text, TEMPLATE)


def _parts(text: str) -> dict[str, str]:
    """Heading -> what follows it up to the next one; headings in code blocks are none."""
    lines: dict[str, list[str]] = {}
    heading, fence = "", ""  # of the code block that is open
    for line in text.splitlines():
        mark = _FENCE.match(line)
        if mark is not None and fence in ("", mark[1]):
            fence = "" if fence else mark[1]
        found = None if fence else _HEADING.fullmatch(line)
        if found is None:
            lines.setdefault(heading, []).append(line)
        else:
            heading = _known(found[1])
            lines.setdefault(heading, []).append("")
    if fence:  # never closed: the report that follows is no code
        lines[heading].append(fence)
    parts = {name: "\n".join(written).strip() for name, written in lines.items()}
    # What stands before the first heading belongs to no part: it says what the model is for.
    if before := parts.pop("", ""):
        parts[INTENDED] = "\n\n".join(filter(None, (before, parts.get(INTENDED, ""))))
    return {name: part for name, part in parts.items() if part}


def _known(heading: str) -> str:
    lowered = heading.lower()
    return next((name for name in KNOWN if name.lower() == lowered), None) or _ALSO_CALLED.get(
        lowered, heading
    )
