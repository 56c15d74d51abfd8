"""Names of files that are not UTF-8, or hold what no console, table or picture takes as it is."""

from __future__ import annotations

import csv
import io
import json
import os
import warnings
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

import napari_cam_sam as ncs
from napari_cam_sam.cli import main
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.session import Session, image_record, read_session, write_session
from napari_cam_sam.studies.config.plan import read_study
from napari_cam_sam.studies.run.runner import run_study
from napari_cam_sam.text import (
    PRINTED,
    cell_text,
    drawn,
    find_file,
    plain_cell,
    recorded,
    restored,
    shown,
)

LATIN = os.fsdecode(b"Bild \xe4")
NAMES = {
    "latin-1": LATIN,
    "half of UTF-8": os.fsdecode(b"a\xc3"),
    "line break": "two\nlines",
    "escape sequence": "\x1b[31mred",
    "HTML": "<b>bold&amp;",
    "turned": "abc\u202egnp",
    "Arabic": "صورة",
    "Chinese": "图像",
    "emoji": "heart \N{SPARKLING HEART}",
    "mathtext": "$x^{2$ and $\\frac",
    "formula": "=1+cmd|'calc'!A0",
    "like an escape": r"Bild \xe4",
    "escaped escape": r"a\x5cxe4",
}


def draw(path: Path, bright: bool = True) -> None:
    rows, columns = np.indices((40, 48))
    inside = ((rows - 20) / 9) ** 2 + ((columns - 22) / 8) ** 2 <= 1
    rng = np.random.default_rng(crc32(os.fsencode(path.name)))
    noise = rng.normal(90, 12, inside.shape)
    if not bright:
        noise = np.kron(rng.normal(90, 40, (5, 6)), np.ones((8, 8)))
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = "mask" in path.parent.name
    pixels = inside * 255 if mask else np.clip(noise + 100 * (inside & bright), 0, 255)
    Pillow.fromarray(pixels.astype(np.uint8)).save(path)


