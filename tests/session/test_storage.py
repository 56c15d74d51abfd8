"""Sessions: saved whole whenever the program dies, read back the same, and run again."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_cam_sam.cli import main
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.demo.volumes import ct
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image, image_from_array
from napari_cam_sam.images.reading import read_image, read_labels
from napari_cam_sam.images.windows import WindowParameters, apply_window, resolve_window
from napari_cam_sam.images.writing import write_image
from napari_cam_sam.pipeline import segment_plane
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.run_length import encode_mask
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates
from napari_cam_sam.session import (
    SINGLE,
    Acceptance,
    MaskSource,
    Session,
    check_session_image,
    chosen_masks,
    image_record,
    place_masks,
    read_session,
    replay,
    write_session,
)

WINDOW = (-150.0, 250.0)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CT-like volume as NIfTI, oblique."""
    phantom = ct(5, shape=(8, 64, 64))
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    affine = phantom.affine[:, [2, 1, 0, 3]]
    nib.save(nib.Nifti1Image(phantom.hounsfield.transpose(2, 1, 0), affine), path)
    return path


@pytest.fixture(scope="module")
def image(scan: Path) -> Image:
    return read_image(scan)


def accept(
    axis: int,
    index: int,
    objects: tuple[ObjectPrompt, ...],
    candidates: tuple[int, ...],
    overlap: Any = "keep",
    segmenter: str = "seeded",
    window: tuple[float, float] | None = WINDOW,
) -> Acceptance:
    digest = load_segmenter(segmenter).model_hash
    prompts = PlanePrompts(axis, index, objects)
    return Acceptance(prompts, candidates, overlap, segmenter, digest, window)


def by_hand(image: Image, accepted: tuple[Acceptance, ...]) -> np.ndarray:
    """What the labels must be, pixel by pixel, by the words of the rule alone."""
    labels = np.zeros(image.spatial_shape, np.int32)
    for one in accepted:
        segmenter = load_segmenter(one.segmenter)
        where = image.plane_index(one.prompts.axis, one.prompts.index)
        parameters = WindowParameters("limits", *one.window) if one.window else None
        window = resolve_window(image, parameters)
        plane = apply_window(image.plane(one.prompts.axis, one.prompts.index), window)
        embedding = segmenter.encode(plane)
        masks = []
        several = segmenter.decode(embedding, one.prompts.objects, multimask=True)
        single = segmenter.decode(embedding, one.prompts.objects, multimask=False)
        for i, chosen in enumerate(one.candidates):
            found = single[i].masks[0] if chosen == SINGLE else several[i].masks[chosen]
            masks.append((several[i].object_id, found))
        labels[where] = slowly_placed(labels[where], masks, one.overlap)
    return labels


def slowly_placed(plane: np.ndarray, masks: Any, overlap: str) -> np.ndarray:
    out = plane.copy()
    ids = {object_id for object_id, _ in masks}
    for at in np.ndindex(*plane.shape):
        old = 0 if plane[at] in ids else plane[at]
        wanted = [object_id for object_id, mask in masks if mask[at]]
        new = min(wanted, default=0)
        out[at] = new if new and (overlap == "overwrite" or old == 0) else old
    return out


TWO = (
    ObjectPrompt(1, (), Box(10, 8, 40, 36, "cam", 0.7)),
    ObjectPrompt(2, (Point(34, 40), Point(5, 5, False)), Box(20, 24, 52, 56)),
)
PARTS = (
    ObjectPrompt(1, (), Box(8, 8, 20, 22)),
    ObjectPrompt(1, (), Box(30, 30, 44, 50)),
    ObjectPrompt(3, (Point(18, 16),), None),
)


@pytest.fixture(scope="module")
def accepted() -> tuple[Acceptance, ...]:
    """A review with whatever there is: models, axes, rules, objects of parts, second thoughts."""
    return (
        accept(0, 3, TWO, (0, 2)),
        accept(0, 4, PARTS, (1, 0, 1), segmenter="compact-sam"),
        accept(0, 4, TWO[:1], (SINGLE,), segmenter="compact-sam"),
        accept(0, 3, TWO[1:], (1,), "overwrite", "compact-sam"),
        accept(1, 30, (ObjectPrompt(7, (), Box(1, 8, 7, 40)),), (SINGLE,), "overwrite"),
        accept(0, 3, PARTS, (0, SINGLE, 2), "keep", "compact-sam", (-50.0, 99.5)),
        accept(0, 5, (), ()),
    )


