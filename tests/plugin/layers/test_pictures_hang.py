"""Pictures of runs and of reports hang as the viewer shows the same planes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

import napari_cam_sam as ncs
from napari_cam_sam.images.geometry import default_geometry, hanging
from napari_cam_sam.images.windows import WindowParameters
from napari_cam_sam.pipeline.overview import draw_overview
from napari_cam_sam.plugin.io.reader import read_nifti_layers
from napari_cam_sam.plugin.viewer.attach import workspace_of
from napari_cam_sam.studies.cases import Case
from napari_cam_sam.studies.config.settings import Setting
from napari_cam_sam.studies.report.cases import view_case
from napari_cam_sam.studies.report.figures import case_picture
from napari_cam_sam.studies.run.models import Models

# nibabel's codes of the axes (i, j, k), of both hands; the last is turned by some degrees.
CODES = ["RAS", "LPS", "LAS", "RPI", "PSR", "IAL", "oblique"]
BODY, MARK, LESION = 60, 250, 140


def volume(code: str) -> tuple[NDArray[np.int16], NDArray[np.uint8], NDArray[np.float64]]:
    """Give a body in (i, j, k), with a mark where right, front and head meet, and a lesion."""
    turned = code == "oblique"
    codes = "LPS" if turned else code
    data = np.full((18, 22, 26), BODY, np.int16)
    data[-5:, -5:, -5:] = MARK
    truth = np.zeros(data.shape, np.uint8)
    truth[6:11, 7:13, 11:18] = 1
    data[truth == 1] = LESION
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    there = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    affine = affine @ nib.orientations.inv_ornt_aff(there, data.shape)
    if turned:
        a = np.radians(15)
        turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        affine[:3] = turn @ affine[:3]
    flipped = [nib.orientations.apply_orientation(one, there) for one in (data, truth)]
    return flipped[0], flipped[1], affine


def saved(code: str, folder: Path) -> tuple[Path, Path]:
    data, truth, affine = volume(code)
    paths = folder / "scan.nii", folder / "truth.nii"
    for values, path in zip((data, truth), paths, strict=True):
        image = nib.Nifti1Image(values, affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, path)
    return paths


def first_panel(picture: Any) -> NDArray[np.int_]:
    """Cut the panel of the image out of a picture: what is neither white nor text."""
    gray = np.asarray(Pillow.open(picture).convert("L")).astype(int)
    body = gray == BODY
    columns = np.flatnonzero(body.sum(axis=0) > 15)
    columns = columns[: np.append(np.flatnonzero(np.diff(columns) > 3), len(columns) - 1)[0] + 1]
    rows = np.flatnonzero(body[:, columns].sum(axis=1) > 10)
    rows = rows[: np.append(np.flatnonzero(np.diff(rows) > 3), len(rows) - 1)[0] + 1]
    return gray[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def corner(panel: NDArray[np.int_]) -> tuple[bool, bool]:
    """Say whether the mark lies at the bottom, and on the right."""
    rows, columns = np.nonzero(panel > 200)
    assert len(rows) > 20
    return bool(rows.mean() > panel.shape[0] / 2), bool(columns.mean() > panel.shape[1] / 2)


def run(paths: tuple[Path, Path], axis: int, index: int) -> Any:
    image, truth = ncs.read_image(paths[0]), ncs.read_labels(paths[1])
    parameters = ncs.RunParameters(
        axis=axis, planes=range(index, index + 1), strategy="truth-box",
        window=WindowParameters("limits", 0, 255),
    )  # fmt: skip
    return ncs.run_image(image, ncs.load_segmenter("seeded"), None, parameters, truth), truth


def marked_plane(values: NDArray[Any], axis: int) -> int:
    """Give the plane nearest to the lesion's middle that cuts the mark."""
    others = tuple(a for a in range(3) if a != axis)
    there = np.flatnonzero((values == MARK).any(axis=others))
    middle = np.flatnonzero((values == LESION).any(axis=others)).mean()
    return int(there[np.abs(there - middle).argmin()])


@pytest.mark.parametrize("code", CODES)
def test_the_overview_hangs_as_the_viewer_does(code: str, viewer: Any, tmp_path: Path) -> None:
    paths = saved(code, tmp_path)
    ((values, meta, _),) = read_nifti_layers(str(paths[0]))
    viewer.add_image(values, **{**meta, "contrast_limits": (0, 255)})
    viewer.show()
    for axis in range(3):
        index = marked_plane(np.asarray(values), axis)
        workspace_of(viewer).show_plane(axis, index)
        viewer.reset_view()
        for one in getattr(getattr(viewer, "canvas", None), "overlays", {}).values():
            one.visible = False  # letters are no part of the body
        shot = viewer.screenshot(canvas_only=True, flash=False)[..., 0].astype(int)
        rows, columns = np.nonzero(shot > 30)
        body = shot[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        result, truth = run(paths, axis, index)
        draw_overview(tmp_path / "o.png", result, truth)
        panel = first_panel(tmp_path / "o.png")
        assert corner(panel) == corner(body)
        # Front, head and right, which the mark is at, are where the letters say.
        letters = hanging(result.image.geometry, axis).letters
        assert letters is not None
        assert corner(panel) == (letters[1] in "ASR", letters[3] in "ASR") == (False, False)
        assert panel.shape[0] / panel.shape[1] == pytest.approx(
            body.shape[0] / body.shape[1], rel=0.1
        )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_letters_are_of_the_sides_that_nibabel_names(axis: int, tmp_path: Path) -> None:
    for code in CODES:
        image = ncs.read_image(saved(code, tmp_path)[0])
        codes = nib.aff2axcodes(nib.load(tmp_path / "scan.nii").affine)[::-1]  # our axes
        assert image.geometry.affine is not None
        view = hanging(image.geometry, axis)
        row, column = (a for a in range(3) if a != axis)
        assert view.letters is not None
        top, bottom, left, right = view.letters
        assert codes[row] == (top if view.flip_rows else bottom)
        assert codes[column] == (left if view.flip_columns else right)
        assert {top, left} <= set("SAR")


def test_pictures_and_stacks_without_a_place_are_shown_as_they_are() -> None:
    for ndim in (2, 3):
        view = hanging(default_geometry(ndim), 0)
        assert (view.flip_rows, view.flip_columns, view.letters) == (False, False, None)
        assert view.limits((5, 7)) == ((-0.5, 6.5), (4.5, -0.5))


@pytest.mark.parametrize("code", ["RAS", "LPS"])
def test_pictures_of_a_report_hang_alike_with_the_mask_on_its_place(
    code: str, tmp_path: Path
) -> None:
    paths = saved(code, tmp_path)
    index = marked_plane(np.asarray(ncs.read_image(paths[0]).data), 1)
    result, truth = run(paths, 1, index)
    setting = Setting("one", None, "seeded", result.parameters)
    view = view_case(Case("scan", paths[0], (paths[1],)), setting, Models("cpu"))
    picture = base64.b64decode(case_picture(view).partition(",")[2])
    panel = first_panel(io.BytesIO(picture))
    draw_overview(tmp_path / "o.png", result, truth)
    assert view.hanging == hanging(result.image.geometry, 1)
    assert corner(panel) == corner(first_panel(tmp_path / "o.png"))
