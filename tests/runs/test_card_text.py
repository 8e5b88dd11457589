"""People's own words are found under their headings, and nothing overwrites them."""

import pytest

from engine.base.config import UserError
from engine.runs import card_text
from engine.runs.card_text import CONTACT, INTENDED, LICENCE, LIMITS, NOT_INTENDED, CardText
from engine.runs.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path)


def parts_of(run, text):
    run.card_text.write_text(text, encoding="utf-8")
    return dict(card_text.read(run).parts)


def test_parts_stand_under_their_headings(run):
    found = parts_of(
        run,
        "# INTENDED USE #\n\nFor **research**.\n\n### A detail\n\nmore\n\n## License\nMIT\n"
        "## Out of scope\nx\n# limitations\ny\n# Ethics\nz\n",
    )
    assert found == {
        INTENDED: "For **research**.\n\n### A detail\n\nmore",
        LICENCE: "MIT",
        NOT_INTENDED: "x",
        LIMITS: "y",
        "Ethics": "z",
    }
    assert CardText(found).others == {"Ethics": "z"}


def test_a_heading_in_code_is_none_and_text_before_the_first_is_the_intended_use(run):
    found = parts_of(
        run, "\N{BOM}Before.\n\n# Limits\n\n```sh\n# Contact\n```\n\n# Intended use\nUse."
    )
    assert found == {LIMITS: "```sh\n# Contact\n```", INTENDED: "Before.\n\nUse."}


def test_what_is_left_open_ends_with_its_file(run):
    assert parts_of(run, "# Limits\n\n~~~\n```\n# no heading\n") == {
        LIMITS: "~~~\n```\n# no heading\n~~~"
    }
    assert parts_of(run, "# Limits\n\nsome\n<!-- a\n\n# Contact\n\nme") == {LIMITS: "some"}


def test_the_template_counts_as_not_written_and_is_never_written_over(run):
    card_text.write_template(run)
    assert not card_text.read(run).parts
    with pytest.raises(UserError, match="exists already"):
        card_text.write_template(run)
    written = run.card_text.read_text(encoding="utf-8").replace("# Contact\n", "# Contact\n\nme\n")
    assert parts_of(run, written) == {CONTACT: "me"}


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [
        ("", None),
        ("Apache-2.0.", "apache-2.0"),
        ("mit\n\nThe weights only.", "mit"),
        ("Ask the hospital", "other"),
        ("[MIT](https://x)", "other"),
    ],
)
def test_licences_are_named_as_hubs_name_them(licence, identifier):
    assert CardText({LICENCE: licence}).licence_identifier == identifier


def test_no_file_is_no_text_and_a_damaged_one_an_error(run):
    assert card_text.read(run) == CardText()
    run.card_text.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"card\.md: cannot be read"):
        card_text.read(run)
    run.card_text.write_text("x" * 300_000)
    with pytest.raises(UserError, match="300,000 characters"):
        card_text.read(run)
    run.card_text.unlink()
    run.card_text.mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        card_text.read(run)


def test_a_run_may_start_where_its_text_stands_already(run):
    run.card_text.write_text("# Intended use\n")
    assert run.foreign() == []
