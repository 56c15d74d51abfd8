"""Read damaged files by the thousand, and see that each is read rightly or refused by a sentence.

For every reader, files that are sound are damaged in many ways (``mutations.py``), each in a
process with bounds. What a reader makes of one must be a `CamSamError`, or what an independent
reader or the undamaged file says. Counted are: other exceptions, inputs that took more than 20
seconds of the processor, those that took more than 2 GiB, kills, and values that differ.

    python tools/mutate_inputs.py --count 20000 --workers 2
    python tools/mutate_inputs.py --reader tiff --only 4711      # one again, with its traceback
"""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import gzip
import io
import json
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import mutations as m

MOST_SECONDS = 20.0
MOST_BYTES = 2 << 30
DATA = Path(__file__).parents[2] / "shared" / "data"
OUTCOMES = ("accepted", "refused", "wrong", "slow", "big", "killed", "different")


@dataclasses.dataclass(frozen=True)
class Reader:
    """One kind of input.

    Attributes
    ----------
    seeds : list of (str, bytes)
        Names and contents of sound files.
    damage : callable
    read : callable
        From a path to what it says; raises what the reader raises.
    differs : callable
        From what was read, the path and the sound file's name: why it is not what it should be.
    """

    seeds: list[tuple[str, bytes]]
    damage: m.Mutation
    read: Callable[[Path], Any]
    differs: Callable[[Any, Path, str], str | None]


# Images


def _arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    volume = rng.integers(-100, 900, (9, 8, 7)).astype(np.int16)
    gray = np.add.outer(np.arange(20) * 5, np.arange(24) * 4).astype(np.uint8)
    gray[5:9, 6:12] = 250
    return volume, gray, np.stack([gray, gray[::-1], 255 - gray], axis=-1)


def _nifti_seeds(folder: Path) -> list[bytes]:
    import nibabel

    volume, gray, _ = _arrays()
    affine = np.array([[-0.8, 0, 0.1, 4], [0, 0.8, 0, -3], [0, 0, 6.5, 2], [0, 0, 0, 1.0]])
    images = [
        nibabel.Nifti1Image(volume, affine),
        nibabel.Nifti1Image(volume.astype(np.float32) / 3, affine),
        nibabel.Nifti1Image((volume > 300).astype(np.uint8), affine),
        nibabel.Nifti2Image(volume, affine),
        nibabel.Nifti1Image(gray.astype(np.uint16), np.eye(4)),
        nibabel.Nifti1Image(volume[..., None], affine),
    ]
    images[0].header.set_xyzt_units("mm", "sec")
    images[1].header.set_xyzt_units("micron")
    images[3].header.set_slope_inter(0.5, -10)
    real = DATA / "brain_mri"
    for path in sorted(real.glob("*.nii*"))[:2] if real.is_dir() else ():
        images.append(nibabel.load(path).slicer[96:128, 96:120, 8:14])
    found = []
    for i, image in enumerate(images):
        path = folder / f"{i}.nii"
        nibabel.save(image, path)
        found.append(path.read_bytes())
    return found


def _nifti(packed: bool) -> Callable[[Path], Reader]:
    def make(folder: Path) -> Reader:
        seeds = _nifti_seeds(folder)
        damage = m.one_of(m.damage_nifti, m.damage_nifti, m.splicing(seeds))
        if packed:
            named = [(f"{i}.nii.gz", gzip.compress(s, 1, mtime=0)) for i, s in enumerate(seeds)]
            return Reader(named, m.inside_gzip(damage), _read_image, _differs_from_nibabel)
        named = [(f"{i}.nii", seed) for i, seed in enumerate(seeds)]
        return Reader(named, damage, _read_image, _differs_from_nibabel)

    return make


def _volume_files(suffix: str) -> Callable[[Path], Reader]:
    """Seeds of NRRD, MetaImage or MGH: gray, labels with names, colour, as they are and packed."""

    def make(folder: Path) -> Reader:
        from napari_cam_sam.images.geometry import Geometry
        from napari_cam_sam.images.image import Image
        from napari_cam_sam.images.segments import Segment
        from napari_cam_sam.images.writing import write_image, write_labels

        volume, gray, colour = _arrays()
        affine = np.array([[0.1, 0, -0.8, 4], [0, 0.8, 0, -3], [6.5, 0, 0, 2], [0, 0, 0, 1.0]])
        where = Geometry(tuple(np.linalg.norm(affine[:3, :3], axis=0).tolist()), affine, "mm")
        images = [Image(volume, False, where, "a"),
                  Image(volume.astype(np.float32) / 3, False, where, "a")]  # fmt: skip
        flat = Geometry((0.5, 0.25), None, "mm")
        if suffix not in (".mgh", ".mgz"):
            images += [Image(gray, False, flat, "a"), Image(colour, True, flat, "a")]
        seeds = []
        for i, image in enumerate(images):
            write_image(folder / f"{i}{suffix}", image)
            seeds.append((f"{i}{suffix}", (folder / f"{i}{suffix}").read_bytes()))
        if suffix == ".nrrd":
            labels = (volume > 300) + 2 * (volume > 600)
            write_labels(folder / "s.seg.nrrd", labels, images[0], segments=[Segment(1, "Liver")])
            seeds.append(("s.seg.nrrd", (folder / "s.seg.nrrd").read_bytes()))
        for name, data in seeds[:2]:  # values as they are, which others write
            if suffix == ".nrrd":
                head = data[: data.index(b"\n\n")].replace(b"encoding: gzip", b"encoding: raw")
                values = images[int(name[0])].data.tobytes()
                seeds.append((f"raw{name}", head + b"\n\n" + values))
        contents = [seed for _, seed in seeds]
        headers = m.damage_nifti if suffix.startswith(".mg") else m.damage_header
        damage = m.one_of(headers, m.damage_bytes, m.splicing(contents))
        return Reader(seeds, m.inside_gzip(damage) if suffix == ".mgz" else damage,
                      _read_labels_or_image, _is_an_image)  # fmt: skip

    return make


