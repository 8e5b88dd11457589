"""Sets with other classes, and with metadata, are measured as far as they fit the run."""

import json

import fake_run
import pytest

from engine import evaluate
from engine.base import files
from engine.base.setting_values import parse_class_mapping, parse_strata
from engine.evaluation import class_mapping

NAMES = ("Infiltration", "No Finding", "Pneumonia")
LEVELS = [60, 50, 210, 70, 40, 190, 80, 45, 200, 90, 140, 120]
LABELS = [0, 1, 2] * 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fake_run.make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    images = fake_run.grey_images(LEVELS)
    patients = [f"p{i // 2}" for i in range(12)]
    return fake_run.make_shards(
        tmp_path_factory.mktemp("shards"),
        images,
        LABELS,
        patients,
        class_names=NAMES,
        fingerprint="e" * 64,
    )


@pytest.fixture
def metadata(tmp_path):
    rows = [f"{i}.png,{'AP' if i % 4 else 'PA'},{i}" for i in range(11)]
    files.write_text(tmp_path / "metadata.csv", "\n".join(["file,view,age", *rows]))
    return tmp_path / "metadata.csv"


def measure(run, shards, *flags):
    return evaluate.main([str(run), str(shards), "--resamples", "200", "--name", "other", *flags])


def results(run, name="other"):
    return json.loads((run / "evaluation" / name / "metrics.json").read_text(encoding="utf-8"))


def test_mapped_classes_are_measured_and_others_counted(run, shards, metadata, capsys):
    flags = ("--classes", "No Finding=NORMAL,Pneumonia=PNEUMONIA", "--shifts")
    assert measure(run, shards, *flags, "--strata", f"{metadata}:view,age:4,8") == 0
    found = results(run)
    assert found["class_names"] == ["NORMAL", "PNEUMONIA"]
    assert found["num_examples"] == 8 and found["left_out"] == {"Infiltration": 4}
    # Of NORMAL the levels are 50, 40, 45, 140; of PNEUMONIA 210, 190, 200, 120.
    assert found["confusion_matrix"] == [[3, 1], [1, 3]]
    rows = (run / "evaluation" / "other" / "predictions.csv").read_text(encoding="utf-8")
    assert len(rows.splitlines()) == 9 and "Infiltration" not in rows
    view, age = found["strata"]
    assert {each["name"]: each["num_examples"] for each in view["strata"]} == {"AP": 5, "PA": 2}
    assert (view["source"], view["num_without"]) == ("metadata.csv", 1)
    assert [each["name"] for each in age["strata"]] == ["under 4", "4 to under 8", "8 and over"]
    shifts = json.loads((run / "evaluation" / "other" / "shifts.json").read_text(encoding="utf-8"))
    assert shifts["none"]["accuracy"] == found["accuracy"]["value"]
    printed, said = capsys.readouterr()
    assert max(map(len, printed.splitlines()[:-2])) <= 80
    assert "AUROC within view" in printed and "shortcut probe" in printed
    assert "No Finding as NORMAL, Pneumonia as PNEUMONIA; 4 images of Infiltration left out" in said
    assert (run / "evaluation" / "other" / "strata.png").stat().st_size > 1000
    report = (run / "report.md").read_text(encoding="utf-8")
    for expected in ("Left out: 4 images of Infiltration.", "#### By view", "#### By age"):
        assert expected in report
    assert "Hardest set measured: other (test split)" in report
    assert "Within view: AUROC " in report and "](evaluation/other/strata.png)" in report


def test_two_classes_may_be_one_of_the_run(run, shards):
    flags = ("--classes", "Pneumonia=PNEUMONIA,Infiltration=PNEUMONIA,No Finding=NORMAL")
    assert measure(run, shards, *flags, "--name", "two-in-one") == 0
    assert results(run, "two-in-one")["num_examples"] == 12
    assert results(run, "two-in-one")["confusion_matrix"] == [[3, 1], [5, 3]]


