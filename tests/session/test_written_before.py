"""Sessions and prompts that version 0.1.0 wrote before its schemas were pydantic's still open."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.prompts.serialise import from_json, to_json
from napari_cam_sam.sam.run_length import RunLengthMask
from napari_cam_sam.session import Acceptance, image_record, read_session, write_session

FOLDER = Path(__file__).parent / "written_by_0_1_0"
VALUES = np.arange(120).reshape(4, 5, 6).astype(np.int16)
OBJECTS = (
    ObjectPrompt(
        1,
        (Point(2, 3, True, "cam", 0.5), Point(0.5, 1, False)),
        Box(1, 1, 4, 5.5, "truth", 0.25),
    ),
    ObjectPrompt(7, (), Box(0, 0, 2, 2)),
)
PROMPTS = (PlanePrompts(0, 3, OBJECTS), PlanePrompts(1, 2, (), "empty heatmap"))
KEPT = RunLengthMask(2, (5, 6), (10, 5, 15))
ACCEPTED = (
    Acceptance(PROMPTS[0], (1, -1), "keep", "models/ä \\x41.pth", "a" * 64, (-100.0, 300.0)),
    Acceptance(
        PlanePrompts(0, 2), (), "overwrite", "seeded", "b" * 64, None, "propagated", "bfloat16",
        (KEPT,),
    ),
)  # fmt: skip


def test_a_session_opens_as_it_was() -> None:
    session = read_session(FOLDER)
    image = image_from_array(VALUES, name="scan \\x41")
    assert session.image == image_record(image)
    assert session.prompts == PROMPTS
    assert session.accepted == ACCEPTED
    assert session.touched == ((0, 3), (1, 2))
    path = {"path": "a\\x5cb"}
    assert session.choices == {"contrast_limits": [0.0, 500.0], "plane": [0, 3], **path}
    assert session.scores == ({"metric": "dice", "value": 0.5, "n": None},)
    assert session.versions["napari-cam-sam"] == "0.1.0"
    assert session.labels is not None
    expected = np.zeros(VALUES.shape, np.uint8)
    expected[3, 1:3, 1:4] = 1
    np.testing.assert_array_equal(session.labels, expected)


def test_a_session_is_written_as_it_was(tmp_path: Path) -> None:
    write_session(tmp_path, read_session(FOLDER), image_from_array(VALUES, name="scan \\x41"))
    written, before = (
        json.loads((folder / "session.json").read_text("utf-8")) for folder in (tmp_path, FOLDER)
    )
    for name in ("saved_at", "versions"):
        del written[name], before[name]
    before["labels"]["sha256"] = written["labels"]["sha256"]  # as tifffile's version writes it
    assert written == before


def test_prompts_open_and_are_written_as_they_were() -> None:
    text = (FOLDER / "prompts.json").read_text("utf-8")
    assert from_json(text) == PROMPTS
    assert to_json(PROMPTS) == text