def _read_labels_or_image(path: Path) -> Any:
    from napari_cam_sam.images.reading import read_image, read_labels

    image = read_labels(path) if ".seg." in path.name else read_image(path)
    return image, np.array(image.data)


def _is_an_image(found: Any, path: Path, name: str) -> str | None:
    image, values = found
    affine = image.geometry.affine
    sound = values.shape == tuple(image.data.shape) and min(image.geometry.spacing) > 0
    return None if sound and (affine is None or np.isfinite(affine).all()) else "no sound image"


def _read_image(path: Path) -> Any:
    from napari_cam_sam.images.reading import read_image

    image = read_image(path)
    return image, np.array(image.data[...] if hasattr(image.data, "shape") else image.data)


def _differs_from_nibabel(found: Any, path: Path, name: str) -> str | None:
    import nibabel

    image, values = found
    try:
        reference = nibabel.load(path)
        colour = reference.get_data_dtype().fields  # which has no slope, by the standard
        other = reference.dataobj.get_unscaled() if colour else np.asanyarray(reference.dataobj)
        affine = np.array(reference.affine)
    except Exception as error:
        return f"nibabel refuses it ({type(error).__name__}: {str(error)[:80]})"
    if other.dtype.fields:
        other = np.stack([other[channel] for channel in other.dtype.fields], axis=-1)
        other = other.transpose([*range(other.ndim - 2, -1, -1), other.ndim - 1])
    else:
        other = other.T
    ours, theirs = values.squeeze(), other.squeeze()
    if ours.shape != theirs.shape:
        return f"shape {values.shape}, nibabel's {other.shape}"
    with np.errstate(all="ignore"):
        if not np.allclose(ours.astype(float), theirs.astype(float), rtol=1e-6, equal_nan=True):
            return "values are not nibabel's"
        if image.geometry.affine is not None:
            mm = np.abs(image.geometry.affine[:3, :3]).max()
            scale = np.abs(affine[:3, :3]).max()
            ours = image.geometry.affine[:, [2, 1, 0, 3]].copy()
            factor = mm / scale if scale else 1.0
            nearest = min((1.0, 1e3, 1e-3), key=lambda f: abs(math.log(factor / f)))
            affine[:3] *= nearest
            flat = ~affine[:3, :3].any(axis=0)  # a thickness of 0, of a plane, is taken for 1
            ours[:3, :3][:, flat] = 0
            if not np.allclose(ours, affine, rtol=1e-5, atol=1e-6 * scale):
                return "the affine is not nibabel's"
    return None


