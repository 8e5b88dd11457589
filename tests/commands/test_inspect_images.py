"""`engine.inspect_images` finds what was put into a folder, and shows it on a terminal, a page and in JSON."""

import json
import re
import shutil
import struct
import zlib

import dicom_files
import fake_run
import inspected_images
import numpy as np
import pytest
import stored_runs
from PIL import Image, ImageOps

import engine
from engine import inspect_images
from engine.base.build_settings import BuildConfig
from engine.images.image_folder import Example
from engine.inspection import display, page
from engine.inspection.image_table import FILE_MEASURES
from engine.runs.run_directory import RunDirectory
from engine.shards import builder

ODD_NAMES = ("sp ace.png", "ünï 心.png", "[red]x[.png", "<script>alert(1)<.png", "a|b`*_&lt;.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes in train and test; copies, near copies, a conflict, odd names and bad files."""
    root = inspected_images.two_classes(tmp_path_factory.mktemp("inspected") / "images")
    a, b = root / "train/a", root / "train/b"
    first = next(iter(sorted(a.iterdir())))
    shutil.copy(first, root / "test/a/person900_virus_1.png")  # an exact leak
    shutil.copy(next(iter(sorted(b.iterdir()))), a / "person901_virus_1.png")  # two labels
    near = inspected_images.reencoded(Image.open(sorted((root / "test/b").iterdir())[0]), 60)
    inspected_images.save(near, b / "person902_virus_1.jpg", quality=60)
    mirrored = ImageOps.mirror(Image.open(sorted(a.iterdir())[3]))
    inspected_images.save(mirrored, a / "person903_virus_1.png")
    for number, name in enumerate(ODD_NAMES):
        inspected_images.save(inspected_images.smooth(100 + number), a / name)
    (a / "empty.png").write_bytes(b"")
    (b / "text.jpg").write_text("no image")
    (b / "cut.png").write_bytes(first.read_bytes()[:200])
    inspected_images.save(Image.new("L", (50, 50), 9), b / "blank.png")
    # One patient in both splits.
    inspected_images.save(inspected_images.smooth(200), a / "person77_virus_1.png")
    inspected_images.save(inspected_images.smooth(201), root / "test/b/person77_virus_2.png")
    return root


@pytest.fixture(scope="module")
def inspected(folder, tmp_path_factory):
    """Exit status, and the files written."""
    directory = tmp_path_factory.mktemp("written")
    html, found = directory / "page.html", directory / "found.json"
    status = inspect_images.main(
        [str(folder), "--html", str(html), "--json", str(found), "--samples", "20"]
    )
    return status, html.read_text(encoding="utf-8"), json.loads(found.read_text(encoding="utf-8"))


def paths(group):
    return sorted(image["path"] for image in group["images"])


def test_counts_sizes_and_unreadable_files(folder, inspected):
    status, _, found = inspected
    assert status == 0
    assert found["counts"] == {"train": {"a": 16, "b": 10}, "test": {"a": 9, "b": 9}}
    assert set(found["rejected"]) == {"train/a/empty.png", "train/b/cut.png", "train/b/text.jpg"}
    assert found["rejected"]["train/b/text.jpg"] == "text, not an image"
    for group in found["groups"]:
        own = [
            Image.open(path).size
            for path in (folder / group["split"] / group["class_name"]).iterdir()
            if f"{group['split']}/{group['class_name']}/{path.name}" not in found["rejected"]
        ]
        widths = [size[0] for size in own]
        assert group["images"] == len(own)
        assert group["sizes"]["width"]["mean"] == pytest.approx(np.mean(widths))
        assert group["sizes"]["width"]["low"] == min(widths)
        assert group["sizes"]["width"]["high"] == max(widths)


def test_copies_near_copies_and_leaks(inspected):
    found = inspected[2]["copies"]
    leak, conflict = (paths(group) for group in found["exact"])
    assert leak == ["test/a/person900_virus_1.png", "train/a/person1_virus_0.png"]
    assert {path.split("/")[1] for path in conflict} == {"a", "b"}
    near = {
        (pair["first"]["path"].split("/")[0], pair["second"]["path"].split("/")[0]): pair
        for pair in found["near"]
    }
    assert set(near) == {("test", "train"), ("train", "train")}
    assert "person902" in near["test", "train"]["second"]["path"]
    assert near["train", "train"]["is_mirrored"] and not near["test", "train"]["is_mirrored"]
    assert [image["path"] for image in found["blank"]] == ["train/b/blank.png"]
    assert list(found["patients_in_splits"]) == ["person77"]


def test_warnings_name_leaks_copies_shortcuts_and_unreadable_files(inspected):
    found = inspected[2]
    assert found["class_probes"][0]["measure"] in FILE_MEASURES
    assert found["class_probes"][0]["auroc"]["value"] > 0.8
    said = "\n".join(found["warnings"])
    for text in (
        "patients in two splits: 1",
        "very same content under two classes: 1 (train/a/person901_virus_1.png = train/b/",
        "near copies",
        "separate the classes",
        "cannot be read",
    ):
        assert text in said


def test_names_are_text_on_the_page_and_nothing_of_it_comes_from_elsewhere(inspected):
    page = inspected[1]
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;.png" in page
    assert "a|b`*_&amp;lt;.png" in page and "[red]x[.png" in page and "ünï 心.png" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("data:image/jpeg;base64,") >= 5 and page.count("data:image/png;base64,") >= 4
    assert 'class="missing"' not in page


def test_the_terminal_stays_within_80_columns_and_names_stay_literal(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert inspect_images.main([str(folder), "--workers", "1"]) == 0
    shown = capsys.readouterr()
    # The last line holds the path as it was given.
    longest = max(map(len, shown.out.splitlines()[:-1]))
    assert longest <= 80, shown.out
    assert "train/b/text.jpg" in shown.out and "text, not an image" in shown.out
    assert shown.out.splitlines()[-1] == f"{folder}: 44 images, 3 cannot be read"
    assert "measuring: 47/47 images" in shown.err


def test_samples_follow_the_seed_and_the_paths_alone():
    examples = [Example(f"{name}/{i}.png", name, "") for name in ("a", "b") for i in range(40)]

    def drawn(seed, listed):
        return page.sampled(listed, "b", seed=seed, count=5)

    assert drawn(1, examples) == drawn(1, examples[::-1]) != drawn(2, examples)
    assert len(set(drawn(1, examples))) == 5
    assert {example.class_name for example in drawn(1, examples)} == {"b"}


def test_processes_threads_and_one_worker_find_the_same(folder, monkeypatch):
    alone = engine.inspect(folder, workers=1).to_json()
    together = engine.inspect(folder, workers=2).to_json()
    for found in (alone, together):
        del found["seconds"], found["settings"]
    assert alone == together


def test_shards_tell_what_they_hold_and_say_what_they_do_not(folder, tmp_path, capsys):
    clean = tmp_path / "clean"
    shutil.copytree(folder, clean)
    builder.build(BuildConfig(image_size=(64, 64), workers=1), clean, tmp_path / "shards")
    capsys.readouterr()
    found = engine.inspect(tmp_path / "shards", html=tmp_path / "page.html")
    counts = found.counts
    assert sum(counts["test"].values()) == 18
    assert sum(sum(split.values()) for split in counts.values()) == 44
    assert set(found.rejected) == {"train/a/empty.png", "train/b/cut.png", "train/b/text.jpg"}
    assert "not stored" in found.notes[0]
    assert not any(group.sizes for group in found.groups)
    assert len(found.copies.exact) == 2 and found.copies.patients_in_splits.keys() >= {"person77"}
    display.show(found)
    assert "sizes: mean" not in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["png", "jpeg"])
def test_encoded_shards_are_read_too(image_folder, tmp_path, encoding):
    config = BuildConfig(image_size=(32, 32), channels=3, encoding=encoding, workers=1)
    builder.build(config, image_folder, tmp_path / "shards")
    found = engine.inspect(tmp_path / "shards")
    assert found.num_images == 128 and found.patients.known == 128


def test_three_classes_without_splits(tmp_path, capsys):
    for place, name in enumerate(("dark", "grey", "light")):
        for number in range(6):
            image = inspected_images.smooth(10 * place + number, (50, 50), 60 + 60 * place)
            inspected_images.save(image, tmp_path / "images" / name / f"{number}.jpg")
    found = engine.inspect(tmp_path / "images", group_by="none")
    assert found.counts == {"": {"dark": 6, "grey": 6, "light": 6}}
    assert found.split_probes == () and found.patients.known == 0
    strongest = found.class_probes[0]
    assert strongest.subject in ("dark", "light") and strongest.auroc.value == 1
    display.show(found)
    out = capsys.readouterr().out
    assert "in dark" in out and "in light" in out


def test_one_class_and_an_empty_class_are_looked_at_with_a_note(tmp_path, capsys):
    for number in range(3):
        inspected_images.save(
            inspected_images.smooth(number), tmp_path / "x/only" / f"{number}.png"
        )
    (tmp_path / "x/none").mkdir()
    assert inspect_images.main([str(tmp_path / "x"), "--html", str(tmp_path / "p.html")]) == 0
    out = capsys.readouterr().out
    assert "cannot be trained on" in " ".join(out.split()) and "3 images" in out


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("absent", "no such folder"),
        ("empty", "is empty"),
        ("flat", "holds no class folders"),
        ("bad", "none of 2 files can be read as an image"),
    ],
)
def test_where_there_are_no_images_one_line_says_so(tmp_path, capsys, made, words):
    (tmp_path / "empty").mkdir()
    inspected_images.save(inspected_images.smooth(0), tmp_path / "flat/x.png")
    for name in ("a", "b"):
        (tmp_path / "bad" / name).mkdir(parents=True)
        (tmp_path / "bad" / name / "x.png").write_bytes(b"no image")
    assert inspect_images.main([str(tmp_path / made)]) == 2
    assert words in capsys.readouterr().err


