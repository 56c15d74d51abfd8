"""No output of a run tells of the patient: every byte is searched, but those of DICOM objects."""

from __future__ import annotations

import gzip
import io
import json
import logging
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

sys.path.insert(0, str(Path(__file__).parent))
from patients import DESCRIPTION, NEEDED, copy_series, make_series, words
from searching import files_under, leaks

import napari_cam_sam as ncs
from napari_cam_sam.cli import main
from napari_cam_sam.errors import DEBUG_VARIABLE, CamSamError
from napari_cam_sam.images.writing import write_heatmap
from napari_cam_sam.prompts.data import ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.session import Session, image_record, read_session, write_session

DATA = Path(__file__).resolve().parents[2].parent / "shared/data/dicom"
STUDY = """\
dataset: {layout: csv, path: cases.csv}
grid:
  classifiers: lesion
  targets: lesion
  strategies: [ours, truth-box]
  segmenters: [seeded]
"""
QUICK = (
    "--architecture", "small-cnn", "--epochs", "1", "--input-size", "32", "32", "--device", "cpu",
    "--batch-size", "4",
)  # fmt: skip

Told = Callable[[], list[tuple[str, bytes]]]


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the tracebacks that the tests ask for: libraries quote headers in them."""
    monkeypatch.delenv(DEBUG_VARIABLE)


@pytest.fixture
def told(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[Told]:
    """Give all that was printed, logged or warned of so far, and forget it."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")

        def give() -> list[tuple[str, bytes]]:
            out, err = capfd.readouterr()
            texts = {
                "printed": out,
                "errors": err,
                "log": "\n".join(repr((r.getMessage(), r.exc_text)) for r in caplog.records),
                "warnings": "\n".join(str(one.message) for one in raised),
            }
            caplog.clear()
            raised.clear()
            return [(name, text.encode()) for name, text in texts.items()]

        yield give