def _pictures(suffix: str) -> list[bytes]:
    from PIL import Image

    _, gray, rgb = _arrays()
    palette = Image.fromarray(gray // 64, "P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    options: dict[str, Any] = {}
    if suffix == ".png":
        alpha = Image.fromarray(np.dstack([rgb, gray]))
        deep = gray.astype(np.uint16) * 250
        images = [Image.fromarray(one) for one in (gray, rgb, gray > 90, deep)] + [palette, alpha]
    else:
        images = [Image.fromarray(gray), Image.fromarray(rgb)]
        exif = Image.Exif()
        exif[0x112] = 6
        options = {"quality": 95, "exif": exif}
    for path in sorted((DATA / "busi_classification" / "benign").glob("*.png"))[:2]:
        images.append(Image.open(path).convert("L").crop((90, 90, 130, 124)))
    found = []
    for image in images:
        stream = io.BytesIO()
        image.save(stream, "PNG" if suffix == ".png" else "JPEG", **options)
        found.append(stream.getvalue())
    return found


def _picture(suffix: str) -> Callable[[Path], Reader]:
    def make(folder: Path) -> Reader:
        seeds = _pictures(suffix)
        special = [m.damage_png, m.damage_png] if suffix == ".png" else [m.splicing(seeds)]
        named = [(f"{i}{suffix}", seed) for i, seed in enumerate(seeds)]
        return Reader(
            named, m.one_of(*special, m.splicing(seeds)), _read_image, _differs_from_others
        )

    return make


def _tiff(folder: Path) -> Reader:
    import tifffile

    volume, gray, rgb = _arrays()
    ways: list[tuple[np.ndarray, dict[str, Any]]] = [
        (gray, {}),
        (gray, {"compression": "lzw"}),
        (rgb, {"compression": "deflate", "photometric": "rgb"}),
        (rgb.astype(np.uint16) * 200, {"compression": "lzw", "photometric": "rgb", "predictor": 2}),
        (gray.astype(np.float32), {"compression": "zstd"}),
        (gray, {"photometric": "miniswhite"}),
        (gray, {"byteorder": ">", "rowsperstrip": 4}),
        (gray, {"tile": (16, 16)}),
        (volume.astype(np.uint16), {"imagej": True, "resolution": (2, 2),
                                    "metadata": {"axes": "ZYX", "spacing": 3, "unit": "um"}}),
        (volume.astype(np.uint16), {"ome": True,
                                    "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.5}}),
        (volume.astype(np.uint8), {"photometric": "minisblack", "compression": "packbits"}),
    ]  # fmt: skip
    seeds = []
    for array, options in ways:
        stream = io.BytesIO()
        tifffile.imwrite(stream, array, **options)
        seeds.append(stream.getvalue())
    named = [(f"{i}.tif", seed) for i, seed in enumerate(seeds)]
    damage = m.one_of(m.damage_tiff, m.damage_tiff, m.splicing(seeds))
    return Reader(named, damage, _read_image, _differs_from_others)


_SOUND: dict[str, bytes] = {}


def _differs_from_others(found: Any, path: Path, name: str) -> str | None:
    """Compare a picture with what other decoders read, in any of the forms that ours may have."""
    _, values = found
    reasons = []
    for decoder in (_by_imagecodecs, _by_pillow, _by_tifffile, _undamaged):
        try:
            other = decoder(path, name)
        except Exception as error:
            reasons.append(f"{decoder.__name__[1:]}: {type(error).__name__}")
            continue
        if other is None:
            continue
        if any(_alike(values, form) for form in _forms(other)):
            return None
        reasons.append(f"{decoder.__name__[1:]}: other values, {other.shape} {other.dtype}")
    return f"{values.shape} {values.dtype} is none of: " + "; ".join(reasons)


def _by_imagecodecs(path: Path, name: str) -> np.ndarray | None:
    import imagecodecs

    if path.suffix == ".tif":
        return None
    decode = imagecodecs.png_decode if path.suffix == ".png" else imagecodecs.jpeg_decode
    return np.asarray(decode(path.read_bytes()))


def _by_pillow(path: Path, name: str) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as file:
        if file.mode == "1":
            return np.array(file)
        if file.mode == "P":
            return np.array(file.convert("RGB"))
        pages = []
        for index in range(getattr(file, "n_frames", 1)):
            file.seek(index)
            pages.append(np.array(file))
        return np.stack(pages) if len(pages) > 1 else pages[0]


def _by_tifffile(path: Path, name: str) -> np.ndarray | None:
    import tifffile

    if path.suffix != ".tif":
        return None
    with tifffile.TiffFile(path) as file:
        values = np.asarray(file.series[0].asarray())
        page = file.pages.first
        if page.colormap is not None and values.dtype.kind == "u":
            values = (np.asarray(page.colormap).T >> 8).astype(np.uint8)[values]
        return values


def _undamaged(path: Path, name: str) -> np.ndarray:
    sound = path.with_name("sound" + path.suffix)
    sound.write_bytes(_SOUND[name])
    return np.asarray(_read_image(sound)[1])


def _forms(values: np.ndarray) -> Iterator[np.ndarray]:
    """Go through the forms that a picture may be brought to: without alpha, inverted, turned."""
    for one in _plain_forms(values):
        yield one
        if one.ndim >= 2 and one.size < 10**6:
            for k in range(4):
                for axes in ((0, 1), (1, 2))[: one.ndim - 1]:
                    turned = np.rot90(one, k, axes)
                    yield turned
                    yield np.flip(turned, axes[0])


def _plain_forms(values: np.ndarray) -> Iterator[np.ndarray]:
    if values.dtype == bool:
        for one in (values, ~values):
            yield from (one, one.astype(np.uint8), one.astype(np.uint8) * 255)
        return
    found = [values, values.squeeze()]
    if values.ndim >= 3 and values.shape[-1] in (2, 4):
        found += [values[..., 0], values[..., :3]]
    if values.ndim >= 3 and values.shape[0] in (2, 3, 4):
        found += [np.moveaxis(values, 0, -1), np.moveaxis(values, 0, -1)[..., :3], values[0]]
    yield from found
    if values.dtype.kind == "u":
        for one in found:
            yield np.iinfo(values.dtype).max - one
    if values.dtype == np.uint8:  # fewer bits are spread over eight
        for bits in range(1, 8):
            if values.size and values.max() < 1 << bits:
                wide = np.round(values * (255 / ((1 << bits) - 1))).astype(np.uint8)
                yield from (wide, 255 - wide)


def _alike(ours: np.ndarray, theirs: np.ndarray) -> bool:
    ours, theirs = ours.squeeze(), theirs.squeeze()
    if ours.shape != theirs.shape:
        return False
    # Decoders of JPEG round differently; what broke off is gray in all of them.
    slack = 3 if ours.dtype == np.uint8 else 0
    rows = max(1, 10**6 // max(1, ours[:1].size)) if ours.ndim else 1
    with np.errstate(all="ignore"):
        return all(
            np.allclose(
                np.atleast_1d(ours)[at : at + rows].astype(float),
                np.atleast_1d(theirs)[at : at + rows].astype(float),
                rtol=1e-6, atol=slack, equal_nan=True,
            )
            for at in range(0, len(np.atleast_1d(ours)), rows)
        )  # fmt: skip


# Text


def _says(read: Any, said: Any) -> bool:
    """Tell whether what was read holds what was said; what was not said may have a default."""
    if isinstance(said, dict) and isinstance(read, dict):
        return all(key in read and _says(read[key], value) for key, value in said.items())
    if isinstance(said, list) and isinstance(read, list | tuple):
        return len(said) == len(read) and all(map(_says, read, said))
    if isinstance(read, float) and not isinstance(said, bool) and isinstance(said, int | float):
        with suppress(OverflowError):
            return read == float(said) or (math.isnan(read) and math.isnan(said))
        return False
    return bool(read == said) and isinstance(read, bool) == isinstance(said, bool)


def _json_of(path: Path) -> Any:
    return json.loads(path.read_bytes().decode("utf-8-sig"))


def _prompts(folder: Path) -> Reader:
    from napari_cam_sam.parsing import read_text
    from napari_cam_sam.prompts.serialise import from_json, to_data

    point = {"row": 3.5, "column": 2, "positive": True, "source": "cam", "score": 0.5}
    box = {"row_min": 1, "column_min": 2, "row_max": 5, "column_max": 9.5, "source": "user"}
    planes = [
        {"axis": 0, "index": i, "reason": None,
         "objects": [{"object_id": 1, "points": [point], "box": box | {"score": None}}]}
        for i in range(3)
    ]  # fmt: skip
    planes.append({"axis": 1, "index": 2, "reason": "empty heatmap", "objects": []})
    document = {"format": "napari-cam-sam prompts", "version": 1, "planes": planes}

    def differs(found: Any, path: Path, name: str) -> str | None:
        return None if _says(to_data(found), _json_of(path)) else "prompts are not what JSON says"

    seeds = [("prompts.json", json.dumps(document).encode())]
    return Reader(seeds, m.damage_json, lambda p: from_json(read_text(p, "prompts")), differs)


def _session(folder: Path) -> Reader:
    from napari_cam_sam.images.image import image_from_array
    from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts, Point
    from napari_cam_sam.sam.run_length import RunLengthMask
    from napari_cam_sam.session import (
        Acceptance,
        Session,
        image_record,
        read_session,
        write_session,
    )

    volume, _, _ = _arrays()
    image = image_from_array(volume, name="scan")
    prompts = PlanePrompts(0, 3, (ObjectPrompt(1, (Point(2, 3),), Box(1, 1, 5, 6)),))
    kept = RunLengthMask(2, volume.shape[1:], (10, 5, volume[0].size - 15))
    accepted = (
        Acceptance(prompts, (1,), "keep", "compact-sam", "a" * 64, (-100.0, 300.0)),
        Acceptance(PlanePrompts(0, 4), (), "overwrite", "seeded", "b" * 64, None,
                   source="propagated", masks=(kept,)),
    )  # fmt: skip
    labels = np.zeros(volume.shape, np.uint8)
    labels[3, 2:4, 2:5] = 1
    docks = {"segment": {"segmenter": "compact-sam", "overlap": "keep"}, "plane tags": {"axis": 0}}
    choices = {"contrast_limits": [0.0, 500.0], "plane": [0, 3], "docks": docks}
    session = Session(image_record(image), choices, (prompts,), ((0, 3),), accepted,
                      ({"metric": "dice", "value": 0.5},), labels)  # fmt: skip
    write_session(folder / "session", session, image)
    text = (folder / "session" / "session.json").read_bytes()

    def read(path: Path) -> Any:
        here = path.parent / "session"
        if not here.exists():
            shutil.copytree(folder / "session", here)
        shutil.copyfile(path, here / "session.json")
        return read_session(here)

    def differs(found: Any, path: Path, name: str) -> str | None:
        said = _json_of(path)
        given = [one | {"prompts": None, "masks": None} for one in said["accepted"]]
        ours = [vars(one) | {"prompts": None, "masks": None} for one in found.accepted]
        same = (
            _says(vars(found.image), said["image"])
            and _says(found.choices, said["choices"])
            and _says(found.touched, said["touched"])
            and _says(list(found.scores), said["scores"])
            and _says(found.saved_at, said["saved_at"])
            and _says(ours, given)
            and len(found.prompts) == len(said["prompts"]["planes"])
            and (found.labels is None) == (said["labels"] is None)
        )
        if found.labels is not None and not np.array_equal(found.labels, labels):
            return "labels are not the undamaged ones"
        return None if same else "the session is not what JSON says"

    return Reader([("session.json", text)], m.damage_json, read, differs)


_STUDY = """name: lesions
seed: 3
threads: 1
dataset:
  layout: phantoms
  path: data
  kind: shapes
  count: 4
run:
  axis: 0
  window: limits:-100,300
  batch_size: 4
grid:
  - classifiers: [lesion, shapes]
    methods: [layer-cam, grad-cam]
    targets: [predicted, 1]
    strategies: [ours, tight]
    segmenters: [seeded, compact-sam]
    preprocessing: [none, clahe]
  - segmenters: seeded
    strategies: truth-box
    annotators: clicks
strategies:
  tight: {base: s1, threshold: 0.5, negatives: around}
preprocessing:
  clahe: {clahe: true, clahe_clip: 0.02}
annotators:
  clicks: {points: 4}
trust: {draws: 2}
"""


def _study(folder: Path) -> Reader:
    import yaml

    from napari_cam_sam.studies.config.document import read_document
    from napari_cam_sam.studies.config.plan import plan_data, plan_hash, read_study
    from napari_cam_sam.text import recorded

    def read(path: Path) -> Any:
        study = read_study(path)
        return study, read_document(path).value, plan_hash(study)

    def differs(found: Any, path: Path, name: str) -> str | None:
        text = path.read_bytes().decode("utf-8-sig")
        said = yaml.safe_load(text)
        study, value, _ = found
        if not _says(value, said):
            return "the document is not what its language says"
        data = plan_data(study)
        for key, default in (("seed", 0), ("threads", 1), ("name", path.stem)):
            wanted = default if said.get(key) is None else said[key]
            # Of a name, what cannot be shown is escaped.
            if data[key] != (recorded(wanted) if isinstance(wanted, str) else wanted):
                return f"{key} is {data[key]!r}"
        return None

    return Reader([("study.yaml", _STUDY.encode())], m.damage_yaml, read, differs)


def _tables(folder: Path) -> Reader:
    from napari_cam_sam.models.training.samples import samples_from_csv
    from napari_cam_sam.parsing import parse_csv, read_text
    from napari_cam_sam.studies.data.datasets import read_dataset

    one = (
        "image,truth,label,group,split,boxes\n"
        "a.png,t.png,x,g1,test,1 2 3 4\n"
        "b.png,,y,,,0 0 2 2;1 1 4 4\n"
    )
    two = "path;label;plane\na.png;x;\nb.png;y;0\n"

    def read(path: Path) -> Any:
        for name in ("a.png", "b.png", "t.png"):
            if not (path.parent / name).exists():
                (path.parent / name).write_bytes(_pictures(".png")[0])
        table = parse_csv(read_text(path, "a table"), path)
        if "image" in table[0]:
            return table, len(read_dataset("csv", path).cases)
        return table, len(samples_from_csv(path).samples)

    def differs(found: Any, path: Path, name: str) -> str | None:
        import csv

        text = path.read_bytes().decode("utf-8-sig")
        (columns, rows), n = found
        first = text.lstrip("\r\n").partition("\n")[0]
        mark = ";" if first.count(";") > first.count(",") else ","
        said = [one for one in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if one]
        if [cell.strip() for cell in said[0]] != columns or len(said) - 1 != len(rows):
            return "columns or rows are not csv's"
        for cells, (_, row) in zip(said[1:], rows, strict=True):
            if len(set(columns)) == len(columns) and list(row.values())[: len(cells)] != cells:
                return "a row is not csv's"
        return None if n <= len(rows) else f"{n} cases of {len(rows)} rows"

    seeds = [("one.csv", one.encode()), ("two.csv", two.encode())]
    return Reader(seeds, m.damage_lines, read, differs)


def _lists(folder: Path) -> Reader:
    from napari_cam_sam.studies.data.datasets import read_dataset

    pair = [{"image": "./a.nii.gz", "label": "./t.nii.gz"}, {"image": "./b.nii.gz"}]
    task = {"name": "LIVER", "modality": {"0": "CT"}, "training": pair, "test": ["./c.nii.gz"]}
    corner = {"minimum": {"r": 1, "c": 2}, "maximum": {"r": 5, "c": 6}}
    cells = [{"category": "ring", "bounding_box": corner}]
    smears = [{"image": {"pathname": f"/images/{n}.png"}, "objects": cells} for n in "ab"]

    def read(path: Path) -> Any:
        for name in ("a.nii.gz", "images/a.png"):
            (path.parent / name).parent.mkdir(exist_ok=True)
            (path.parent / name).touch()
        layout = "msd" if "dataset" in path.name else "bbbc041"
        return layout, read_dataset(layout, path)

    def differs(found: Any, path: Path, name: str) -> str | None:
        layout, dataset = found
        said = _json_of(path)
        names = (
            [one["image"] for one in said["training"]] + list(said.get("test") or ())
            if layout == "msd"
            else [one["image"]["pathname"].lstrip("/") for one in said]
        )
        read = sorted(str(case.image) for case in dataset.cases)
        wanted = sorted(str(path.parent / one) for one in names)
        return None if read == wanted else "the images are not those of the list"

    seeds = [
        ("dataset.json", json.dumps(task).encode()),
        ("cells.json", json.dumps(smears).encode()),
    ]
    return Reader(seeds, m.damage_json, read, differs)


def _cards(folder: Path) -> Reader:
    import torch
    from safetensors.torch import save

    from napari_cam_sam.models.classify.architectures import build
    from napari_cam_sam.models.loading import load_model

    torch.manual_seed(0)
    card = {"architecture": "small-cnn", "num_classes": 2, "class_names": ["no", "yes"],
            "input_size": [32, 32], "mean": [0.5], "std": [0.25], "channels": 1}  # fmt: skip
    module = build("small-cnn", num_classes=2, channels=1, input_size=(32, 32))
    weights = save(module.state_dict())

    def read(path: Path) -> Any:
        (path.parent / "model.safetensors").write_bytes(weights)
        shutil.copyfile(path, path.parent / "model.json")
        return load_model(path.parent / "model.safetensors", device="cpu")

    def differs(found: Any, path: Path, name: str) -> str | None:
        said = _json_of(path)
        said = said.get("card", said)
        known = {k: v for k, v in said.items() if v is not None and hasattr(found.card, k)}
        ours = {k: getattr(found.card, k) for k in known}
        for key, value in known.items():
            if isinstance(value, str) and not isinstance(ours[key], str):
                known[key] = json.loads(value)  # as in the texts of safetensors
        if isinstance(known.get("input_size"), int):
            known["input_size"] = [known["input_size"]] * 2
        return None if _says(ours, known) else "the card is not what JSON says"

    return Reader([("card.json", json.dumps(card).encode())], m.damage_json, read, differs)


def _record(folder: Path) -> Reader:
    from napari_cam_sam.studies.config.plan import read_study
    from napari_cam_sam.studies.report.cases import restore_study
    from napari_cam_sam.studies.report.page import default_pairs, read_results
    from napari_cam_sam.studies.report.words import provenance
    from napari_cam_sam.studies.run.runner import run_study

    (folder / "study.yaml").write_text(_SMALL_STUDY, encoding="utf-8")
    run_study(read_study(folder / "study.yaml"), folder / "out", device="cpu")
    text = (folder / "out" / "study.json").read_bytes()
    study = read_study(folder / "study.yaml")

    def read(path: Path) -> Any:
        from napari_cam_sam.errors import CamSamError
        from napari_cam_sam.studies.run.runner import _check_folder

        here = path.parent / "out"
        if not here.exists():
            shutil.copytree(folder / "out", here)
        shutil.copyfile(path, here / "study.json")
        results = read_results(here)
        default_pairs(sorted(set(results.table["setting"])), results.record)
        provenance(results.record)
        for check in (lambda: restore_study(results.record), lambda: _check_folder(study, here)):
            with suppress(CamSamError):
                check()
        return results

    def differs(found: Any, path: Path, name: str) -> str | None:
        return None if _says(found.record, _json_of(path)) else "the record is not what JSON says"

    return Reader([("study.json", text)], m.damage_json, read, differs)


_SMALL_STUDY = """dataset: {layout: phantoms, path: data, kind: shapes, count: 2}
grid: {segmenters: seeded, strategies: truth-box}
"""


def _case_files(folder: Path) -> Reader:
    from napari_cam_sam.studies.config.plan import read_study
    from napari_cam_sam.studies.run.runner import run_study
    from napari_cam_sam.studies.table import read_about

    (folder / "study.yaml").write_text(_SMALL_STUDY, encoding="utf-8")
    run_study(read_study(folder / "study.yaml"), folder / "out", device="cpu")
    seeds = [(p.name, p.read_bytes()) for p in sorted((folder / "out" / "cases").glob("*.parquet"))]

    def read(path: Path) -> Any:
        from napari_cam_sam.errors import CamSamError
        from napari_cam_sam.studies.table import read_rows

        about = read_about(path)
        if about is None:
            raise CamSamError("damaged: it is made again")
        return about, read_rows(path).to_pandas()

    def differs(found: Any, path: Path, name: str) -> str | None:
        import pandas as pd

        sound = path.with_name("sound.parquet")
        sound.write_bytes(_SOUND[name])
        about, table = found
        other = pd.read_parquet(sound)
        if read_about(sound) != about:
            return "what is known of the case is not the undamaged"
        return None if table.equals(other[table.columns]) else "the table is not the undamaged one"

    return Reader(seeds, m.splicing([seed for _, seed in seeds]), read, differs)


def _resume(folder: Path) -> Reader:
    import torch

    from napari_cam_sam.models.training.results import Epoch
    from napari_cam_sam.models.training.saving import (
        CHECKPOINT,
        State,
        read_state,
        restore_state,
        write_state,
    )

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2))
    optimiser = torch.optim.AdamW([{"params": list(net.parameters()), "lr": 0.01, "peak": 0.01}])
    fresh = torch.optim.AdamW([{"params": list(net.parameters()), "lr": 0.01, "peak": 0.01}])
    blank = fresh.state_dict()
    net(torch.randn(8, 4)).sum().backward()
    optimiser.step()
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    identity = {"seed": 0, "data": "abc", "epochs": 3}
    epoch = Epoch(1, 0.5, 0.5, 0.6, 0.5, 0.5, 0.01, 1.0, True)
    write_state(folder, State(identity, (epoch,), weights, weights, optimiser.state_dict(), 1.0))
    sound = (folder / CHECKPOINT).read_bytes()

    def damage(rng: m.Random, data: bytes) -> bytes:
        if rng.random() < 0.5:
            return m.damage_bytes(rng, data)
        content = torch.load(io.BytesIO(data), weights_only=True)
        plain = {"identity": content["identity"], "epochs": content["epochs"], "seconds": 1.0}
        if rng.random() < 0.5:
            changed = m.damage_tree(rng, plain)
            content = {k: v for k, v in content.items() if k not in plain} | (
                changed if isinstance(changed, dict) else {"epochs": changed}
            )
        else:
            part = content[str(rng.choice(["module", "best", "optimiser"]))]
            if rng.random() < 0.5 and "state" in part:
                part = part["state"][0]
            key = list(part)[int(rng.integers(len(part)))]
            odd = (None, 3, "x", torch.zeros(1), torch.zeros(3, 4, dtype=torch.float16), [], {})
            if rng.random() < 0.3:
                del part[key]
            else:
                part[key] = odd[int(rng.integers(len(odd)))]
        stream = io.BytesIO()
        try:
            torch.save(content, stream)
        except RecursionError:  # nested too deep for a pickle
            return data
        return stream.getvalue()

    def read(path: Path) -> Any:
        shutil.copyfile(path, path.parent / CHECKPOINT)
        state = read_state(path.parent, identity)
        fresh.load_state_dict(blank)
        restore_state(path.parent / CHECKPOINT, state, net, fresh)
        return state

    def differs(found: Any, path: Path, name: str) -> str | None:
        said = torch.load(path, weights_only=True)
        same = _says([dataclasses.asdict(one) for one in found.epochs], said["epochs"]) and all(
            torch.equal(mine[key], value)
            for mine, given in ((found.module, said["module"]), (found.best, said["best"]))
            for key, value in given.items()
        )
        # A step makes the same of it as of what PyTorch loads.
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.grad = torch.ones_like(parameter)
        fresh.step()
        return None if same else "the state is not what PyTorch loads"

    return Reader([("checkpoint.pt", sound)], damage, read, differs)


def _dicom_slices() -> list[Any]:
    """Return four small slices of one series."""
    import pydicom
    from pydicom.data import get_testdata_file

    sources = []
    for index in range(4):
        data = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        data.ImagePositionPatient = [-158.1, -179.0, -75.7 + 2.5 * index]
        data.SOPInstanceUID = f"1.2.3.{index + 1}"
        data.Rows = data.Columns = 16
        data.PixelData = data.PixelData[64 * index :][:512]
        sources.append(data)
    return sources


def _dicom_series(folder: Path) -> Reader:
    import zipfile

    seeds = []
    for name, syntax in (("plain", None), ("packed", "1.2.840.10008.1.2.5")):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for index, data in enumerate(_dicom_slices()):
                if syntax is not None:
                    data.compress(syntax, generate_instance_uid=False)
                stream = io.BytesIO()
                data.save_as(stream)
                archive.writestr(zipfile.ZipInfo(f"{index}.dcm"), stream.getvalue())
        seeds.append((f"{name}.zip", out.getvalue()))

    def read(path: Path) -> Any:
        from napari_cam_sam.images.dicom import files

        try:
            return _read_dicom(path)
        finally:
            for unpacked in files._UNPACKED.values():
                unpacked.cleanup()
            files._UNPACKED.clear()

    return Reader(seeds, m.inside_zip(m.damage_dicom), read, lambda found, path, name: None)


def _dicom_seeds(folder: Path) -> list[tuple[str, bytes]]:
    import highdicom
    from pydicom.data import get_testdata_file

    names = (
        "CT_small.dcm", "MR_small_RLE.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm",
        "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_small_odd_jpeg.dcm",
        "SC_rgb_rle_2frame.dcm", "rtdose.dcm", "image_dfl.dcm", "SC_rgb_jpeg_gdcm.dcm",
    )  # fmt: skip
    seeds = [(name, Path(str(get_testdata_file(name))).read_bytes()) for name in names]
    make = highdicom.legacy.LegacyConvertedEnhancedCTImage
    make(_dicom_slices(), "1.2.9", 1, "1.2.9.1", 1).save_as(folder / "enhanced.dcm")
    return [*seeds, ("enhanced.dcm", (folder / "enhanced.dcm").read_bytes())]


def _dicom(folder: Path) -> Reader:
    seeds = _dicom_seeds(folder)
    damage = m.one_of(m.damage_dicom, m.damage_dicom, m.splicing([seed for _, seed in seeds]))
    return Reader(seeds, damage, _read_dicom, _differs_from_pydicom)


def _read_dicom(path: Path) -> Any:
    from napari_cam_sam.images.dicom.reading import read_series
    from napari_cam_sam.images.dicom.series import find_series

    found = []
    for series in find_series(path):
        image = read_series(series, 0)
        found.append((image, np.array(image.data)))
    return found


def _differs_from_pydicom(found: Any, path: Path, name: str) -> str | None:
    """Compare the first series with what pydicom reads, where it reads it."""
    import pydicom
    from pydicom.pixels import apply_modality_lut

    image, values = found[0]
    if image.rgb or len(found) > 1:
        return None
    try:
        data = pydicom.dcmread(path, force=True)
    except Exception:
        return None
    if "PixelData" not in data or data.get("PhotometricInterpretation") == "MONOCHROME1":
        return None
    if "PerFrameFunctionalGroupsSequence" in data or "DoseGridScaling" in data:
        return None
    if not data.file_meta.get("TransferSyntaxUID"):
        return None
    try:
        other = np.asarray(apply_modality_lut(data.pixel_array, data))
    except Exception:
        return None  # it reads less than it could: lengths and offsets that it does not need
    if int(data.get("NumberOfFrames") or 1) > 1:
        other = np.stack([other[frame.number - 1] for frame in image.source.frames])
    elif other.ndim > 2:
        other = other[0]  # pydicom reads frames, too, that are not declared
    ours, other = values.squeeze(), other.squeeze()
    if ours.shape != other.shape:
        return f"shape {values.shape}, pydicom's {other.shape}"
    with np.errstate(all="ignore"):
        same = np.allclose(ours.astype(float), other.astype(float), rtol=1e-5, atol=1e-5)
    return None if same else "values are not pydicom's"


def _drawn(folder: Path) -> Reader:
    """Segmentations and contours on a series that is sound."""
    from dicom_series import LPS, write_series
    from napari_cam_sam.images.dicom.drawn import read_label_sets
    from napari_cam_sam.images.dicom.segmentation_writing import write_segmentation
    from napari_cam_sam.images.reading import read_image
    from napari_cam_sam.images.writing import write_labels

    affine = LPS @ np.diag([2.0, 0.7, 0.7, 1.0])[[2, 1, 0, 3]]
    image = read_image(write_series(folder / "series", np.zeros((4, 12, 16), np.int16), affine))
    labels = np.zeros((4, 12, 16), np.uint8)
    labels[1:3, 2:8, 3:9], labels[2, 8:11, 10:15], labels[1, 4, 5] = 1, 2, 0
    for name in ("seg.dcm", "labelmap.dcm", "rtstruct.dcm"):
        write_labels(folder / name, labels, image)
    write_segmentation(folder / "one.dcm", labels == 1, image)
    names = ("seg.dcm", "labelmap.dcm", "rtstruct.dcm", "one.dcm")
    seeds = [(name, (folder / name).read_bytes()) for name in names]

    def read(path: Path) -> Any:
        return [np.asarray(one.data) for one in read_label_sets(path, image)]

    def differs(found: Any, path: Path, name: str) -> str | None:
        alike = all(one.shape == labels.shape and one.dtype.kind in "iu" for one in found)
        return None if found and alike else "labels of another shape or type"

    damage = m.one_of(m.damage_dicom, m.damage_dicom, m.splicing([seed for _, seed in seeds]))
    return Reader(seeds, damage, read, differs)


READERS: dict[str, Callable[[Path], Reader]] = {
    "dicom": _dicom,
    "dicom drawn": _drawn,
    "dicom series": _dicom_series,
    "nifti": _nifti(packed=False),
    "nifti-gz": _nifti(packed=True),
    "nrrd": _volume_files(".nrrd"),
    "metaimage": _volume_files(".mha"),
    "mgh": _volume_files(".mgh"),
    "mgz": _volume_files(".mgz"),
    "png": _picture(".png"),
    "jpeg": _picture(".jpg"),
    "tiff": _tiff,
    "yaml": _study,
    "prompts": _prompts,
    "session": _session,
    "cards": _cards,
    "study.json": _record,
    "case files": _case_files,
    "resume state": _resume,
    "tables": _tables,
    "lists": _lists,
}


# One input, and many


def try_one(reader: Reader, index: int, seed: int, folder: Path) -> tuple[str, str]:
    """Damage a file, read it, and say what came of it: an outcome and a reason."""
    from napari_cam_sam.errors import CamSamError

    rng = np.random.default_rng([seed, index])
    name, sound = reader.seeds[int(rng.integers(len(reader.seeds)))]
    _SOUND[name] = sound
    path = folder / f"in-{name}"
    path.write_bytes(reader.damage(rng, sound))
    _reset_peak()
    # The time of the processor: on a busy machine others take the rest.
    before, begin = _peak(), time.process_time()
    outcome, reason, found = "accepted", "", None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = reader.read(path)
    except CamSamError as error:
        outcome, reason = "refused", str(error)
        chain: BaseException | None = error
        while chain is not None:
            if isinstance(chain, MemoryError):
                outcome = "big"
            chain = chain.__cause__ or chain.__context__
    except MemoryError:
        outcome, reason = "big", "MemoryError"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        outcome, reason = "wrong", f"{type(error).__name__}: {str(error)[:150]} ({where})"
    seconds, grown = time.process_time() - begin, _peak() - before
    if seconds > MOST_SECONDS:
        return "slow", f"{seconds:.1f} s"
    if grown > MOST_BYTES:
        return "big", f"{grown / 2**30:.1f} GiB"
    if outcome == "accepted":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            difference = reader.differs(found, path, name)
        if difference is not None:
            return "different", f"{name}: {difference}"
    return outcome, reason


def _reset_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_reader(
    name: str, count: int, seed: int, workers: int = 1, first: int = 0
) -> tuple[Counter[str], dict[str, list[tuple[int, str]]], float]:
    """Try many inputs in processes of their own, which are replaced where they die.

    Returns
    -------
    counts : Counter
        By outcome.
    faults : dict of str to list of (int, str)
        Number and reason of the inputs of each outcome that is none of a sound reader.
    longest : float
        Seconds of the input that took longest, as far as the watch saw.
    """
    counts: Counter[str] = Counter()
    faults: dict[str, list[tuple[int, str]]] = {}
    longest = 0.0
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "seeds"
        made.mkdir()
        reader = READERS[name](made)
        # By process: its pipe, what was read of it, inputs done, its share, when and with how
        # much time of the processor the last one was done.
        running: dict[int, list[Any]] = {}
        shares = [range(first + k, first + count, workers) for k in range(workers)]
        for share in shares:
            _spawn(reader, seed, share, Path(place), running)
        while running:
            time.sleep(0.05)
            for pid, state in list(running.items()):
                used, since = _used(pid), time.monotonic() - state[4]
                hung = used - state[5] > 1.5 * MOST_SECONDS or since > 30 * MOST_SECONDS
                if hung:
                    os.kill(pid, signal.SIGKILL)
                done, status = os.waitpid(pid, 0 if hung else os.WNOHANG)
                for line in _drain(state):  # after the wait: what an ended process told is there
                    index, outcome, reason, seconds = json.loads(line)
                    counts[outcome] += 1
                    longest = max(longest, seconds)
                    if outcome not in ("accepted", "refused"):
                        faults.setdefault(outcome, []).append((index, reason))
                    state[2] += 1
                    state[4:] = time.monotonic(), used
                if not done:
                    continue
                del running[pid]
                os.close(state[0])
                share = state[3]
                if state[2] < len(share):
                    outcome = "slow" if hung else "killed"
                    counts[outcome] += 1
                    faults.setdefault(outcome, []).append((share[state[2]], f"status {status}"))
                    _spawn(reader, seed, share[state[2] + 1 :], Path(place), running)
    return counts, faults, longest


def _spawn(
    reader: Reader, seed: int, share: range, place: Path, running: dict[int, list[Any]]
) -> None:
    if not len(share):
        return
    end, start = os.pipe()
    pid = os.fork()
    if pid:
        os.close(start)
        os.set_blocking(end, False)
        running[pid] = [end, b"", 0, share, time.monotonic(), 0.0]
        return
    status = 1
    try:
        os.close(end)
        faulthandler.disable()
        if "torch" in sys.modules:
            # A copy of a process has none of its threads: torch would wait for them for ever.
            sys.modules["torch"].set_num_threads(1)
        folder = Path(tempfile.mkdtemp(dir=place))
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES + (1 << 28),) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        for index in share:
            begin = time.process_time()
            try:
                outcome, reason = try_one(reader, index, seed, folder)
            except Exception as error:
                outcome, reason = "wrong", f"in this tool: {error!r}"
            line = json.dumps([index, outcome, reason[:300], time.process_time() - begin])
            os.write(start, line.encode() + b"\n")
        status = 0
    finally:
        os._exit(status)


def _used(pid: int) -> float:
    """Return the seconds of the processor that a process has had."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _drain(state: list[Any]) -> list[bytes]:
    with suppress(BlockingIOError):
        while chunk := os.read(state[0], 1 << 16):
            state[1] += chunk
    *lines, state[1] = state[1].split(b"\n")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table, a row a reader, and what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reader", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument("--count", type=int, default=20_000, help="inputs a reader (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", type=int, help="try this input here, and show its traceback")
    parser.add_argument("--keep", type=Path, help="with --only: a folder for the damaged file")
    parser.add_argument("--shown", type=int, default=12, help="faults shown of each kind")
    arguments = parser.parse_args(argv)
    os.environ["NAPARI_CAM_SAM_DEBUG"] = "1"
    if arguments.only is not None:
        return _one(arguments)
    widths = [14, *(10 for _ in OUTCOMES), 9, 9]
    titles = ["reader", "inputs", *OUTCOMES, "longest"]
    print("".join(t.rjust(10) if i else t.ljust(14) for i, t in enumerate(titles)), flush=True)
    bad = 0
    for name in arguments.reader:
        counts, faults, longest = run_reader(
            name, arguments.count, arguments.seed, arguments.workers, arguments.first
        )
        cells = [sum(counts.values()), *(counts[one] for one in OUTCOMES)]
        row = name.ljust(14) + "".join(str(one).rjust(widths[1]) for one in cells)
        print(f"{row}{longest:8.1f} s", flush=True)
        for outcome, found in faults.items():
            bad += len(found)
            kinds: dict[str, list[int]] = {}
            for index, reason in found:
                kinds.setdefault(_kind(reason), []).append(index)
            most = sorted(kinds.items(), key=lambda item: -len(item[1]))
            for reason, indices in most[: arguments.shown]:
                print(f"    {outcome}: {len(indices)} × {reason} e.g. {indices[:3]}", flush=True)
    return 1 if bad else 0


def _kind(reason: str) -> str:
    """Leave out of a reason what differs from one input to the next."""
    words = reason.split()
    return " ".join("…" if any(c.isdigit() for c in w) and ".py" not in w else w for w in words)[
        :170
    ]


def _one(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "seeds").mkdir()
        reader = READERS[arguments.reader[0]](folder / "seeds")
        outcome, reason = try_one(reader, arguments.only, arguments.seed, folder)
        print(outcome, reason)
        for path in folder.glob("in-*"):
            if arguments.keep:
                shutil.copy(path, arguments.keep)
            if outcome == "wrong":
                reader.read(path)
    return 0 if outcome in ("accepted", "refused") else 1


if __name__ == "__main__":
    sys.exit(main())