@pytest.fixture(scope="module")
def session(image: Image, accepted: tuple[Acceptance, ...]) -> Session:
    """The review's session, whose labels come from `by_hand`."""
    return Session(
        image=image_record(image),
        choices={"classifier": "lesion", "sliders": [0.5, 3], "layer": None},
        prompts=(PlanePrompts(0, 3, TWO), PlanePrompts(0, 6, (), "no evidence")),
        touched=((0, 3), (1, 30)),
        accepted=accepted,
        scores=({"plane": 3, "dice": 0.5, "hd95": None},),
        labels=by_hand(image, accepted),
    )


# The rule

planes = st.tuples(st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=st.integers(0, 4)),
        st.dictionaries(st.integers(1, 4), hnp.arrays(np.bool_, shape), max_size=4),
        st.sampled_from(["keep", "overwrite"]),
    )
)


@settings(max_examples=150, deadline=None)
@given(planes)
def test_masks_are_placed_by_the_rule(given_: Any) -> None:
    labels, masks, overlap = given_
    before = labels.copy()
    placed = place_masks(labels, masks, overlap)
    np.testing.assert_array_equal(placed, slowly_placed(labels, masks.items(), overlap))
    np.testing.assert_array_equal(labels, before)
    assert placed.dtype == labels.dtype
    # Accepting the same once more changes nothing.
    np.testing.assert_array_equal(place_masks(placed, masks, overlap), placed)


def test_masks_that_do_not_fit_are_refused() -> None:
    labels = np.zeros((3, 4), np.uint8)
    full = np.ones((3, 4), bool)
    with pytest.raises(CamSamError, match="Object 256 has no label: ids go from 1 to 255"):
        place_masks(labels, {256: full}, "keep")
    with pytest.raises(CamSamError, match="Object 0"):
        place_masks(labels, {0: full}, "keep")
    with pytest.raises(CamSamError, match=r"shape \(4, 3\)"):
        place_masks(labels, {1: full.T}, "keep")
    with pytest.raises(CamSamError, match="keep or overwrite"):
        place_masks(labels, {1: full}, "replace")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["seeded", "compact-sam"])
@pytest.mark.parametrize("choice", ["first", "single"])
def test_on_an_empty_plane_it_is_what_the_pipeline_does(
    image: Image, name: str, choice: Any
) -> None:
    segmenter = load_segmenter(name)
    window = resolve_window(image, WindowParameters("limits", *WINDOW))
    embedding = segmenter.encode(apply_window(image.plane(0, 4), window))
    prompts = PlanePrompts(0, 4, PARTS)
    expected, _ = segment_plane(segmenter, embedding, prompts, mask_choice=choice)
    found = segmenter.decode(embedding, PARTS, multimask=choice == "first")
    masks = chosen_masks(found, (0 if choice == "first" else SINGLE,) * 3)
    placed = place_masks(np.zeros((64, 64), np.uint8), masks, "keep")
    np.testing.assert_array_equal(placed, expected)
    assert expected.any()


def test_a_candidate_that_does_not_exist_is_refused() -> None:
    flat = np.zeros((3, 2, 2), np.float32)
    found = MaskCandidates(4, flat > 0, flat[:, 0, 0], flat)
    for chosen in (3, SINGLE, -2):
        with pytest.raises(CamSamError, match=f"Object 4 has no candidate {chosen}: it has 3"):
            chosen_masks([found], [chosen])


# Running it again


