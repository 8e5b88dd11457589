"""The report says what is there, leaves out what is not, and links only files that exist."""

import dataclasses
import re
from urllib.parse import unquote

import pytest
from stored_results import SUBJECT, make_evaluation, store

from engine.base import files
from engine.metrics.estimate import Estimate
from engine.metrics.shift_results import ShiftResults
from engine.runs import card_text, evaluation_ranking, report, training_report
from engine.runs.card_text import CardText
from engine.runs.checklists import AUTHOR, HERE, PARTLY, Answers, claim_rows
from engine.runs.evaluation_ranking import Relation
from engine.runs.run_directory import RunDirectory

CLASSES = ("NORMAL", "PNEU|MONIA")
METRICS = {
    "auroc": Estimate(0.9912, 0.985, 0.996),
    "precision": Estimate(None, reason="nothing was predicted"),
}
SUBJECT = dataclasses.replace(SUBJECT, warnings=("these shards come from other images",))


def stored(**changes):
    values = {"subject": SUBJECT, "threshold": 0.4321, "metrics": METRICS, **changes}
    return make_evaluation(values.pop("class_names", CLASSES), **values)


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "my run")
    files.write_json(run.config, {"model": "cnn", "epochs": 20, "threshold": "youden"})
    files.write_json(
        run.environment,
        {
            "data": {
                "class_names": ["NORMAL", "PNEU|MONIA"],
                "image_size": [224, 224],
                "channels": 1,
                "fingerprint": "abc123",
                "shards": "data/shards",
                "splits": {
                    "train": {"num_examples": 5, "class_counts": {"NORMAL": 1, "PNEU|MONIA": 4}}
                },
                "warnings": ["3 exact duplicates across splits"],
            },
            "runtime": {"summary": "1 CPU, mixed_bfloat16"},
            "packages": {"tensorflow": "2.21.0"},
            "git_commit": "c0ffee",
        },
    )
    files.write_json(
        run.training_summary,
        {
            "images_per_second": 823.4,
            "seconds": 185.0,
            "epochs": 20,
            "best_epoch": 17,
            "monitor": "val_auroc",
            "best_value": 0.9951,
        },
    )
    files.write_json(run.threshold, {"threshold": 0.4321, "rule": "youden"})
    store(run, stored(num_examples=1624, num_resamples=1000))
    for name in ("roc.png", "calibration.png", "predictions.csv"):
        files.write_text(run.evaluation("test") / name, "x")
    files.write_text(run.history_figure, "x")
    return run


def test_what_on_what_how_fast_and_how_well(run):
    text = report.write_report(run).read_text(encoding="utf-8")
    for expected in (
        "# Report: my run",
        "Not for diagnosis",
        "1,624 images of 30 patients",
        "| AUROC | 0.9912 | 0.9850 to 0.9960 |",
        "| Precision (PPV) | undefined | nothing was predicted |",
        "0.4321",
        "chosen on validation by the rule `youden`",
        "Measured on `data/shards`: fingerprint of the images `abc123`, of the shards `dddddddddddd`",
        "823 images/s in training steps",
        "3 min 5 s for 20 epochs, with loading, validating and saving",
        "- Energy: not measured",
        "| `epochs` | `20` | `12` |",
        "17, val\\_auroc 0.9951",
        "`abc123`",
        "3 exact duplicates across splits",
        "these shards come from other images",
        "mixed\\_bfloat16",
        "tensorflow 2.21.0",
        "`c0ffee`",
    ):
        assert expected in text, expected