@pytest.fixture(
    params=["made", pytest.param("real", marks=[pytest.mark.real_data, pytest.mark.slow])]
)
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A series with everything about its patient, in a folder whose name tells nothing."""
    if request.param == "made":
        return make_series(tmp_path / "scan")
    if not DATA.is_dir():
        pytest.skip("real DICOM is not beside the project")
    return copy_series(DATA / "ct_3slice", tmp_path / "scan")


def labels_of(image: ncs.Image) -> np.ndarray:
    """Label a disc that is on no border."""
    _, rows, columns = image.spatial_shape
    row, column = np.ogrid[:rows, :columns]
    inside = (row - rows * 0.47) ** 2 + (column - columns * 0.53) ** 2 < (rows / 5.2) ** 2
    labels = np.zeros(image.spatial_shape, np.uint8)
    labels[:, inside] = 1
    return labels


def run(*argv: object) -> None:
    assert main([str(one) for one in argv]) == 0


def test_no_output_tells_of_the_patient(scan: Path, tmp_path: Path, told: Told) -> None:
    image = ncs.read_image(scan)
    objects = tmp_path / "objects"
    objects.mkdir()
    liver = [ncs.Segment(1, "Liver")]
    for name in ("seg.dcm", "labelmap.dcm", "rtstruct.dcm"):
        ncs.write_labels(objects / name, labels_of(image), image, segments=liver)
    write_heatmap(objects / "map.dcm", labels_of(image) * np.float32(0.5), image)
    seg, out = objects / "seg.dcm", tmp_path / "out"
    outputs = told()

    run("series", scan)
    run("series", scan, "--json")
    shown = told()
    assert all(DESCRIPTION.encode() in text for _, text in shown[:1])  # that is for the screen

    heatmap = ("--classifier", "lesion", "--target", "lesion", "--segmenter", "seeded")
    run("run", scan, *heatmap, "--truth", seg, "--output", out / "run")
    run("run", scan, *heatmap, "--truth", seg, "--output", out / "run2", "--json", "--propagate")
    found = json.loads((out / "run/run.json").read_text())
    assert {path.name for path in (out / "run").iterdir()} >= {
        "heatmap.nii.gz", "labels.nii.gz", "prompts.json", "scores.csv", "overview.png", "run.json"
    }  # fmt: skip
    assert (found["image"]["series"], len(found["image"]["sha256"])) == (
        pydicom.dcmread(next(scan.iterdir())).SeriesInstanceUID, 64,
    )  # fmt: skip

    scored = ("--prediction", out / "run/labels.nii.gz", "--image", scan, "--each", "plane")
    run("metrics", *scored, "--truth", seg)
    run("metrics", *scored, "--truth", objects / "rtstruct.dcm", "--json")
    sizes = ("--output", out / "sizes.csv", "--report", objects / "sizes.dcm")
    run("measure", scan, "--labels", seg, *sizes)
    run("measure", scan, "--labels", seg, "--json")
    run("trust", scan, "--classifier", "lesion", "--planes", "1:2", "--stages", 2, "--draws", 1)

    for name in ("scan.nii.gz", "scan.nrrd", "scan.mha", "scan.mgz"):
        run("convert", scan, out / name)
    run("convert", seg, out / "liver.seg.nrrd", "--json")
    run("convert", objects / "rtstruct.dcm", out / "liver.nii.gz", "--on", scan)

    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", scan))
    (tmp_path / "cases.csv").write_text(f"image,truth\n{packed.name},objects/seg.dcm\nno,no\n")
    (tmp_path / "study.yaml").write_text(STUDY)
    run("study", tmp_path / "study.yaml", "--output", out / "study")
    run("report", out / "study", "--pictures", 1)
    assert (out / "study/report.html").is_file()
    (tmp_path / "samples.csv").write_text(
        "path,label,plane,group\n"
        + "".join(f"{packed.name},{'ab'[k % 2]},{k % len(image.data)},g{k}\n" for k in range(12))
    )
    samples = (tmp_path / "samples.csv", "--no-join-copies", *QUICK)
    run("train", *samples, "--output", out / "model")

    outputs += [*told(), *files_under(out)]
    assert leaks(outputs, [*words(), DESCRIPTION]) == []
    assert leaks(shown, set(words()) - {"2017-04-11", "2017-04-12"}) == []


def test_a_session_knows_a_series_by_uid_and_hash(scan: Path, tmp_path: Path, told: Told) -> None:
    image = ncs.read_image(scan)
    plane = PlanePrompts(0, 1, (ObjectPrompt(1, (Point(30, 34),)),))
    session = Session(
        image_record(image), {}, (plane,), ((0, 1),), (), ({"dice": 0.5},), labels_of(image)
    )
    write_session(tmp_path / "session", session, image)
    record = json.loads((tmp_path / "session/session.json").read_text())["image"]
    assert record["series"] == pydicom.dcmread(next(scan.iterdir())).SeriesInstanceUID
    assert len(record["sha256"]) == 64
    read_session(tmp_path / "session")
    assert leaks([*told(), *files_under(tmp_path / "session")], [*words(), DESCRIPTION]) == []


def test_written_objects_hold_what_an_archive_wants_and_no_more(
    scan: Path, tmp_path: Path, told: Told
) -> None:
    image = ncs.read_image(scan)
    for name in ("seg.dcm", "labelmap.dcm", "rtstruct.dcm"):
        ncs.write_labels(tmp_path / name, labels_of(image), image)
    write_heatmap(tmp_path / "map.dcm", labels_of(image) * np.float32(0.5), image)
    run("measure", scan, "--labels", tmp_path / "seg.dcm", "--report", tmp_path / "sr.dcm")
    files = [*tmp_path.glob("*.dcm")]
    assert len(files) == 5
    for file in files:
        data = pydicom.dcmread(file)
        assert {key: str(data[key].value) for key in NEEDED} == NEEDED, file.name
    written = [(file.name, file.read_bytes()) for file in files]
    assert leaks([*written, *told()], [*words(needed=False), DESCRIPTION]) == []


def test_other_formats_hold_nothing(scan: Path, tmp_path: Path, told: Told) -> None:
    image = ncs.read_image(scan)
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.nii.gz", "a.seg.nrrd", "a.nrrd", "a.mha", "a.mgz"):
        ncs.write_labels(out / name, labels_of(image), image, segments=[ncs.Segment(1, "Liver")])
    for name in ("h.nii.gz", "h.nrrd", "h.mha"):
        write_heatmap(out / name, labels_of(image) * np.float32(0.5), image)
    assert leaks([*files_under(out), *told()], [*words(), DESCRIPTION]) == []


def test_folders_in_the_given_one_are_not_named(tmp_path: Path, told: Told) -> None:
    inner = make_series(tmp_path / "scan" / "Grünäugl Jørgæn ZQX-81-4711" / "20170411")
    image = ncs.read_image(tmp_path / "scan")
    labels = labels_of(image)
    run("run", tmp_path / "scan", "--prompts", "truth-box", "--segmenter", "seeded", "--output",
        tmp_path / "out", "--truth", _seg(tmp_path / "seg.dcm", labels, image))  # fmt: skip
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for file in inner.iterdir():
            archive.write(file, file.relative_to(tmp_path))
    run("series", tmp_path / "scan.zip", "--json")
    shown = told()
    for file in inner.iterdir():  # gone, or changed, when they are needed again
        file.unlink()
    said = []
    for name in ("seg.dcm", "rtstruct.dcm", "map.dcm"):
        write = write_heatmap if name == "map.dcm" else ncs.write_labels
        with pytest.raises(CamSamError) as caught:
            write(tmp_path / name, labels / 2 if name == "map.dcm" else labels, image)
        said.append((name, str(caught.value).encode()))
    fresh = ncs.read_image(make_series(tmp_path / "scan" / "Grünäugl Jørgæn").parent)
    for file in (tmp_path / "scan").rglob("*.dcm"):
        file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(CamSamError) as caught:
        np.asarray(fresh.data)
    said.append(("pixels", str(caught.value).encode()))
    outputs = [*told(), *files_under(tmp_path / "out"), *said]
    assert leaks(outputs, words()) == []
    assert leaks(shown, set(words()) - {"2017-04-12"}) == []


def _seg(path: Path, labels: np.ndarray, image: ncs.Image) -> Path:
    ncs.write_labels(path, labels, image)
    return path


def _broken(tag: str, kind: str, value: bytes) -> Callable[[pydicom.Dataset], None]:
    """Put a value where it cannot be, as it lies in a file."""

    def change(data: pydicom.Dataset) -> None:
        number = Tag(tag)
        data._dict[number] = RawDataElement(number, kind, len(value), value, 0, False, True)

    return change


NAME = "Grünäugl ".encode()
DAMAGE = {
    "spacing": _broken("PixelSpacing", "DS", NAME),
    "position": _broken("ImagePositionPatient", "DS", b"ZQX-81-4711 "),
    "orientation": _broken("ImageOrientationPatient", "DS", NAME),
    "slope": _broken("RescaleSlope", "DS", NAME),
    "rows": _broken("Rows", "IS", NAME),
    "frames": _broken("NumberOfFrames", "IS", b"ZQX-81-4711 "),
    "number": _broken("SeriesNumber", "IS", NAME),
    "instance": _broken("InstanceNumber", "IS", b"ZQX-81-4711 "),
    "charset": _broken("SpecificCharacterSet", "CS", b"ZQX-81-4711 "),
    "windows": _broken("WindowCenter", "DS", NAME),
    "study date": _broken("StudyDate", "DA", NAME),
    "study time": _broken("StudyTime", "TM", b"ZQX-81-4711 "),
    "birth date": _broken("PatientBirthDate", "DA", NAME),
    "a sequence": _broken("ModalityLUTSequence", "SQ", NAME),
    "bits": _broken("BitsStored", "IS", NAME),
    "photometric": _broken("PhotometricInterpretation", "CS", b"ZQX-81-4711 "),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_errors_on_broken_headers_quote_nothing(name: str, tmp_path: Path, told: Told) -> None:
    folder = make_series(tmp_path / "scan")
    sound = ncs.read_image(folder)
    truth = _seg(tmp_path / "seg.dcm", labels_of(sound), sound)
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        DAMAGE[name](data)
        data.save_as(path)
    told()  # pydicom says what was just broken
    start = ("--prompts", "truth-box", "--segmenter", "seeded", "--json")
    codes = [
        main(["series", str(folder)]),
        main(["run", str(folder), *start, "--truth", str(truth), "--output", str(tmp_path / "o")]),
        main(["measure", str(folder), "--labels", str(truth), "--report", str(tmp_path / "r.dcm")]),
    ]
    assert set(codes) <= {0, 2}
    try:
        image = ncs.read_image(folder)
        for kind in ("new.dcm", "newrtstruct.dcm"):
            ncs.write_labels(tmp_path / kind, labels_of(sound), image)
    except CamSamError as error:
        print(error)
    outputs = [*told(), *files_under(tmp_path / "o")]
    assert leaks(outputs, set(words()) - {"2017-04-12", "2017-04-11"}) == []


def test_errors_on_torn_files_quote_nothing(tmp_path: Path, told: Told) -> None:
    folder = make_series(tmp_path / "scan")
    image = ncs.read_image(folder)
    seg = _seg(tmp_path / "seg.dcm", labels_of(image), image)
    contours = _seg(tmp_path / "rtstruct.dcm", labels_of(image), image)
    rng = np.random.default_rng(0)
    for file in (next(folder.iterdir()), seg, contours):
        content = file.read_bytes()
        for cut in rng.integers(140, min(len(content), 6000), 12):
            torn = tmp_path / "torn.dcm"
            torn.write_bytes(content[:cut])
            main(["series", str(torn)])
            main(
                ["metrics", "--prediction", str(torn), "--truth", str(seg), "--image", str(folder)]
            )
        for _ in range(12):
            bent = np.frombuffer(content, np.uint8).copy()
            bent[rng.integers(132, min(len(bent), 4000), 3)] = rng.integers(0, 256, 3)
            torn.write_bytes(bent.tobytes())
            main(["run", str(torn), "--prompts", "truth-box", "--truth", str(seg), "--json",
                  "--segmenter", "seeded", "--output", str(tmp_path / "o")])  # fmt: skip
            main(["measure", str(folder), "--labels", str(torn), "--report", str(tmp_path / "r")])
    shutil.rmtree(tmp_path / "o", ignore_errors=True)
    assert leaks(told(), set(words()) - {"2017-04-12", "2017-04-11"}) == []


def test_the_search_finds_what_is_hidden(tmp_path: Path) -> None:
    text = "x Grünäugl x"
    packed = io.BytesIO()
    info = PngInfo()
    info.add_text("Comment", text, zip=True)
    Pillow.new("L", (2, 2)).save(packed, "PNG", pnginfo=info)
    arrays = io.BytesIO()
    np.savez_compressed(arrays, a=np.array([text]))
    hidden = {
        "text": text.encode(),
        "json": json.dumps(text).encode(),
        "page": text.replace("ü", "&#252;").replace("ä", "&#228;").encode(),
        "gzip": gzip.compress(text.encode("latin-1")),
        "png": packed.getvalue(),
        "npz": arrays.getvalue(),
    }
    for where, content in hidden.items():
        assert leaks([(where, content)], ["Grünäugl"]), where
    assert not leaks([("none", b"x Gruen x")], ["Grünäugl"])
