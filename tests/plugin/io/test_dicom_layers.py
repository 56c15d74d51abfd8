"""DICOM in the viewer: series chosen and placed, what was drawn on them, and refusals in words."""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pydicom
import pytest
from npe2 import PluginManager
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QMessageBox

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))
sys.path.insert(0, str(Path(__file__).parents[2] / "images/dicom"))
from dicom_files import change, make_file, stored

from dicom_series import LPS, write_series
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.dicom.reading import read_dicom
from napari_cam_sam.images.dicom.source import DicomSource
from napari_cam_sam.images.hashing import image_hash
from napari_cam_sam.images.reading import read_labels
from napari_cam_sam.images.segments import Segment
from napari_cam_sam.images.writing import write_labels
from napari_cam_sam.plugin.io import dicom_reader, series_dialog
from napari_cam_sam.plugin.io.series_dialog import SeriesDialog
from napari_cam_sam.plugin.layers.conversion import image_of
from napari_cam_sam.plugin.layers.layer_geometry import file_of, geometry_of
from napari_cam_sam.plugin.prompts.prompts_dock import PromptsDock
from napari_cam_sam.plugin.qt.saving import ask_path, heatmap_saving, labels_saving
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.session import check_session_image, image_record, read_session, write_session
from napari_cam_sam.session.data import Session

DATA = Path(__file__).parents[4] / "shared/data/dicom"
AFFINE = LPS @ np.array([[0, 0, 0.7, -30], [0, 0.7, 0, -20], [2.5, 0, 0, 40], [0, 0, 0, 1.0]])
TURN = np.linalg.qr(np.array([[0.1, 0.2, 0.9], [0.3, 0.9, -0.2], [0.9, -0.3, 0.1]]))[0]
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3], OBLIQUE[:3, 3] = TURN * (2.5, 0.7, 0.8), (-40, 12.5, 100)
PLUGIN = "napari-cam-sam"


def values(count: int = 5) -> np.ndarray:
    return np.arange(count * 12 * 16, dtype=np.int16).reshape(count, 12, 16)


def series(folder: Path, affine: np.ndarray = AFFINE, **tags: Any) -> Path:
    """Write a series; ``tags`` are set in each file."""
    write_series(folder, values(), affine)
    for path in sorted(folder.iterdir()):
        change(path, **tags)
    return folder


def two_series(tmp_path: Path) -> Path:
    folder = tmp_path / "both"
    for number in (1, 2):
        series(
            folder / str(number), StudyInstanceUID="1.2", SeriesInstanceUID=f"1.2.{number}",
            SeriesNumber=number, SeriesDescription=("plain", "contrast")[number - 1],
        )  # fmt: skip
    return folder


def open_path(viewer: Any, path: Path) -> list[Any]:
    layers: list[Any] = viewer.open(path, plugin=PLUGIN)
    return layers


def answer(act: Callable[[Any], None]) -> list[Any]:
    """Do something with the question that is asked next."""
    seen: list[Any] = []

    def look() -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, SeriesDialog | QMessageBox):
            QTimer.singleShot(20, look)
            return
        seen.append(dialog)
        try:
            act(dialog)
        finally:  # a test that fails must not wait for an answer
            if dialog.isVisible():
                dialog.reject()

    QTimer.singleShot(20, look)
    return seen


def drawn(image: Any, path: Path, **more: Any) -> np.ndarray:
    labels = np.zeros(image.spatial_shape, np.uint8)
    labels[1:4, 2:8, 3:9] = 1
    labels[2, 8:11, 10:15] = 2
    segments = [Segment(1, "Liver", (221, 130, 101)), Segment(2, "Lesion")]
    write_labels(path, labels, image, segments=segments, **more)
    return labels


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE], ids=["axial", "oblique"])
def test_a_folder_of_one_series_opens_at_once_in_its_place(
    viewer: Any, tmp_path: Path, affine: np.ndarray, notices: list[str]
) -> None:
    folder = series(
        tmp_path / "scan", affine, WindowCenter=["40", "300"], WindowWidth=["400", "1500"],
        WindowCenterWidthExplanation=["SOFT", "BONE"],
    )  # fmt: skip
    (layer,) = open_path(viewer, folder)
    image = read_dicom(folder)
    np.testing.assert_array_equal(layer.data, np.asarray(image.data))
    assert geometry_of(layer).matches(image.geometry) is None
    np.testing.assert_allclose(layer.scale, image.geometry.spacing)
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert layer.contrast_limits == [-160, 240]
    file = file_of(layer)
    assert file is not None
    assert isinstance(file.source, DicomSource)
    assert file.source.series_uid == image.source.series_uid
    assert [name for name, _, _ in image_of(layer).windows] == ["SOFT", "BONE"]
    assert notices == []


