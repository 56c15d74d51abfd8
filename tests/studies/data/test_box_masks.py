"""Masks made of boxes: a data set of its own, with a segmenter that fills boxes with an ellipse."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image as Picture

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.studies.cases import Case, Dataset, read_case
from napari_cam_sam.studies.data.box_masks import write_box_masks
from napari_cam_sam.studies.data.datasets import read_dataset


def cells(shape, *centres, radius=8):
    """Draw bright cells on a dark, slightly noisy background."""
    rows, columns = np.indices(shape)
    mask = np.zeros(shape, bool)
    for row, column in centres:
        mask |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    noise = np.random.default_rng(0).integers(0, 20, shape)
    return (np.where(mask, 200, 30) + noise).astype(np.uint8), mask


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(values).save(path)


def test_malaria(tmp_path):
    """Two infected cells of an image become a mask; an image without any stays as it is."""
    image, mask = cells((60, 90), (20, 20), (40, 65))
    save(tmp_path / "images/a.png", image)
    save(tmp_path / "images/b.png", image)
    boxes = [(12, 12, 29, 29), (32, 57, 49, 74)]
    objects = [
        {
            "category": "ring",
            "bounding_box": {"minimum": {"r": r0, "c": c0}, "maximum": {"r": r1, "c": c1}},
        }
        for r0, c0, r1, c1 in boxes
    ]
    entries = [
        {"image": {"pathname": "/images/a.png"}, "objects": objects},
        {"image": {"pathname": "/images/b.png"}, "objects": []},
    ]
    (tmp_path / "training.json").write_text(json.dumps(entries))
    told = []
    listed = write_box_masks(
        read_dataset("bbbc041", tmp_path),
        load_segmenter("seeded"),
        tmp_path / "made",
        lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 2), (2, 2)]
    found = read_dataset("csv", listed)
    assert found.problems == ()
    assert [(c.image_id, c.label, c.group, c.split) for c in found.cases] == [
        ("a", "infected", "a", "training"),
        ("b", "uninfected", "b", "training"),
        ("sam/a", "infected", "a", "training"),
    ]
    of_boxes, made = (read_case(found.cases[i])[1].data for i in (0, 2))
    assert int(of_boxes.sum()) == 2 * 17 * 17
    assert (made.astype(bool) & mask).sum() / (made.astype(bool) | mask).sum() > 0.8
    # A second time nothing is made again.
    mask = found.cases[2].truths[0]
    before = mask.stat().st_mtime_ns
    dataset = read_dataset("bbbc041", tmp_path)
    assert write_box_masks(dataset, load_segmenter("seeded"), tmp_path / "made") == listed
    assert mask.stat().st_mtime_ns == before
    # Boxes come back as they were.
    again = read_dataset("bbbc041", tmp_path).cases[0].boxes
    assert found.cases[0].boxes == again


def test_masks_beside_boxes(tmp_path):
    image, mask = cells((50, 50), (25, 25))
    save(tmp_path / "in/benign/x (1).png", image)
    save(tmp_path / "in/benign/x (1)_mask.png", mask)
    dataset = read_dataset("busi", tmp_path / "in", truth_as="both")
    listed = write_box_masks(dataset, load_segmenter("seeded"), tmp_path / "made")
    found = read_dataset("csv", listed)
    assert [c.image_id for c in found.cases] == ["boxes/x (1)", "mask/x (1)", "sam/x (1)"]
    assert {c.group for c in found.cases} == {"x (1)"}
    np.testing.assert_array_equal(read_case(found.cases[1])[1].data, mask)


def test_damaged_image_stays_a_case(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    case = Case("a", tmp_path / "a.png", boxes=(Box(0, 0, 5, 5),))
    listed = write_box_masks(Dataset("d", (case,)), load_segmenter("seeded"), tmp_path / "made")
    assert [c.image_id for c in read_dataset("csv", listed).cases] == ["a"]


def test_semicolon(tmp_path):
    case = Case("a", tmp_path / "a;b.png")
    with pytest.raises(CamSamError, match="semicolon"):
        write_box_masks(Dataset("d", (case,)), load_segmenter("seeded"), tmp_path)


def test_names_that_a_spreadsheet_would_run_come_back(tmp_path):
    """The table of cases is written for spreadsheets, and read as what it means."""
    bad = os.fsdecode(b"Bild \xe4")
    image, _ = cells((40, 50), (20, 20))
    save(tmp_path / f"{bad}.png", image)
    box = Box(12, 12, 29, 29, source="truth")
    cases = (
        Case("=1+1", tmp_path / f"{bad}.png", boxes=(box,), label="@SUM(A1)", group="-x"),
        Case("'=quoted", tmp_path / f"{bad}.png", boxes=(box,), label="+", split="-1"),
    )
    listed = write_box_masks(Dataset("d", cases), load_segmenter("seeded"), tmp_path / "made")
    for row in csv.reader(listed.read_text(encoding="utf-8").splitlines()):
        for cell in row:
            assert cell == "-1" or cell[:1] not in ("=", "+", "-", "@")
    found = {case.image_id: case for case in read_dataset("csv", listed).cases}
    assert set(found) == {"=1+1", "'=quoted", "sam/=1+1", "sam/'=quoted"}
    first = found["=1+1"]
    assert (first.label, first.group, found["'=quoted"].label) == ("@SUM(A1)", "-x", "+")
    assert first.image.samefile(tmp_path / f"{bad}.png")