def test_a_session_run_again_gives_its_labels(
    session: Session, image: Image, tmp_path: Path
) -> None:
    write_session(tmp_path / "s", session, image)
    again = read_session(tmp_path / "s")
    seen: list[tuple[int, int]] = []
    labels = replay(again, image, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(labels, session.labels)
    np.testing.assert_array_equal(again.labels, session.labels)
    assert {1, 2, 3, 7} <= set(np.unique(labels))
    assert seen == [(i, 7) for i in range(1, 8)]


class Counting:
    """A segmenter that counts what it is asked."""

    def __init__(self, name: str) -> None:
        self._inner = load_segmenter(name)
        self.name, self.model_hash, self.device = name, self._inner.model_hash, "cpu"
        self.precision = self._inner.precision
        self.encoded = 0

    def encode(self, plane: np.ndarray) -> Embedding:
        self.encoded += 1
        return self._inner.encode(plane)

    def decode(self, *args: Any, **options: Any) -> list[MaskCandidates]:
        return self._inner.decode(*args, **options)


def test_each_segmenter_loads_once_and_each_plane_is_encoded_once(
    session: Session, image: Image
) -> None:
    loaded: list[Counting] = []

    def load(name: str, precision: str) -> Counting:
        assert precision == "float32"
        loaded.append(Counting(name))
        return loaded[-1]

    np.testing.assert_array_equal(replay(session, image, load), session.labels)
    assert [one.name for one in loaded] == ["seeded", "compact-sam"]
    # Planes 3 and 30 of axis 1; planes 4 and 3, and 3 once more in another window.
    assert [one.encoded for one in loaded] == [2, 3]


def test_another_segmenter_or_image_is_refused(session: Session, image: Image) -> None:
    first = replace(session.accepted[0], segmenter_sha256="0" * 64)
    with pytest.raises(CamSamError, match="seeded is not the one of the session: its"):
        replay(replace(session, accepted=(first,)), image)
    beyond = replace(session.accepted[0], candidates=(0, 5))
    with pytest.raises(CamSamError, match="Object 2 has no candidate 5"):
        replay(replace(session, accepted=(beyond,)), image)
    other = image_from_array(np.zeros((8, 64, 64), np.int16), name="other")
    with pytest.raises(CamSamError, match="other is not the image of the session, or was changed"):
        replay(session, other)


@pytest.mark.parametrize("sample", ["ultrasound", "shapes"])
def test_pixels_as_they_are_and_colour(sample: str, tmp_path: Path) -> None:
    write_image(tmp_path / "image.png", make_sample(sample).image)
    image = read_image(tmp_path / "image.png")
    rows, columns = image.spatial_shape
    box = Box(rows / 4, columns / 4, rows * 0.7, columns * 0.7)
    one = accept(0, 0, (ObjectPrompt(2, (), box),), (0,), "keep", "compact-sam", None)
    session = Session(image_record(image), accepted=(one,), labels=by_hand(image, (one,)))
    write_session(tmp_path / "s", session, image)
    labels = replay(read_session(tmp_path / "s"), image)
    np.testing.assert_array_equal(labels, session.labels)
    assert labels.any()
    assert {path.suffix for path in (tmp_path / "s").iterdir()} == {".json", ".png"}


def test_raw_intensities_without_a_window_are_refused(image: Image) -> None:
    one = accept(0, 3, TWO, (0, 0), window=None)
    with pytest.raises(CamSamError, match="only 8-bit pixels can be taken as they are"):
        replay(Session(image_record(image), accepted=(one,)), image)


def test_no_acceptance_gives_empty_labels(image: Image) -> None:
    labels = replay(Session(image_record(image)), image)
    assert labels.shape == (8, 64, 64)
    assert not labels.any()


# The image


def test_the_image_is_known_wherever_it_lies(scan: Path, image: Image, tmp_path: Path) -> None:
    session = Session(image_record(image))
    assert session.image.path == str(scan.resolve())
    moved = tmp_path / "moved.nii.gz"
    moved.write_bytes(scan.read_bytes())
    check_session_image(session, read_image(moved))
    other = tmp_path / "other.nii.gz"
    data = np.asarray(nib.load(scan).dataobj).copy()
    data[0, 0, 0] += 1
    nib.save(nib.Nifti1Image(data, nib.load(scan).affine), other)
    with pytest.raises(CamSamError, match="was changed since"):
        check_session_image(session, read_image(other))
    nib.save(nib.Nifti1Image(data[:-1], nib.load(scan).affine), other)
    with pytest.raises(CamSamError, match=r"\(8, 64, 63\), that of scan was \(8, 64, 64\)"):
        check_session_image(session, read_image(other))


def test_the_frame_is_compared(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (9, 8, 7, 3), dtype=np.int16)
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "series.nii")
    image = read_image(tmp_path / "series.nii", 1)
    session = Session(image_record(image, 1))
    check_session_image(session, image, 1)
    with pytest.raises(CamSamError, match="is frame 2, but the session is of frame 1"):
        check_session_image(session, read_image(tmp_path / "series.nii", 2), 2)
    with pytest.raises(CamSamError, match="no frame of a series"):
        check_session_image(session, image)


def test_an_image_in_memory_is_known_by_its_values(tmp_path: Path) -> None:
    image = make_sample("ct").image
    session = Session(image_record(image))
    assert session.image.path is None
    write_image(tmp_path / "ct.nii.gz", image)
    check_session_image(session, read_image(tmp_path / "ct.nii.gz"))


# Out and in