def test_odd_kinds_of_images(tmp_path):
    grey = inspected_images.smooth(0, (80, 60))
    for name in ("a", "b"):
        inspected_images.save(grey.convert("CMYK"), tmp_path / name / "cmyk.jpg")
        inspected_images.save(grey.convert("RGBA"), tmp_path / name / "alpha.png")
        frames = [inspected_images.smooth(seed, (80, 60)) for seed in (0, 1)]
        inspected_images.save(
            frames[0], tmp_path / name / "moving.gif", save_all=True, append_images=frames[1:]
        )
        deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 16)
        inspected_images.save(deep, tmp_path / name / "deep.png")
        (tmp_path / name / "huge.png").write_bytes(png_header(30_000, 30_000))
    found = engine.inspect(tmp_path, workers=1, html=tmp_path / "page.html")
    assert found.counts == {"": {"a": 4, "b": 4}}
    assert "larger than --max-pixels" in found.rejected["a/huge.png"]
    assert found.kinds["mode"].keys() == {"CMYK", "colour, alpha", "palette", "16-bit grey"} or (
        "grey" in found.kinds["mode"]
    )
    assert any("read as 12-bit" in note for note in found.notes)
    brightness = {group.class_name: group.pixels["brightness"] for group in found.groups}
    # The same picture four times: neither depth nor inks nor alpha change how light it is.
    assert brightness["a"].high - brightness["a"].low < 6