def test_the_same_classes_in_another_order_need_no_mapping(tmp_path, run):
    shards = fake_run.make_shards(
        tmp_path / "s",
        fake_run.grey_images([50, 200]),
        [1, 0],
        ["", ""],
        class_names=fake_run.CLASS_NAMES[::-1],
    )
    assert measure(run, shards, "--name", "turned") == 0
    values = files.read_json(run / "evaluation" / "turned" / "metrics.json")
    assert values["confusion_matrix"] == [[1, 0], [0, 1]]
    assert values["class_names"] == list(fake_run.CLASS_NAMES)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "say which is which by --classes"),
        (
            ("--classes", "No Finding=normal"),
            "the run has no class 'normal'; expected one of NORMAL",
        ),
        (("--classes", "Nofinding=NORMAL"), "no class 'Nofinding'; did you mean 'No Finding'?"),
        (("--classes", "NORMAL"), "expected SHARDS' NAME=RUN'S NAME"),
        (("--strata", "metadata.csv"), "expected FILE.csv:COLUMN"),
        (("--strata", "{metadata}:vieew"), "has no column 'vieew'"),
        (("--strata", "absent.csv:view"), "absent.csv: cannot be read"),
        (("--strata", "{metadata}:view:1,2"), "AP"),
    ],
)
def test_wrong_mappings_and_columns_are_refused_in_one_line(
    run, shards, metadata, flags, said, capsys
):
    flags = [flag.format(metadata=metadata) for flag in flags]
    if flags and flags[0] == "--strata":
        flags += ["--classes", "No Finding=NORMAL,Pneumonia=PNEUMONIA"]
    assert measure(run, shards, *flags, "--name", "refused") == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (run / "evaluation" / "refused" / "metrics.json").exists()


def test_columns_and_distances_are_checked_before_the_model_is_loaded(
    run, shards, metadata, monkeypatch, capsys
):
    monkeypatch.setattr("engine.inference.ensemble.load", lambda *_, **__: pytest.fail("loaded"))
    flags = ("--classes", "No Finding=NORMAL,Pneumonia=PNEUMONIA", "--name", "refused")
    assert measure(run, shards, *flags, "--strata", f"{metadata}:view:1,2") == 2
    assert measure(run, shards, *flags, "--abstain") == 2
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert "view" in first and "--abstain: " in second


def test_figures_of_other_classes_neither_replace_those_of_the_set_nor_lead(tmp_path):
    run = fake_run.make_run(tmp_path / "run")
    images = fake_run.grey_images([40, 60, 190, 210])
    shards = fake_run.make_shards(tmp_path / "shards", images, [0, 0, 1, 1], [""] * 4)
    whole, swapped = "NORMAL=NORMAL,PNEUMONIA=PNEUMONIA", "NORMAL=PNEUMONIA,PNEUMONIA=NORMAL"
    command = [str(run), str(shards), "--resamples", "200"]
    assert evaluate.main([*command, "--classes", swapped]) == 0
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "Hardest set" not in report and "No unseen set was measured as it is" in report
    assert evaluate.main([*command, "--classes", whole]) == 0
    before = (run / "evaluation" / "test" / "metrics.json").read_bytes()
    assert json.loads(before)["auroc"]["value"] == 1
    assert evaluate.main([*command, "--classes", "NORMAL=NORMAL", "--name", "test"]) == 2
    assert (
        evaluate.main([*command, "--classes", "NORMAL=NORMAL"]) == 2
    )  # `test-mapped` is another one
    assert (run / "evaluation" / "test" / "metrics.json").read_bytes() == before
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "Hardest set measured: Test split, AUROC 1.0000" in report
    assert "do not stand for this set" in report.replace("\n", " ")


def test_flags_of_classes_and_strata_are_read_as_written():
    assert parse_class_mapping("a b = N ,c=P") == {"a b": "N", "c": "P"}
    assert parse_class_mapping(r"a\, b=N\=1,c=P") == {"a, b": "N=1", "c": "P"}
    proposed = class_mapping.example(["a, b", "c=d", "e"], ["e", "N,1", "P"])
    assert parse_class_mapping(proposed) == {"e": "e", "a, b": "N,1", "c=d": "P"}
    file, columns = parse_strata("C:\\x\\meta.csv:view,age:18,40.5,sex")
    assert str(file) == "C:\\x\\meta.csv"
    assert columns == [("view", None), ("age", (18, 40.5)), ("sex", None)]
    for wrong in ("a=b,a=c", "a", "=b", "a=", "a=b=c"):
        with pytest.raises(ValueError, match="expected"):
            parse_class_mapping(wrong)
    for wrong in ("meta.csv", "meta.csv:", "meta.csv:age:old", "meta.csv:age:40,18", "m.csv:a,,b"):
        with pytest.raises(ValueError, match="expected"):
            parse_strata(wrong)