finite = st.floats(-1e6, 1e6, allow_nan=False)
points = st.builds(Point, finite, finite, st.booleans(), st.sampled_from(["cam", "user"]))
sizes = st.floats(0.5, 1e3)
boxes = st.builds(lambda r, c, h, w: Box(r, c, r + h, c + w), finite, finite, sizes, sizes)
objects = st.builds(
    ObjectPrompt, st.integers(1, 2**31), st.lists(points, max_size=2).map(tuple),
    st.none() | boxes,
)  # fmt: skip
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
plain_dicts = st.dictionaries(st.text(), plain_values, max_size=3)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
shapes = st.lists(st.integers(1, 5), min_size=2, max_size=3).map(tuple)
geometries = st.sampled_from(["pixel", "mm", "affine"])
dtypes = st.sampled_from([np.uint8, np.uint16, np.int32, np.int64])


def planes_of(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[int, int]]:
    known = [(a, i) for a, n in enumerate(shape if len(shape) == 3 else (1,)) for i in range(n)]
    return st.sampled_from(known)


@st.composite
def images(draw: st.DrawFn) -> Image:
    shape = draw(shapes)
    spacing = tuple(draw(st.floats(0.1, 9)) for _ in shape)
    kind = draw(geometries)
    affine = None
    if kind == "affine":
        affine = np.diag([*(1.0,) * (3 - len(shape)), *spacing, 1.0])[:, [2, 1, 0, 3]]
        affine[:3, 3] = 5, -6, 7
    if kind == "mm":
        shape = (*shape[:-1], shape[-1] + 1)  # a stack that is one pixel wide is no ImageJ file
    if kind == "pixel":
        spacing = (1.0,) * len(shape)
    geometry = Geometry(spacing, affine, "pixel" if kind == "pixel" else "mm")
    return image_from_array(np.zeros(shape, np.int16), geometry=geometry, name=draw(st.text()))


@st.composite
def acceptances(draw: st.DrawFn, shape: tuple[int, ...]) -> Acceptance:
    source = draw(st.sampled_from(get_args(MaskSource)))
    prompts = tuple(draw(st.lists(objects, max_size=3))) if source == "prompted" else ()
    low = draw(finite)
    axis, index = draw(planes_of(shape))
    kept = []
    if source != "prompted":
        plane = tuple(n for i, n in enumerate(shape) if len(shape) == 2 or i != axis)
        kept = draw(st.lists(st.builds(encode_mask, st.integers(1, 300), hnp.arrays(bool, plane))))
    return Acceptance(
        source=source,
        precision=draw(st.sampled_from(["float32", "bfloat16", "float16"])),
        masks=tuple(kept),
        prompts=PlanePrompts(axis, index, prompts, draw(st.none() | st.text())),
        candidates=tuple(draw(st.integers(-1, 9)) for _ in prompts),
        overlap=draw(st.sampled_from(["keep", "overwrite"])),
        segmenter=draw(st.text()),
        segmenter_sha256=draw(hashes),
        window=draw(st.none() | st.just((low, low + draw(sizes)))),
    )


@st.composite
def sessions(draw: st.DrawFn) -> tuple[Image, Session]:
    image = draw(images())
    shape = image.spatial_shape
    where = draw(st.lists(planes_of(shape), max_size=3, unique=True))
    dtype = draw(dtypes)
    most = min(np.iinfo(dtype).max, 2**31 - 1)
    labels = hnp.arrays(dtype, shape, elements=st.integers(0, most))
    frame = draw(st.none() | st.integers(0, 9))
    some_objects = st.lists(objects, max_size=2)
    return image, Session(
        image=image_record(image, frame),
        choices=draw(plain_dicts),
        prompts=tuple(PlanePrompts(*one, tuple(draw(some_objects))) for one in where),
        touched=tuple(draw(st.lists(planes_of(shape), max_size=3))),
        accepted=tuple(draw(st.lists(acceptances(shape), max_size=2))),
        scores=tuple(draw(st.lists(plain_dicts, max_size=2))),
        labels=draw(st.none() | labels),
    )  # fmt: skip


def same(a: Session, b: Session) -> bool:
    """Whether two sessions are the same but for when and by what they were saved."""
    names = ("image", "choices", "prompts", "touched", "accepted", "scores")
    labels = (a.labels is None) == (b.labels is None) and np.array_equal(
        0 if a.labels is None else a.labels, 0 if b.labels is None else b.labels
    )
    return labels and all(getattr(a, name) == getattr(b, name) for name in names)


@settings(max_examples=60, deadline=None)
@given(sessions())
def test_round_trip(made: tuple[Image, Session]) -> None:
    image, session = made
    with tempfile.TemporaryDirectory() as folder:
        write_session(Path(folder), session, image)
        again = read_session(folder)
    assert same(again, session)
    assert again.labels is None or again.labels.shape == image.spatial_shape