def run(*argv: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main([str(one) for one in argv]) == 0


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_recorded_name_is_text_and_leads_back_to_the_file(name: str) -> None:
    text = recorded(name)
    assert restored(text) == name
    text.encode()
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    assert shown(shown(name)) == shown(name)
    assert plain_cell(cell_text(text)) == text
    assert drawn(name).encode()


def test_the_rules_of_names_by_example() -> None:
    assert recorded(LATIN) == r"Bild \xe4"
    assert recorded(r"Bild \xe4") == r"Bild \x5cxe4"
    assert recorded("a\nb\u202ec") == r"a\x0ab\u202ec"
    assert recorded("C:\\Users\\x\\ä.png") == "C:\\Users\\x\\ä.png"
    assert shown("a\nb", keep="\n") == "a\nb"
    assert str(CamSamError(f"No {LATIN}.")) == r"No Bild \xe4."
    assert "\udce4\u56fe".encode("latin-1", PRINTED) == rb"\xe4?"
    assert [cell_text(t) for t in ("=1", "-x", "@a", "+", "-1.5", "'=1", "it's", "-inf")] == [
        "'=1", "'-x", "'@a", "'+", "-1.5", "''=1", "it's", "-inf",
    ]  # fmt: skip


def test_a_table_names_files_as_they_are_and_as_recorded(tmp_path: Path) -> None:
    (tmp_path / LATIN).touch()
    assert find_file(tmp_path, r"Bild \xe4") == tmp_path / LATIN
    (tmp_path / r"Bild \xe4").touch()
    assert find_file(tmp_path, r"Bild \xe4") == tmp_path / r"Bild \xe4"
    assert find_file(tmp_path, r"Bild \x5cxe4") == tmp_path / r"Bild \xe4"


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_run_writes_all_of_an_image_of_any_name(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, truth = tmp_path / f"{name}.png", tmp_path / "masks" / f"{name}.png"
    draw(image)
    draw(truth)
    argv = ["run", image, "--truth", truth, "--prompts", "truth-box", "--sam", "seeded"]
    run(*argv)  # the folder is named after the image
    out = tmp_path / f"{name}-cam-sam"
    record = json.loads((out / "run.json").read_text())
    assert Path(restored(record["image"]["path"])) == image.resolve()
    assert restored(record["command"][1]) == str(image) or record["command"][1] == str(image)
    assert (out / "overview.png").stat().st_size > 10_000
    assert pd.read_csv(out / "scores.csv")["dice"].iloc[0] > 0.7
    assert "\x1b" not in capsys.readouterr().out
    run(*argv, "--json")
    capsys.readouterr().out.encode()
    run("metrics", "--prediction", out / "labels.png", "--truth", truth, "--json")
    run(
        "prompts", "--mask", truth, "--strategy", "truth-box", "--output", tmp_path / f"{name}.json"
    )
    assert (tmp_path / f"{name}.json").is_file()
    run("embed", image, "--segmenter", "compact-sam")


def test_a_study_of_images_of_all_names_in_a_folder_of_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its tables, its page and its pictures, and a second run that finds all done."""
    folder = tmp_path / f"{LATIN} \n$"
    for name in NAMES.values():
        for part in ("images", "masks"):
            draw(folder / "set" / part / f"{name}.png")
    study = folder / f"study {LATIN}.yaml"
    study.write_text(
        "dataset: {layout: folders, path: set}\n"
        "grid: {strategies: [truth-box, truth-point], segmenters: [seeded]}\n"
    )
    out = folder / "out"
    run("study", study, "--output", out)
    table = run_study(read_study(study), out).table
    assert set(table["case"]) == {recorded(name) for name in NAMES.values()}
    assert (table["status"] == "ok").all()
    with (out / "results.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {plain_cell(row["case"]) for row in rows} == set(table["case"])
    assert not any(row["case"].startswith("=") for row in rows)
    capsys.readouterr()
    run("study", study, "--output", out, "--dry-run")
    said = capsys.readouterr().out
    assert f"of which {len(NAMES)} are finished" in said
    assert r"\xe4" in said
    run("report", out)
    page = next(out.glob("*.html")).read_text(encoding="utf-8")
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold" in page
    assert page.count("data:image/png") > 0


def test_a_table_of_images_leads_to_files_that_are_not_utf8(tmp_path: Path) -> None:
    """The names in a table are those of records: of a study, and of images to train on."""
    for name in (LATIN, "=plain"):
        for part in ("images", "masks"):
            draw(tmp_path / part / f"{name}.png")
    (tmp_path / "cases.csv").write_text(
        "id,image,truth\n"
        f"'=1,images/{recorded(LATIN)}.png,masks/{recorded(LATIN)}.png\n"
        ",images/=plain.png,masks/=plain.png\n"
    )
    (tmp_path / "s.yaml").write_text(
        "dataset: {layout: csv, path: cases.csv}\n"
        "grid: {strategies: [truth-box], segmenters: [seeded]}\n"
    )
    run("study", tmp_path / "s.yaml", "--output", tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "results.parquet")
    assert set(table["case"]) == {"=1", "images/=plain"}
    assert set(pd.read_csv(tmp_path / "out" / "results.csv")["case"]) == {"'=1", "images/=plain"}


def test_a_classifier_learns_from_folders_that_are_not_utf8(tmp_path: Path) -> None:
    bad = os.fsdecode(b"L\xe4sion")
    for name in (bad, "=none"):
        for number in range(8):
            draw(tmp_path / "set" / name / f"{LATIN}{number}.png", bright=False)
    (tmp_path / "set" / bad / f"{LATIN}.txt").touch()
    out = tmp_path / f"out {LATIN}"
    argv = ["train", tmp_path / "set", "--output", out, "--preset", "scratch", "--epochs", "1"]
    run(*argv, "--architecture", "small-cnn", "--batch-size", "4", "--input-size", "32", "32")
    record = json.loads((out / "training.json").read_text())
    record_text = json.dumps(record, ensure_ascii=False)
    record_text.encode()
    assert r"Bild \\xe4" in record_text
    with next(out.glob("*.csv")).open(newline="", encoding="utf-8") as stream:
        header, *rows = list(csv.reader(stream))
    assert "'=none" in header
    assert r"L\xe4sion" in header
    assert {Path(restored(row[0])).exists() for row in rows} == {True}
    classifier = ncs.load_classifier(next(out.glob("*.safetensors")))
    assert set(classifier.card.class_names) == {r"L\xe4sion", "=none"}


def test_a_session_finds_its_image_and_its_choices_again(tmp_path: Path) -> None:
    path = tmp_path / f"{LATIN}.png"
    draw(path)
    image = ncs.read_image(path)
    choices = {"docks": {"classifier": str(path), "texts": ["a\nb", r"a\xe4"]}}
    session = Session(image_record(image), choices=choices)
    write_session(tmp_path / LATIN, session, image)
    text = (tmp_path / LATIN / "session.json").read_text()
    json.dumps(json.loads(text), ensure_ascii=False).encode()
    again = read_session(tmp_path / LATIN)
    assert again.image.path == str(path.resolve())
    assert again.choices == choices
    run("replay", tmp_path / LATIN)


def test_an_error_names_the_file_on_any_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for encoding in ("utf-8", "ascii", "cp1252"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr("sys.stderr", stream)
        assert main(["run", str(tmp_path / f"{LATIN}.png")]) == 2
        stream.flush()
        said = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
        assert r"Bild \xe4.png" in said
        assert said.count("\n") == 1