def test_large_series_are_decoded_by_the_slice(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_reader, "_LAZY_BYTES", 100)
    folder = series(tmp_path / "scan")
    asked: list[int] = []
    fetch = dicom_reader._lazy

    def counted(volume: Any) -> Any:
        decode = volume._decode
        volume._decode = lambda index: (asked.append(index), decode(index))[1]
        return fetch(volume)

    monkeypatch.setattr(dicom_reader, "_lazy", counted)
    (layer,) = open_path(viewer, folder)
    assert isinstance(layer.data, da.Array)
    assert layer.data.chunksize == (1, 12, 16)
    assert len(set(asked)) < len(values())
    np.testing.assert_array_equal(np.asarray(layer.data), np.asarray(read_dicom(folder).data))


def test_of_several_series_one_is_chosen_by_the_keyboard(viewer: Any, tmp_path: Path) -> None:
    def choose(dialog: SeriesDialog) -> None:
        table = dialog.table
        table = dialog.table
        rows = [[table.item(row, column).text() for column in range(1, 7)] for row in (0, 1)]
        assert rows[0] == ["CT", "1", "plain", "2020-01-02", "12 × 16", "5"]
        assert rows[1][1:3] == ["2", "contrast"]
        for _ in range(100):
            QTest.qWait(50)
            if not dialog.table.cellWidget(1, 0).pixmap().isNull():
                break
        assert not dialog.table.cellWidget(1, 0).pixmap().isNull()
        QTest.keyClick(dialog.table, Qt.Key.Key_Down)
        QTest.keyClick(dialog, Qt.Key.Key_Return)

    seen = answer(choose)
    (layer,) = open_path(viewer, two_series(tmp_path))
    assert isinstance(seen[0], SeriesDialog)
    assert layer.metadata["napari_cam_sam"]["image"].source.series_uid == "1.2.2"
    assert layer.name == "CT 2"  # a description may hold whatever was typed


def test_a_double_click_opens_a_series(viewer: Any, tmp_path: Path) -> None:
    def choose(dialog: SeriesDialog) -> None:
        table = dialog.table
        where = table.visualItemRect(table.item(1, 3)).center()
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)
        QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=where)

    answer(choose)
    (layer,) = open_path(viewer, two_series(tmp_path))
    assert layer.name == "CT 2"  # a description may hold whatever was typed


def test_escape_opens_nothing_and_says_so(viewer: Any, tmp_path: Path, notices: list[str]) -> None:
    answer(lambda dialog: QTest.keyClick(dialog, Qt.Key.Key_Escape))
    assert open_path(viewer, two_series(tmp_path)) == []
    assert not viewer.layers
    assert notices == ["Nothing was opened of both."]


@pytest.mark.parametrize(("word", "spacings"), [("as-is", None), ("even", 5), ("Cancel", None)])
def test_uneven_slices_are_a_question(
    viewer: Any, tmp_path: Path, word: str, spacings: int | None, notices: list[str]
) -> None:
    folder = series(tmp_path / "gap")
    missing = sorted(folder.iterdir(), key=lambda p: pydicom.dcmread(p).ImagePositionPatient[2])[2]
    missing.unlink()

    def press(box: Any) -> None:
        assert "1 slice is missing" in box.text()
        (button,) = (one for one in box.buttons() if word in one.text())
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    answer(press)
    layers = open_path(viewer, folder)
    if word == "Cancel":
        assert layers == []
        assert notices == ["Nothing was opened of gap."]
        return
    (layer,) = layers
    source = layer.metadata["napari_cam_sam"]["image"].source
    assert len(layer.data) == (spacings or 4)
    assert len(source.frames) == 4
    assert source.resampled == (word == "even")
    assert ("resampled" in layer.name) == (word == "even")
    assert len(notices) == 1  # what was decided is said