def test_what_is_filled_in_and_what_becomes_plain(
    session: Session, image: Image, tmp_path: Path
) -> None:
    choices = {"at": (1, 2), "path": Path("a"), "n": np.int64(3), "r": np.float32(0.5), 4: "four"}
    scores = ({"dice": 0.5, "hd95": float("nan")},)
    write_session(tmp_path, replace(session, choices=choices, scores=scores), image)
    again = read_session(str(tmp_path))
    assert again.choices == {"at": [1, 2], "path": "a", "n": 3, "r": 0.5, "4": "four"}
    assert again.scores == ({"dice": 0.5, "hd95": None},)
    assert again.saved_at.endswith("+00:00")
    assert again.versions["numpy"] == np.__version__


def test_the_labels_lie_on_the_grid_of_the_image(
    session: Session, image: Image, scan: Path, tmp_path: Path
) -> None:
    write_session(tmp_path, session, image)
    (path,) = tmp_path.glob("labels-*.nii.gz")
    labels, source = nib.load(path), nib.load(scan)
    np.testing.assert_array_equal(labels.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(labels.dataobj).transpose(2, 1, 0), session.labels)
    assert labels.get_data_dtype() == np.uint8


def test_what_is_no_plain_data_is_not_saved(session: Session, image: Image, tmp_path: Path) -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    bad: list[Any] = [{"x": object()}, {"x": {1, 2}}, {"x": np.zeros(3)}, {"x": b"b"}, endless]
    for choices in bad:
        with pytest.raises(CamSamError, match="no plain data"):
            write_session(tmp_path / "s", replace(session, choices=choices), image)
    wrong = [
        replace(session, touched=((0, 8),)),
        replace(session, accepted=(replace(session.accepted[0], candidates=(1,)),)),
        replace(session, accepted=(replace(session.accepted[0], window=(3.0, 3.0)),)),
        replace(session, prompts=session.prompts[:1] * 2),
        replace(session, labels=np.zeros((8, 64, 64), np.float32)),
        replace(session, labels=np.zeros((8, 64, 63), np.uint8)),
        replace(session, labels=np.full((8, 64, 64), 2**31)),
        replace(session, image=replace(session.image, shape=(8, 64, 63))),
    ]
    for one in wrong:
        with pytest.raises(CamSamError):
            write_session(tmp_path / "s", one, image)
    assert not list(tmp_path.iterdir())