def test_every_link_leads_to_a_file_and_every_figure_is_linked(run):
    text = report.render(run)
    links = {link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
    assert links == {
        "evaluation/test/roc.png",
        "evaluation/test/calibration.png",
        "evaluation/test/predictions.csv",
        "history.png",
    }
    assert all((run.path / link).is_file() for link in links)


def test_tables_have_as_many_cells_in_every_row(run):
    for table in re.findall(r"(?:^\|.*\n?)+", report.render(run), flags=re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(cells) == 1, table


@pytest.mark.parametrize("name", ["config", "environment", "training_summary", "threshold"])
@pytest.mark.parametrize("damage", ["absent", "damaged", "of another kind"])
def test_a_part_that_is_missing_or_damaged_costs_only_itself(run, name, damage):
    path = getattr(run, name)
    if damage == "absent":
        path.unlink()
    else:
        path.write_text("{" if damage == "damaged" else "[1]", encoding="utf-8")
    text = report.render(run)
    assert "Not for diagnosis" in text
    assert "| AUROC | 0.9912 |" in text


def test_figures_that_cannot_be_read_cost_their_section_and_say_how_to_fix_it(run):
    store(run, stored(), name="other")
    (run.evaluation("other") / "metrics.json").write_text('{"split": "test"}', encoding="utf-8")
    text = report.render(run)
    assert "| AUROC | 0.9912 |" in text
    section = text.partition("### other")[2].partition("\n#")[0]
    assert "cannot be read" in section and "python -m engine.evaluate" in section


def test_an_evaluation_that_is_being_written_is_left_out(run):
    run.evaluation("other").mkdir()
    assert "### other" not in report.render(run)


def test_an_empty_run_has_a_report_that_says_what_to_do(tmp_path):
    text = report.write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "engine.evaluate" in text
    assert "Not for diagnosis" in text


def test_the_test_split_comes_first_and_none_is_left_out(run):
    for split in ("validation", "elsewhere"):
        store(run, stored(), name=split)
    text = report.render(run)
    titles = ("### Test split", "### validation (test split)", "### elsewhere (test split)")
    places = [text.index(title) for title in titles]
    assert places == sorted(places)


def test_more_than_two_classes_have_a_row_each(run):
    result = stored(class_names=("a", "b", "c"), threshold=None)
    row = {**result.per_class["b"], "auroc": Estimate(0.92), "f1": Estimate(None)}
    store(run, dataclasses.replace(result, per_class={**result.per_class, "b": row}))
    text = report.render(run)
    assert "largest probability" in text
    assert re.search(r"\| b \| 0\.9200 \|.*\| undefined \|", text)
    assert "| true class | predicted a | predicted b | predicted c |" in text


def test_the_report_says_what_the_intervals_are(run):
    text = report.render(run)
    assert "Clopper-Pearson on the effective number of patients" in text
    assert "1,000 bootstrap resamples" in text


def test_the_lowest_of_each_metric_under_a_shift_is_named(run):
    shifted = {
        "none": {"auroc": 0.1, "sensitivity": 0.2, "specificity": None},
        "low contrast": {"auroc": 0.98, "sensitivity": 0.91, "specificity": None},
        "crop|ped": {"auroc": 0.99, "sensitivity": 0.7, "specificity": None},
    }
    store(run, stored(shifts=ShiftResults(shifted)))
    lowest = "AUROC 0.9800 (low contrast), sensitivity 0.7000 (crop\\|ped)"
    assert f"Lowest under any change: {lowest}." in report.render(run)


def test_figures_that_name_no_model_or_another_are_marked(run):
    assert "Out of date" not in report.render(run)  # there is no model to compare with
    run.model.write_bytes(b"a model")
    digest = run.model_digest()
    for model, said in ((None, "a model that is not named"), ("e" * 64, "`eeeeeeeeeeee`")):
        store(run, stored(subject=dataclasses.replace(SUBJECT, model=model)))
        assert f"are of {'' if model is None else 'model '}{said}" in report.render(run)
    store(run, stored(subject=dataclasses.replace(SUBJECT, model=digest)))
    assert "Out of date" not in report.render(run)


def test_where_a_run_was_resumed_is_reported(run):
    environment = files.read_json(run.environment)
    sessions = [{"host": "node-b"}, {"host": "node-a"}]
    files.write_json(run.environment, {**environment, "resumed": sessions})
    assert "- Resumed: 2 times, on node-a, node-b" in report.render(run)


def test_the_report_is_a_pure_function_of_the_run(run):
    assert report.render(run) == report.render(run)


AUDIT = {
    "source": "folder",
    "num_files": 5216,
    "rejected": 3,
    "patients": 2635,
    "duplicate_images": 26,
    "conflicting_labels": 1,
    "leaking_images": 7,
    "dropped": 2,
    "hold_out": {"split": "test", "pattern": "NORMAL2-|_virus_", "images": 900, "removed": 12},
}


def with_data(run, **changes):
    environment = files.read_json(run.environment)
    environment["data"] |= changes
    files.write_json(run.environment, environment)


def test_what_the_build_found_out_about_the_data_is_reported(run):
    with_data(run, audit=AUDIT)
    text = report.render(run)
    for expected in (
        "- Patients: 2,635",
        "- Source: 5,216 files in a folder `folder`",
        "- Left out: 3 files that cannot be read; 2 images that leaked",
        "- Exact copies: 26 images; **1 image under two classes**",
        "- Leaks: **5 images** share a patient or their content with another split",
        "- Held out: 900 images as test by `NORMAL2-|_virus_`; 12 images of their patients left out",
    ):
        assert expected in text, expected
    assert "5 images share a patient" in text.partition("## Limits")[2]


@pytest.mark.parametrize("audit", [None, [], "x", {}, {"patients": "many"}, {"hold_out": 3}])
def test_an_audit_that_is_absent_or_damaged_costs_its_facts_alone(run, audit):
    with_data(run, audit=audit)
    assert "| train | 1 | 4 | 5 |" in report.render(run)


def test_limits_follow_from_what_was_not_measured(run):
    limits = report.render(run).partition("## Limits")[2].partition("\n## ")[0]
    assert "`python -m engine.evaluate --strata` does" in limits and "`--shifts` does" in limits
    assert "NORMAL 30 images, PNEU\\|MONIA 30 images" in limits
    shifted = {"none": {"auroc": 0.1, "sensitivity": 0.2, "specificity": None}}
    store(run, stored(shifts=ShiftResults(shifted)))
    assert "`--shifts` does" not in report.render(run)


def test_settings_at_their_defaults_are_folded_away(run):
    files.write_json(run.config, {"epochs": 12, "seed": 7, "model_settings": {}, "gone": 1})
    assert training_report.changed_settings(files.read_json(run.config)) == [("seed", 7, 0)]
    text = report.render(run)
    assert "| `seed` | `7` | `0` |" in text and "| `gone` | `1` |" in text
    files.write_json(run.config, {"epochs": 12})
    assert "Every setting is at its default." in report.render(run)


def test_what_people_wrote_stands_where_it_belongs(run):
    text = CardText(
        {
            card_text.NAME: "A | name",
            card_text.INTENDED: "For **research**.",
            card_text.LIMITS: "Only children.",
            card_text.LICENCE: "MIT",
            "Ethics": "Approved.",
        }
    )
    shown = report.render(run, text)
    assert "# Report: A \\| name" in shown and "Not written yet" not in shown
    parts = {part.partition("\n")[0]: part for part in shown.split("\n## ")}
    assert "For **research**." in parts["Intended use"]
    assert "Only children." in parts["Limits"]
    assert list(parts)[-2:] == ["Licence", "Ethics"]
    assert "Not written yet" in report.render(run)


def test_a_card_text_survives_and_a_damaged_one_costs_itself_alone(run, capsys):
    run.card_text.write_text("# Intended use\n\nFor research.\n", encoding="utf-8")
    for _ in range(2):
        assert "For research." in report.write_report(run).read_text(encoding="utf-8")
    run.card_text.write_bytes(b"\xff\xfe\x00")
    assert "Not written yet" in report.write_report(run).read_text(encoding="utf-8")
    assert "card.md: cannot be read" in capsys.readouterr().err
    assert run.card_text not in run.owned and run.model_card in run.owned


def test_the_checklist_has_all_items_and_says_only_what_the_report_holds(run):
    assert len(claim_rows(Answers())) == 44
    assert not [row for row in claim_rows(Answers()) if row[2] == HERE]
    topics = {topic: answer for _, topic, answer, _ in claim_rows(Answers(training=True))}
    assert topics["software and versions"] == HERE and topics["funding"] == AUTHOR
    assert topics["external testing"] == AUTHOR
    tested = {topic: answer for _, topic, answer, _ in claim_rows(Answers(external=True))}
    assert tested["external testing"] == PARTLY and tested["internal testing"] == AUTHOR
    text = report.render(run)
    rows = re.findall(r"^\| .* \| (here|partly here|author) \| .* \|$", text, flags=re.MULTILINE)
    assert len(rows) == 44
    counts = [rows.count(answer) for answer in ("here", "partly here", "author")]
    said = re.search(r"answers (\d+) of them, (\d+) in part; (\d+) are its author", text)
    assert [int(number) for number in said.groups()] == counts


@pytest.mark.parametrize(
    ("relation", "answered"),
    [
        (Relation.OTHER, {"external testing": PARTLY, "internal testing": AUTHOR}),
        (Relation.OWN, {"external testing": AUTHOR, "internal testing": HERE}),
    ],
)
def test_other_images_are_external_testing_in_part(run, monkeypatch, relation, answered):
    monkeypatch.setattr(evaluation_ranking, "relation", lambda *_: relation)
    rows = report.render(run).splitlines()
    testing = {row.split(" | ")[1]: row.split(" | ")[2] for row in rows if " testing | " in row}
    assert testing == answered


def test_links_lead_from_elsewhere_to_the_same_files(run, tmp_path):
    report.write_card(run, tmp_path / "hub" / "README.md")
    text = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    links = {link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
    assert "../my%20run/history.png" in links and len(links) == 3
    for link in links:
        assert (tmp_path / "hub" / link.replace("%20", " ")).is_file()


@pytest.mark.parametrize("name", ["a #1", "50%25 (b)", "c?(", "d&amp;e"])
def test_links_lead_into_directories_of_any_name(run, tmp_path, name):
    run = RunDirectory(run.path.rename(tmp_path / name))
    report.write_card(run, tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    links = {link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link}
    assert len(links) == 3 and not any(character in link for link in links for character in "#?& ")
    for link in links:
        assert (tmp_path / unquote(link)).is_file()
    report.write_page(run, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    there = [link for link in re.findall(r'href="([^"#]+)"', page) if "://" not in link]
    for link in there:
        assert (tmp_path / unquote(link)).is_file()


def test_a_page_holds_the_report_and_its_figures(run, tmp_path):
    report.write_page(run, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3  # history, roc, calibration
    assert "0.9850 to 0.9960" in page and "<title>my run</title>" in page
    assert page.count("<details>") == page.count("</details>") == 2


def test_a_card_to_pass_on_names_no_image_directory_or_host(run):
    environment = files.read_json(run.environment)
    environment["data"] |= {
        "shards": "/home/someone/shards",
        "warnings": ["2 images are in two splits, for example test/person7_virus_3.jpeg"],
        "learned_from": [{"flag": "--init-from", "source": "/home/someone/runs/first"}],
    }
    environment["resumed"] = [{"host": "ward-7"}, {"host": "ward-8"}]
    files.write_json(run.environment, environment)
    files.write_json(run.config, {"model": "cnn", "init_from": "/home/someone/runs/first"})
    subject = dataclasses.replace(
        SUBJECT, shards="/home/someone/shards", warnings=("--init-from /home/someone/first knows",)
    )
    directory = run.evaluation("test")
    store(run, stored(subject=subject))
    for name in ("most_wrong.png", "roc.png", "predictions.csv"):
        (directory / name).write_bytes(b"x")
    report.write_report(run)
    own, card = run.report.read_text("utf-8"), run.model_card.read_text("utf-8")
    for told in ("/home/someone", "person7", "ward-7", "most_wrong.png", "predictions.csv"):
        assert told in own and told not in card
    assert "1 warning of the build" in card and "2 times" in card and "first knows" in card
    assert "roc.png" in card and "`shards`" in card


@pytest.mark.parametrize("name", ["image_size", "class_names", "warnings"])
def test_parts_without_a_value_are_left_out(run, name):
    environment = files.read_json(run.environment)
    environment["data"][name] = environment["resumed"] = None
    files.write_json(run.environment, environment)
    assert "## Data" in report.render(run)


def test_links_alone_are_moved_to_another_directory(run, tmp_path):
    run.card_text.write_text(
        '# Data\n\n[a](one.png) [b](<two.png> "b") `[c](three.png)` [d](https://example.org/x)\n\n'
        "```\n[e](four.png)\n```\n",
        "utf-8",
    )
    target = tmp_path / "a\\1 b" / "README.md"
    target.parent.mkdir()
    report.write_card(run, target)
    text = target.read_text("utf-8")
    for expected in ("(../my%20run/one.png)", '(<../my%20run/two.png> "b")', "`[c](three.png)`"):
        assert expected in text
    assert "[e](four.png)" in text and "(https://example.org/x)" in text