def png_header(width, height):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    sizes = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", sizes) + chunk(b"IDAT", zlib.compress(bytes(99)))


def test_headers_of_dicom_files_tell_patients_sizes_and_the_view(tmp_path):
    for place, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        for number in range(6):
            pixels = np.asarray(inspected_images.smooth(10 * place + number)).astype(np.uint16) * 16
            (tmp_path / name / f"{number}.dcm").write_bytes(
                dicom_files.encoded(
                    pixels,
                    bits=12,
                    PatientID=f"P{number // 2}{name}",
                    ViewPosition="PA" if place else "AP",
                )
            )
    found = engine.inspect(tmp_path, html=tmp_path / "page.html")
    assert found.patients.patients == 6 and found.patients.known == 12
    assert found.kinds["format"] == {"DICOM": {"a": 6, "b": 6}}
    assert found.kinds["mode"] == {"12-bit MONOCHROME2": {"a": 6, "b": 6}}
    assert all(group.sizes["width"].mean == 64 for group in found.groups)
    strongest = found.class_probes[0]
    assert strongest.measure in ("view is PA", "view is AP") and strongest.auroc.value == 1
    text = re.sub(r"base64,[^\"]*", "", (tmp_path / "page.html").read_text(encoding="utf-8"))
    assert "P0a" not in text  # pictures may contain any three letters


@pytest.fixture
def brightness_run(tmp_path):
    """A run that calls images above the middle grey PNEUMONIA."""
    return fake_run.make_run(tmp_path / "run")


@pytest.fixture
def labelled(tmp_path):
    """Dark NORMAL and light PNEUMONIA images, one of each under the other's label."""
    for place, name in enumerate(("NORMAL", "PNEUMONIA")):
        for number in range(6):
            wrong = number == 5
            level = 60 if (place == 0) != wrong else 200
            noise = np.random.default_rng(number + 10 * place).normal(level, 9, (24, 32))
            image = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            inspected_images.save(image, tmp_path / "images/test" / name / f"{number}.png")
    return tmp_path / "images"