# Whole or not at all


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_labels_that_did_not_change_are_not_written_again(
    session: Session, image: Image, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    write_session(folder, session, image)
    (folder / "notes.txt").write_text("mine")
    (folder / "labels-old.nii.gz").write_text("mine too")
    before = files(folder)
    (name,) = (one for one in before if one.startswith("labels-") and "old" not in one)
    # The viewer may hold the same labels in another type.
    wide = session.labels.astype(np.int64)  # type: ignore[union-attr]
    write_session(folder, replace(session, choices={"new": 1}, labels=wide), image)
    after = files(folder)
    assert after.keys() == before.keys()
    assert {one for one in before if before[one] != after[one]} == {"session.json"}
    assert read_session(folder).choices == {"new": 1}

    wide[0, 0, 0] = 1
    write_session(folder, replace(session, labels=wide), image)
    assert name not in files(folder)
    assert read_session(folder).labels[0, 0, 0] == 1  # type: ignore[index]
    write_session(folder, replace(session, labels=None), image)
    assert files(folder).keys() == {"session.json", "notes.txt", "labels-old.nii.gz"}
    assert read_session(folder).labels is None


def test_labels_that_were_damaged_are_written_again(
    session: Session, image: Image, tmp_path: Path
) -> None:
    write_session(tmp_path, session, image)
    (path,) = tmp_path.glob("labels-*.nii.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CamSamError, match="damaged or was changed"):
        read_session(tmp_path)
    write_session(tmp_path, session, image)
    np.testing.assert_array_equal(read_session(tmp_path).labels, session.labels)


def newer(session: Session, change: bool) -> Session:
    labels = session.labels.copy()  # type: ignore[union-attr]
    labels[2, 5:9, 5:9] += change
    return replace(session, labels=labels, choices={"new": True}, accepted=session.accepted[:2])


KILLED_IN = ("replace", "unlink", "rmdir", "mkdir", "fsync", "open")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("stands", [False, True])
@pytest.mark.parametrize("change", [False, True])
def test_a_kill_at_any_step_leaves_the_old_session_or_the_new(
    session: Session, image: Image, tmp_path: Path, stands: bool, change: bool
) -> None:
    new = newer(session, change)
    seen = set()
    for step in range(200):
        folder = tmp_path / f"{step}" / "s"
        if stands:
            write_session(folder, session, image)
        child = os.fork()
        if child == 0:
            left = iter(range(step))
            for name in KILLED_IN:
                setattr(os, name, _killer(getattr(os, name), left))
            try:
                write_session(folder, new, image)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        if stands or (folder / "session.json").exists():
            found = read_session(folder)
            assert same(found, new) or (stands and same(found, session))
            seen.add(same(found, new))
        # What the kill has left does not stand in the way of the next save, nor stay.
        write_session(folder, new, image)
        assert same(read_session(folder), new)
        assert len(list(folder.iterdir())) == 2
    else:
        pytest.fail("it was killed at every step")
    assert step > 5
    # Where none stood, the new one is there with the last step.
    assert seen == ({True, False} if stands else set())


def _killer(real: Any, left: Any) -> Any:
    def call(*args: Any, **options: Any) -> Any:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)

    return call


def test_a_disk_that_fails_at_any_step_leaves_the_old_session_or_the_new(
    session: Session, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, new = os.replace, newer(session, True)
    write_session(tmp_path, session, image)
    for step in range(20):
        write_session(tmp_path, session, image)
        calls = iter(range(step))

        def failing(*args: Any, calls: Any = calls) -> None:
            if next(calls, None) is None:
                raise OSError(28, "No space left on device")
            real(*args)

        monkeypatch.setattr(os, "replace", failing)
        try:
            write_session(tmp_path, new, image)
        except CamSamError as error:
            assert "No space left" in str(error)  # noqa: PT017 - the last step succeeds
            assert same(read_session(tmp_path), session)
        else:
            break
        finally:
            monkeypatch.setattr(os, "replace", real)
    assert step == 4  # labels and session.json, each into the hidden folder and into place
    assert same(read_session(tmp_path), new)


def test_what_is_no_session_of_this_image_is_not_written_over(
    session: Session, image: Image, tmp_path: Path
) -> None:
    for text in ("{}", '{"format": "their session"}', "not json", ""):
        (tmp_path / "session.json").write_text(text)
        with pytest.raises(CamSamError, match="is not written over: name another folder"):
            write_session(tmp_path, session, image)
        assert (tmp_path / "session.json").read_text() == text
    (tmp_path / "session.json").unlink()
    write_session(tmp_path, session, image)
    for other in ({"sha256": "0" * 64, "name": "else"}, {"frame": 2}):
        with pytest.raises(CamSamError, match="holds a session of another image, scan"):
            write_session(tmp_path, replace(session, image=replace(session.image, **other)), image)
    assert same(read_session(tmp_path), session)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(CamSamError, match="could not be written"):
        write_session(file, session, image)
    with pytest.raises(CamSamError, match="is a file"):
        read_session(file)
    with pytest.raises(CamSamError, match="holds no session"):
        read_session(tmp_path / "nowhere")


# Broken files


@pytest.fixture(scope="module")
def saved(
    session: Session, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("saved")
    write_session(folder, session, image)
    return folder, json.loads((folder / "session.json").read_text())


@pytest.fixture
def broken(saved: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy to break: the labels stand, session.json does not yet."""
    for path in saved[0].glob("labels-*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path, copy.deepcopy(saved[1])


BAD = [
    (("format",), "napari-cam-sam prompts", "This is no session"),
    (("version",), 2, "saved by a newer napari-cam-sam: its version is 2"),
    (("version",), "1", "version should be a whole number"),
    (("saved_at",), "yesterday", "saved_at should be a date"),
    (("versions",), [], "versions should be an object"),
    (("versions", "numpy"), 2, "versions.numpy should be a text"),
    (("image", "name"), None, "image.name should be a text"),
    (("image", "path"), 3, "image.path should be a text"),
    (("image", "sha256"), "abc", "image.sha256 should be a sha256"),
    (("image", "shape"), [8], "image.shape should have 2 values or more"),
    (("image", "shape", 1), 0, r"image.shape\[1\] should be 1 or more"),
    (("image", "shape"), [8, 64, 32], r"\(8, 64, 64\), the session's image \(8, 64, 32\)"),
    (("image", "spacing"), [1, 1], "image.spacing should be a number for each"),
    (("image", "spacing", 0), -1, r"image.spacing\[0\] should be above 0"),
    (("image", "unit"), "inch", "image.unit should be 'mm' or 'pixel'"),
    (("image", "frame"), -1, "image.frame should be 0 or more"),
    (("choices",), [], "choices should be an object"),
    (("prompts", "planes", 0, "axis"), 3, r"prompts\.planes\[0\]\.axis should be 2"),
    (("prompts", "planes", 0, "index"), 8, "prompts names slice 8 of axis 0"),
    (("touched", 1), [1], r"touched\[1\]\[1\] is missing"),
    (("touched", 1), [1, 64], r"touched\[1\] names slice 64 of axis 1"),
    (("touched", 1), [1, True], r"touched\[1\]\[1\] should be a whole number"),
    (("accepted",), {}, "accepted should be a list"),
    (("accepted", 0, "prompts", "objects", 0, "object_id"), 0, r"object_id should be 1 or more"),
    (("accepted", 0, "prompts"), None, r"accepted\[0\]\.prompts should be an object"),
    (("accepted", 1, "candidates"), [0], r"accepted\[1\].candidates should have 3"),
    (("accepted", 1, "candidates", 2), -2, r"accepted\[1\].candidates\[2\] should be -1"),
    (("accepted", 3, "overlap"), "both", r"accepted\[3\].overlap should be 'keep' or"),
    (("accepted", 3, "overlap"), ["keep"], r"accepted\[3\].overlap should be 'keep' or"),
    (("accepted", 3, "segmenter"), 5, r"accepted\[3\].segmenter should be a text"),
    (("accepted", 3, "segmenter_sha256"), "A" * 64, r"accepted\[3\].segmenter_sha256 should"),
    (("accepted", 3, "window"), [1], r"accepted\[3\].window\[1\] is missing"),
    (("accepted", 3, "window"), [5, 5], r"accepted\[3\].window should be two numbers"),
    (("accepted", 3, "window"), [5, 10**400], r"accepted\[3\].window\[1\] should be a "),
    (("accepted", 3, "mask"), 1, r"no field accepted\[3\]\.mask: did you mean masks"),
    (("scores", 0), 0.5, r"scores\[0\] should be an object"),
    (("labels", "file"), "../labels-0123456789abcdef.nii.gz", "labels.file should be the name of"),
    (("labels", "file"), "labels-0123456789abcdef.nii.gz", "could not be read: No such file"),
    (("labels", "sha256"), "0" * 64, "damaged or was changed since"),
    (("more",), 1, "There is no field more"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_a_wrong_field_is_named(
    broken: tuple[Path, dict[str, Any]], path: tuple[Any, ...], value: Any, message: str
) -> None:
    folder, data = broken
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (folder / "session.json").write_text(json.dumps(data))
    with pytest.raises(CamSamError, match=message) as caught:
        read_session(folder)
    assert str(folder) in str(caught.value)


def test_a_missing_field_is_named(broken: tuple[Path, dict[str, Any]]) -> None:
    folder, data = broken
    del data["accepted"][2]["overlap"]
    (folder / "session.json").write_text(json.dumps(data))
    with pytest.raises(CamSamError, match=r"accepted\[2\]\.overlap is missing"):
        read_session(folder)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"format": NaN}', b"null"]
)
def test_what_is_no_session_is_refused(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "session.json").write_bytes(raw)
    with pytest.raises(CamSamError, match=r"session\.json"):
        read_session(tmp_path)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = data.items() if isinstance(data, dict) else enumerate(data)
    out = []
    for key, value in inside:
        out.append((*path, key))
        if isinstance(value, dict | list):
            out += places(value, (*path, key))
    return out


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_wild_fields_are_read_or_refused(saved: tuple[Path, dict[str, Any]], data: Any) -> None:
    folder, whole = saved
    wild = copy.deepcopy(whole)
    for _ in range(data.draw(st.integers(1, 2))):
        *front, last = data.draw(st.sampled_from(places(wild)))
        place = wild
        for step in front:
            place = place[step]
        if data.draw(st.booleans()):
            place[last] = data.draw(plain_values)
        else:
            del place[last]
        if not wild:
            break
    text = json.dumps(wild)
    cut = data.draw(st.none() | st.integers(0, len(text) - 1))
    with tempfile.TemporaryDirectory() as other:
        for path in folder.glob("labels-*"):
            (Path(other) / path.name).write_bytes(path.read_bytes())
        (Path(other) / "session.json").write_text(text[:cut], encoding="utf-8")
        try:
            session = read_session(other)
        except CamSamError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert cut is None
            assert isinstance(session, Session)


def test_the_viewer_may_import_it_without_waiting_for_pytorch() -> None:
    code = (
        "import sys, napari_cam_sam.session; "
        "print(sorted({'torch', 'pandas', 'matplotlib', 'napari'} & sys.modules.keys()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.strip() == "[]"


# The command


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """Run a command that must fail, and give its one line."""
    assert main(["replay", *(str(a) for a in argv)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.strip().splitlines()
    return line


def test_replay_on_the_command_line(
    session: Session, image: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_session(tmp_path / "s", session, image)
    output = tmp_path / "again.nii.gz"
    assert main(["replay", str(tmp_path / "s"), "--device", "cpu", "--output", str(output)]) == 0
    out = capsys.readouterr().out
    assert "4 run again, accepted 7 times in all" in out
    assert "none of 32768 voxels differs" in out
    assert "compact-sam on cpu" in out
    np.testing.assert_array_equal(np.asarray(read_labels(output).data), session.labels)
    np.testing.assert_array_equal(nib.load(output).affine, nib.load(image.path).affine)


def test_replay_finds_what_was_painted_by_hand(
    session: Session, image: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    painted = session.labels.copy()  # type: ignore[union-attr]
    painted[7, 10:13, 20:24] = 9
    write_session(tmp_path / "s", replace(session, labels=painted), image)
    assert main(["replay", str(tmp_path / "s")]) == 0
    out = capsys.readouterr().out
    assert "12 of 32768 voxels differ" in out
    assert "painted or erased by hand" in out
    assert main(["replay", str(tmp_path / "s"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differing"] == 12
    assert found["planes"] == 4
    assert found["acceptances"] == 7
    write_session(tmp_path / "s", replace(session, labels=None), image)
    assert main(["replay", str(tmp_path / "s")]) == 0
    assert "none were saved" in capsys.readouterr().out


def test_replay_of_an_image_in_memory_asks_for_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = make_sample("ct").image
    one = accept(0, 3, TWO, (0, 0))
    session = Session(image_record(image), accepted=(one,), labels=by_hand(image, (one,)))
    write_session(tmp_path / "s", session, image)
    assert "came from no file: name a file that holds it by --image" in refused(
        capsys, tmp_path / "s"
    )
    write_image(tmp_path / "ct.nii.gz", image)
    assert main(["replay", str(tmp_path / "s"), "--image", str(tmp_path / "ct.nii.gz")]) == 0
    assert "none of" in capsys.readouterr().out


def test_replay_refuses_in_one_line(
    session: Session, image: Image, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "s"
    assert "holds no session" in refused(capsys, folder)
    write_session(folder, session, image)
    for output, message in (
        ("labels.png", "use .nii or .nii.gz"),
        ("labels.txt", "not an image that can be read or written"),
        ("there/labels.nii", "there is no folder"),
        ("s/labels.nii", "lies in the session itself"),
    ):
        assert message in refused(capsys, folder, "--output", tmp_path / output)
    assert "is the image itself" in refused(capsys, folder, "--output", scan)
    assert "device" in refused(capsys, folder, "--device", "gpu7")
    assert "does not exist" in refused(capsys, folder, "--image", tmp_path / "no.nii")
    write_image(tmp_path / "other.nii.gz", make_sample("ct").image)
    assert "not the image" in refused(capsys, folder, "--image", tmp_path / "other.nii.gz")
    moved = replace(session, image=replace(session.image, path=str(tmp_path / "gone.nii")))
    write_session(folder, moved, image)
    assert "no longer there" in refused(capsys, folder)


def test_masks_that_no_prompt_makes_are_kept(image: Image, tmp_path: Path) -> None:
    masks = {3: np.zeros(image.plane_shape(1), bool), 300: np.zeros(image.plane_shape(1), bool)}
    masks[3][2:5, 3:9] = masks[300][4:8, 6:7] = True
    kept = Acceptance(
        PlanePrompts(1, 7), (), "keep", "not to be loaded", "0" * 64, WINDOW, "propagated",
        "bfloat16", tuple(encode_mask(i, mask) for i, mask in masks.items()),
    )  # fmt: skip
    write_session(tmp_path, Session(image_record(image), accepted=(kept,)), image)
    session = read_session(tmp_path)
    assert session.accepted == (kept,)
    labels = replay(session, image)
    expected = np.zeros(image.spatial_shape, int)
    expected[:, 7] = place_masks(expected[:, 7], masks, "keep")
    np.testing.assert_array_equal(labels, expected)
    # Of masks of prompts nothing is kept: two truths could differ.
    wrong = Session(image_record(image), accepted=(replace(kept, source="prompted"),))
    with pytest.raises(CamSamError, match=r"accepted\[0\]\.masks should be empty"):
        write_session(tmp_path, wrong, image)
