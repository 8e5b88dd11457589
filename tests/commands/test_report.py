"""`engine.report` writes report, card and page from a run's files, in any order, and leaves people's text alone."""

import fake_run
import pytest
from stored_results import make_evaluation, store

import engine
from engine import report
from engine.runs.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(fake_run.make_run(tmp_path / "run"))
    store(run, make_evaluation(threshold=0.5))
    return run


def test_the_command_names_what_it_wrote(run, tmp_path, capsys):
    page, card = tmp_path / "out" / "page.html", tmp_path / "out" / "README.md"
    flags = ["--html", str(page), "--output", str(card), "--template"]
    assert report.main([str(run.path), *flags]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"template: {run.card_text}",
        f"report: {run.report}",
        f"model card: {run.model_card}",
        f"page: {page}",
        f"card: {card}",
    ]
    assert "AUROC" in page.read_text(encoding="utf-8")
    assert card.read_text(encoding="utf-8").startswith("---\n")


def test_a_second_template_is_refused_and_the_text_kept(run, capsys):
    run.card_text.write_text("# Intended use\n\nFor research.\n", encoding="utf-8")
    assert report.main([str(run.path), "--template"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert not run.report.exists()
    assert report.main([str(run.path)]) == 0
    assert "For research." in run.report.read_text(encoding="utf-8")


def test_no_file_of_the_run_is_written_over(run, tmp_path, capsys):
    for name in ("report.md", "card.md", "model.keras"):
        for flag in ("--html", "--output"):
            assert report.main([str(run.path), flag, str(run.path / name)]) == 2
            assert f"is part of {run.path}" in capsys.readouterr().err
    same = str(tmp_path / "x")
    assert report.main([str(run.path), "--html", same, "--output", same]) == 2
    assert "expected two files" in capsys.readouterr().err


def test_a_damaged_text_is_one_line_and_nothing_is_written(run, capsys):
    run.card_text.write_bytes(b"\xff")
    assert report.main([str(run.path), "--html", str(run.path / "page.html")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "card.md: cannot be read" in line and "expected Markdown in UTF-8" in line
    assert not run.report.exists() and not (run.path / "page.html").exists()


def test_from_python(run):
    written = engine.report(run.path, html=str(run.path / "page.html"))
    assert list(written) == ["report", "model card", "page"]
    assert all(path.is_file() for path in written.values())
    with pytest.raises(engine.UserError, match="no setting is called 'htm'"):
        engine.report(run.path, htm="x")


def test_all_that_is_written_takes_one_digest_of_the_model(run, tmp_path, monkeypatch):
    digests = []
    monkeypatch.setattr(RunDirectory, "model_digest", lambda run: digests.append(run.path))
    engine.report(run.path, html=str(tmp_path / "page.html"), output=str(tmp_path / "card.md"))
    assert digests == [run.path]


def test_equal_files_give_equal_pages(run, tmp_path):
    pages = [engine.report(run.path, html=str(tmp_path / name))["page"] for name in ("a", "b")]
    assert pages[0].read_bytes() == pages[1].read_bytes()