def test_labels_that_a_run_doubts_are_those_that_are_wrong(
    brightness_run, labelled, capsys, tmp_path
):
    words = [str(labelled), "--run", str(brightness_run), "--html", str(tmp_path / "page.html")]
    assert inspect_images.main(words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "2 labels doubted of 12 that the run judged, of 12 (probabilities predicted now)" in shown
    )
    found = engine.inspect(labelled, run=brightness_run)
    assert {one.example.path for one in found.suspects.images} == {
        "test/NORMAL/5.png",
        "test/PNEUMONIA/5.png",
    }
    assert all(one.of_label < 0.2 < 0.8 < one.probability for one in found.suspects.images)


def test_shards_are_predicted_too_if_they_are_of_the_format_of_the_run(
    brightness_run, labelled, tmp_path, capsys
):
    for name, size in (("own", (12, 16)), ("other", (16, 16))):
        config = BuildConfig(image_size=size, group_by="none", workers=1)
        builder.build(config, labelled, tmp_path / name)
    found = engine.inspect(tmp_path / "own", run=brightness_run)
    assert {one.example.path for one in found.suspects.images} == {
        "test/NORMAL/5.png",
        "test/PNEUMONIA/5.png",
    }
    words = [str(tmp_path / "other"), "--run", str(brightness_run)]
    capsys.readouterr()
    assert inspect_images.main(words) == 2
    said = capsys.readouterr().err
    assert "takes images of another format" in said and "measuring" not in said


def stored(run, fingerprint, *, name="test", doubted=2, **subject):
    """Predictions of the images 0 to 3 of both classes; those with the number `doubted` look light."""
    paths = [f"test/{label}/{i}.png" for label in fake_run.CLASS_NAMES for i in range(4)]
    labels = np.repeat([0, 1], 4)
    log_odds = np.tile([2.0 if i == doubted else -2.0 for i in range(4)], 2)
    subject = {"model": RunDirectory(run).model_digest(), **subject}
    stored_runs.store(
        run, labels, log_odds, name=name, paths=paths, fingerprint=fingerprint, **subject
    )


def test_stored_predictions_are_used_where_they_are_of_these_images_and_of_this_model(
    brightness_run, labelled, capsys
):
    fingerprint = engine.inspect(labelled).fingerprint
    stored(brightness_run, fingerprint)
    suspects = engine.inspect(labelled, run=brightness_run).suspects
    assert suspects.source == "stored by evaluation test" and suspects.judged == 8
    assert "test/NORMAL/2.png" in {one.example.path for one in suspects.images}
    assert "test/NORMAL/5.png" not in {one.example.path for one in suspects.images}
    assert not suspects.were_trained_on
    stored(brightness_run, "of other images")
    assert engine.inspect(labelled, run=brightness_run).suspects.source == "predicted now"
    words = [str(labelled), "--run", str(brightness_run), "--predictions", "stored"]
    capsys.readouterr()
    assert inspect_images.main(words) == 2
    said = capsys.readouterr().err
    assert "no evaluation in it is of these images" in said and "measuring" not in said
    stored(brightness_run, fingerprint, model="e" * 64)  # then training went on
    suspects = engine.inspect(labelled, run=brightness_run).suspects
    assert suspects.source == "predicted now; not used: test, figures of an earlier model"
    assert {one.example.path for one in suspects.images} == {
        "test/NORMAL/5.png",
        "test/PNEUMONIA/5.png",
    }
    capsys.readouterr()
    assert inspect_images.main(words) == 2
    said = capsys.readouterr().err
    assert "cannot be used (test, figures of an earlier model)" in said and "measuring" not in said


def test_a_run_of_other_classes_is_refused_before_anything_is_measured(
    brightness_run, folder, capsys
):
    assert inspect_images.main([str(folder), "--run", str(brightness_run)]) == 2
    said = capsys.readouterr().err
    assert "knows the classes NORMAL, PNEUMONIA" in said and "measuring" not in said


def test_files_with_patients_data_are_announced_as_such(labelled, tmp_path, capsys):
    page_file, json_file = tmp_path / "page.html", tmp_path / "found.json"
    words = [str(labelled), "--html", str(page_file), "--json", str(json_file)]
    assert inspect_images.main(words) == 0
    out = capsys.readouterr().out
    assert "contains images, paths and patient IDs: protect it" in out
    assert "contains paths and patient IDs: protect it" in out
    assert "contains images, paths and patient IDs" in page_file.read_text(encoding="utf-8")


def test_predictions_without_a_run_are_refused(tmp_path):
    with pytest.raises(engine.UserError, match="--run is missing"):
        engine.inspect(tmp_path / "absent", predictions="stored")