@pytest.mark.parametrize("suffix", ["", ".dcm"])
def test_a_file_of_a_slice_opens_with_suffix_or_without(
    viewer: Any, tmp_path: Path, suffix: str
) -> None:
    (path, *_) = sorted(series(tmp_path / "scan").iterdir())
    name = shutil.move(path, tmp_path / f"IM-0001-0001{suffix}")
    readers = {r.command for r in PluginManager.instance().iter_compatible_readers([str(name)])}
    assert f"{PLUGIN}.read_dicom" in readers
    (layer,) = open_path(viewer, Path(name))
    assert layer.data.shape == (1, 12, 16)


def test_a_zip_opens(viewer: Any, tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    (layer,) = open_path(viewer, tmp_path / "scan.zip")
    np.testing.assert_array_equal(layer.data, np.asarray(read_dicom(folder).data))


def test_points_in_time_are_frames_with_files_of_their_own(viewer: Any, tmp_path: Path) -> None:
    folder = tmp_path / "cine"
    folder.mkdir()
    every = stored(9)
    for index in range(9):
        frame, place = divmod(index, 3)
        make_file(
            folder / f"{index}", every[index], ImagePositionPatient=[0, 0, 2.0 * place],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0], InstanceNumber=index + 1,
            TemporalPositionIdentifier=frame + 1, AcquisitionNumber=frame + 1,
        )  # fmt: skip
    (layer,) = open_path(viewer, folder)
    assert layer.data.shape == (3, 3, 5, 4)
    assert layer.axis_labels == ("t", "z", "y", "x")
    np.testing.assert_allclose(layer.scale, (1, 2, 0.5, 0.75))
    for frame in range(3):
        image = image_of(layer, frame)
        expected = read_dicom(folder, frame)
        np.testing.assert_array_equal(np.asarray(image.data), np.asarray(expected.data))
        assert image.source == expected.source
        assert image_hash(image) == image_hash(expected)


def test_pictures_keep_their_files(viewer: Any, tmp_path: Path) -> None:
    path = make_file(tmp_path / "hand.dcm", stored(1)[0], Modality="DX", PixelSpacing=[0.2, 0.3])
    (layer,) = open_path(viewer, path)
    assert layer.ndim == 2
    image = image_of(layer)
    assert image.geometry.spacing == pytest.approx((0.2, 0.3))
    assert isinstance(image.source, DicomSource)
    layer.translate = (5, 5)
    assert image_of(layer).source is None  # it is not where its file says


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "This folder is empty"), ("text.dcm", "not a DICOM file"),
        ("text.zip", "truncated or damaged"), ("none.dcm", "does not exist"),
        ("short.dcm", "truncated"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_said_and_raises_nothing(
    viewer: Any, tmp_path: Path, name: str, words: str, notices: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for one in ("text.dcm", "text.zip"):
        (tmp_path / one).write_bytes(b"no scan " * 100)
    whole = make_file(tmp_path / "whole", stored(1)[0]).read_bytes()
    (tmp_path / "short.dcm").write_bytes(whole[:-9])
    assert dicom_reader.read_dicom_layers(str(tmp_path / name)) == [(None,)]
    (said,) = notices
    assert words in said
    assert "Möller" not in said


def test_folders_without_dicom_are_left_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(30):
        (tmp_path / f"{index:02d}.png").write_bytes(b"picture")
    assert dicom_reader.get_reader(str(tmp_path)) is None
    looked: list[Path] = []
    monkeypatch.setattr(dicom_reader, "_LOOKED_AT", 10)
    monkeypatch.setattr(
        "napari_cam_sam.images.dicom.opening.looks_like_dicom", lambda path: looked.append(path)
    )
    assert dicom_reader.get_reader(str(tmp_path)) is None
    assert len(looked) == 10


@pytest.mark.parametrize("name", ["seg.dcm", "labelmap.dcm", "rtstruct.dcm"])
def test_what_was_drawn_opens_on_its_series(
    viewer: Any, tmp_path: Path, name: str, notices: list[str]
) -> None:
    folder = series(tmp_path / "scan", OBLIQUE)
    labels = drawn(read_dicom(folder), tmp_path / name)
    assert open_path(viewer, tmp_path / name) == []
    (said,) = notices
    assert "This was drawn on the series" in said
    assert "is not open" in said
    (image,) = open_path(viewer, folder)
    (layer,) = open_path(viewer, tmp_path / name)
    np.testing.assert_array_equal(layer.data, labels)
    np.testing.assert_allclose(layer.extent.world, image.extent.world)
    assert list(layer.features["name"]) == ["background", "Liver", "Lesion"]
    np.testing.assert_allclose(layer.get_color(1)[:3], np.array((221, 130, 101)) / 255, atol=0.02)
    # napari's own saving, by another name, gives the same with the same names.
    layer.save(str(tmp_path / "again.dcm"), plugin=PLUGIN)
    back = read_labels(tmp_path / "again.dcm", like=read_dicom(folder))
    np.testing.assert_array_equal(back.data, labels)
    assert [one.name for one in back.segments] == ["Liver", "Lesion"]


def test_labels_over_no_series_are_no_dicom_segmentation(viewer: Any, tmp_path: Path) -> None:
    layer = viewer.add_labels(np.ones((3, 4, 5), np.uint8))
    data, meta, _ = layer.as_layer_data_tuple()
    from napari_cam_sam.plugin.io.writer import write_drawn_layer

    with pytest.raises(CamSamError, match="does not lie over a series"):
        write_drawn_layer(str(tmp_path / "x.dcm"), data, meta)


def test_a_segmentation_is_opened_as_the_truth(viewer: Any, tmp_path: Path, qtbot: Any) -> None:
    folder = series(tmp_path / "scan")
    open_path(viewer, folder)
    labels = drawn(read_dicom(folder), tmp_path / "seg.dcm")
    dock = PromptsDock(viewer)
    viewer.window.add_dock_widget(dock)
    row = dock.truth.truth_row
    row.open_file(tmp_path / "seg.dcm")
    qtbot.waitUntil(lambda: "Its labels are" in row.words.text(), timeout=60_000)
    truth = workspace_of(viewer).truth()
    assert truth is not None
    np.testing.assert_array_equal(truth.data, labels)
    assert "1 (Liver)" in row.words.text()
    assert list(truth.features["name"]) == ["background", "Liver", "Lesion"]


@pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")
def test_overlapping_segments_are_a_layer_each(viewer: Any, qtbot: Any) -> None:
    open_path(viewer, DATA / "ct_3slice")
    layers = open_path(viewer, DATA / "ct_3slice_overlaps_seg.dcm")
    assert [layer.name for layer in layers] == ["GREEN, LIGHT_BLUE, DARK_BLUE", "ORANGE", "PURPLE"]
    dock = PromptsDock(viewer)
    viewer.window.add_dock_widget(dock)
    row = dock.truth.truth_row
    row.open_file(DATA / "ct_3slice_overlaps_seg.dcm")
    qtbot.waitUntil(lambda: "Its labels are" in row.words.text(), timeout=60_000)
    assert "they are 3 layers" in row.words.text()
    assert workspace_of(viewer).truth().name.startswith("GREEN")


@pytest.mark.parametrize(
    ("typed", "kind", "name"),
    [
        ("liver", 0, "liver.dcm"), ("liver", 1, "liver.rtstruct.dcm"),
        ("liver.dcm", 1, "liver.rtstruct.dcm"), ("liver.nii.dcm", 0, "liver.dcm"),
        ("liver", 2, "liver.nii.gz"),
    ],
)  # fmt: skip
def test_labels_of_a_series_are_saved_as_what_is_chosen(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, kind: int, name: str
) -> None:
    folder = series(tmp_path / "scan")
    (layer,) = open_path(viewer, folder)
    labels = workspace_of(viewer).layers.labels("labels")
    labels.data[1:3, 4:9, 5:10] = 1
    saving = labels_saving(labels, image_of(layer))
    assert saving.folder == tmp_path  # beside the series, not among its files
    assert [suffix for _, suffix in saving.kinds][:4] == [
        ".dcm",
        ".rtstruct.dcm",
        ".nii.gz",
        ".nii",
    ]

    def ask(_parent: Any, _title: str, start: str, kinds: str) -> tuple[str, str]:
        return str(Path(start).with_name(typed)), kinds.split(";;")[kind]

    monkeypatch.setattr(QFileDialog, "getSaveFileName", ask)
    path = ask_path(None, saving)  # type: ignore[arg-type]
    assert path == tmp_path / name
    saving.write(path)
    back = read_labels(path, like=read_dicom(folder))
    np.testing.assert_array_equal(np.asarray(back.data) > 0, labels.data > 0)
    if name.endswith(".dcm"):
        kinds = {"rtstruct.dcm": "RTSTRUCT"}
        expected = next((v for k, v in kinds.items() if name.endswith(k)), "SEG")
        assert pydicom.dcmread(path).Modality == expected


def test_a_heatmap_of_a_series_is_saved_as_a_parametric_map(viewer: Any, tmp_path: Path) -> None:
    (layer,) = open_path(viewer, series(tmp_path / "scan"))
    heatmap = workspace_of(viewer).layers.add("heatmap", 0)
    heatmap.data = np.linspace(0, 1, heatmap.data.size, dtype=np.float32).reshape(5, 12, 16)
    saving = heatmap_saving(heatmap, image_of(layer))
    assert saving.kinds[-1][1] == ".dcm"
    saving.write(tmp_path / "map.dcm")
    assert pydicom.dcmread(tmp_path / "map.dcm").SOPClassUID == "1.2.840.10008.5.1.4.1.1.30"


def test_nothing_is_suggested_on_a_medium_that_cannot_be_written(
    viewer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layer,) = open_path(viewer, series(tmp_path / "disc" / "scan"))
    labels = workspace_of(viewer).layers.labels("labels")
    monkeypatch.setattr("napari_cam_sam.plugin.qt.saving.os.access", lambda *_: False)
    assert labels_saving(labels, image_of(layer)).folder == Path.home()


def test_a_session_names_a_series_by_its_uid_and_no_patient(viewer: Any, tmp_path: Path) -> None:
    folder = series(tmp_path / "scan", PatientName="Möller^Änne", PatientID="ID4711")
    (layer,) = open_path(viewer, folder)
    image = image_of(layer)
    record = image_record(image)
    assert record.series == image.source.series_uid
    write_session(tmp_path / "work", Session(record), image)
    text = (tmp_path / "work" / "session.json").read_text(encoding="utf-8")
    assert record.series in text
    assert not any(word in text for word in ("Möller", "M\\u00f6ller", "ID4711"))
    session = read_session(tmp_path / "work")
    assert session.image == record
    # Wherever its files lie now, and whatever they are called.
    moved = shutil.move(folder, tmp_path / "elsewhere")
    check_session_image(session, read_dicom(moved))
    other = series(tmp_path / "other", SeriesInstanceUID="1.2.3.9")
    with pytest.raises(CamSamError, match=r"its series is 1\.2\.3\.9"):
        check_session_image(session, read_dicom(other))


def test_without_a_window_errors_are_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_reader, "_has_window", lambda: False)
    with pytest.raises(CamSamError, match="This holds 2 series"):
        dicom_reader.read_dicom_layers(str(two_series(tmp_path)))


def test_a_search_can_be_ended(viewer: Any, tmp_path: Path, notices: list[str]) -> None:
    class Ended(series_dialog.QProgressDialog):  # type: ignore[misc, name-defined]
        def wasCanceled(self) -> bool:  # noqa: N802
            return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(series_dialog, "QProgressDialog", Ended)
        assert open_path(viewer, two_series(tmp_path)) == []
    assert notices == ["Nothing was opened of both."]
