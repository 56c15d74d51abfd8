from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, ObjectPrompt, Point
from napari_cam_sam.sam import loading, registry
from napari_cam_sam.sam.cache.store import embedding_key
from napari_cam_sam.sam.loading import detect_architecture, load_segmenter
from napari_cam_sam.sam.models.compact import build_compact_sam
from napari_cam_sam.sam.registry import (
    REGISTRY,
    default_segmenter,
    segmenter_names,
    split_frame,
    with_frame,
)


@pytest.fixture(scope="module")
def compact() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_compact_sam().state_dict()


@pytest.fixture
def compact_file(compact, tmp_path):
    path = tmp_path / "mine.pth"
    torch.save(compact, path)
    return path


def vit(width: int, grid: int = 64) -> dict[str, torch.Tensor]:
    return {
        "image_encoder.pos_embed": torch.zeros(1, grid, grid, width),
        "prompt_encoder.no_mask_embed.weight": torch.zeros(1, 256),
        "mask_decoder.iou_token.weight": torch.zeros(1, 256),
    }


def test_seeded_needs_nothing():
    segmenter = load_segmenter("seeded", "cpu")
    assert (segmenter.name, segmenter.device) == ("seeded", "cpu")


@pytest.mark.parametrize(("width", "expected"), [(768, "vit-b"), (1024, "vit-l"), (1280, "vit-h")])
def test_detects_the_vision_transformers(width, expected):
    assert detect_architecture(vit(width)) == expected


def test_detects_the_compact_sam(compact):
    assert detect_architecture(compact) == "compact"


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"fc.weight": torch.zeros(2, 2)}, "no image_encoder and no prompt_encoder"),
        (vit(96), "width 96"),
        (vit(768, 14), "224 × 224"),
    ],
)
def test_refuses_other_weights(weights, said):
    with pytest.raises(CamSamError, match=said):
        detect_architecture(weights)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_loads_a_checkpoint_of_its_own_accord(compact, tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    if suffix == ".pth":
        torch.save({"model": {f"module.{k}": v for k, v in compact.items()}}, path)
    else:
        save_file({k: v.contiguous() for k, v in compact.items()}, path)
    segmenter = load_segmenter(path, "cpu")
    assert segmenter.model_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert segmenter.device == "cpu"
    assert segmenter.name == f"compact ({path.name})"
    plane = np.random.default_rng(0).integers(0, 256, (50, 70), dtype=np.uint8)
    found = segmenter.decode(segmenter.encode(plane), [ObjectPrompt(1, (Point(9, 9),))])[0]
    assert found.masks.shape == (3, 50, 70)


def test_a_name_loads_from_the_folder_after_checking_its_hash(compact_file, tmp_path, monkeypatch):
    content = compact_file.read_bytes()
    known = f"md5:{hashlib.md5(content).hexdigest()}"
    entry = replace(REGISTRY["medsam"], known_hash=known, size=len(content))
    monkeypatch.setitem(registry.REGISTRY, "medsam", entry)
    (tmp_path / entry.file_name).write_bytes(content)

    assert load_segmenter("medsam", "cpu", tmp_path).name == "medsam"
    # The same file under any other name is still known for what it is.
    assert load_segmenter(compact_file, "cpu").name == "medsam"
    assert default_segmenter(tmp_path) == "seeded"  # it knows boxes only

    (tmp_path / entry.file_name).write_bytes(content[:-1] + b"!")
    with pytest.raises(CamSamError, match="md5"):
        load_segmenter("medsam", "cpu", tmp_path)
    (tmp_path / entry.file_name).write_bytes(content[:-1])
    assert default_segmenter(tmp_path) == "seeded"


def test_a_missing_checkpoint_is_downloaded(compact_file, tmp_path, monkeypatch):
    asked = []

    def fake(name, folder, progress):
        asked.append(name)
        raise CamSamError("no connection")

    monkeypatch.setattr(loading, "download", fake)
    with pytest.raises(CamSamError, match="no connection"):
        load_segmenter("sam-vit-h", "cpu", tmp_path / "empty")
    assert asked == ["sam-vit-h"]


class Code:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize("kind", ["truncated", "html", "pickle", "classifier", "missing", "folder"])
def test_refuses_damaged_and_foreign_files(compact_file, tmp_path, kind, capsys):
    path = tmp_path / "bad.pth"
    if kind == "truncated":
        path.write_bytes(compact_file.read_bytes()[:-5000])
    elif kind == "html":
        path.write_text("<!DOCTYPE html><html></html>")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Code()))
    elif kind == "classifier":
        torch.save({"fc.weight": torch.zeros(3, 3)}, path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(CamSamError) as caught:
        load_segmenter(path, "cpu")
    assert "\n" not in str(caught.value)
    assert "bad.pth" in str(caught.value)
    assert "ran" not in capsys.readouterr().out


def test_says_which_keys_do_not_fit(compact, tmp_path):
    path = tmp_path / "part.pth"
    torch.save({k: v for k, v in compact.items() if "iou_prediction_head" not in k}, path)
    with pytest.raises(CamSamError, match="iou_prediction_head"):
        load_segmenter(path, "cpu")


def test_unknown_names():
    with pytest.raises(CamSamError, match="Did you mean sam-vit-b"):
        load_segmenter("sam-vit-bb")
    with pytest.raises(CamSamError, match="device"):
        load_segmenter("seeded", "cuda-please")
    assert segmenter_names()[:2] == ("seeded", "compact-sam")


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("medsam_model_best.pth", {}, "by its name"),
        ("MedSAM-kidney.pt", {}, "by its name"),
        ("best.pth", {"optimizer": {}, "epoch": 3}, "by its layout"),
    ],
)
def test_what_looks_like_a_medsam_is_refused_until_its_frame_is_said(tmp_path, name, content, hint):
    torch.save({"model": vit(768), **content}, tmp_path / name)
    with pytest.raises(CamSamError, match=rf"^This may be a MedSAM {hint}.*medsam: or sam: before"):
        load_segmenter(tmp_path / name, "cpu")
    assert loading.describe_segmenter(tmp_path / name)["frame"].startswith("not known")
    assert loading.describe_segmenter(f"medsam:{tmp_path / name}")["frame"] == "medsam"


def test_another_file_is_fed_as_a_sam_with_a_warning(tmp_path):
    path = tmp_path / "kidneys.pth"
    torch.save(vit(768), path)
    with (
        pytest.warns(UserWarning, match="SAM's own frame.*medsam: or sam: before"),
        pytest.raises(CamSamError, match="does not fit SAM vit-b"),  # the rest is left out above
    ):
        load_segmenter(path, "cpu")


def test_a_frame_that_is_said_is_used_named_and_told_apart(compact_file):
    as_sam = load_segmenter(compact_file, "cpu", frame="sam")
    as_medsam = load_segmenter(compact_file, "cpu", frame="medsam")
    by_name = load_segmenter(with_frame(str(compact_file), "medsam"), "cpu")
    assert (as_sam.frame, as_medsam.frame, by_name.frame) == ("sam", "medsam", "medsam")
    assert as_medsam.name == by_name.name == "compact in MedSAM's frame (mine.pth)"
    plane = np.random.default_rng(0).integers(20, 180, (40, 100), dtype=np.uint8)
    assert embedding_key(as_sam, plane) != embedding_key(as_medsam, plane)
    assert embedding_key(by_name, plane) == embedding_key(as_medsam, plane)
    features = [one.encode(plane).features for one in (as_sam, as_medsam, by_name)]
    assert not torch.allclose(features[0], features[1], atol=1e-2)
    assert torch.equal(features[1], features[2])
    # As MedSAM's inference script: the whole square is the plane, of values from 0 to 1.
    image = as_medsam._frame.prepare(as_medsam._sam, np.repeat(plane[..., None], 3, 2))
    assert (float(image.min()), float(image.max())) == (0, 1)
    box = ObjectPrompt(1, (), Box(5, 30, 30, 60))
    found = as_medsam.decode(as_medsam.encode(plane), [box], multimask=False)[0]
    assert found.masks.shape == (1, 40, 100)
    with pytest.raises(CamSamError, match="knows boxes only"):
        as_medsam.decode(as_medsam.encode(plane), [ObjectPrompt(1, (Point(9, 9),))])


def test_frames_that_contradict_are_refused(compact_file, tmp_path):
    with pytest.raises(CamSamError, match="has the frame medsam, not sam"):
        load_segmenter(f"medsam:{compact_file}", "cpu", frame="sam")
    with pytest.raises(CamSamError, match="compact-sam has the frame sam, not medsam"):
        load_segmenter("medsam:compact-sam", "cpu")
    with pytest.raises(CamSamError, match="seeded needs no frame"):
        load_segmenter("seeded", "cpu", frame="sam")
    with pytest.raises(CamSamError, match="Unknown frame 'med'"):
        load_segmenter(compact_file, "cpu", frame="med")
    with pytest.raises(CamSamError, match="There is no such checkpoint"):
        load_segmenter(f"medsam:{tmp_path / 'none.pth'}", "cpu")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("medsam:a/b.pth", ("medsam", "a/b.pth")),
        ("sam:C:\\a.pth", ("sam", "C:\\a.pth")),
        ("C:\\a.pth", (None, "C:\\a.pth")),
        ("medsam", (None, "medsam")),
        ("medsam:", (None, "medsam:")),
        ("other:a.pth", (None, "other:a.pth")),
    ],
)
def test_a_frame_before_a_path(name, expected):
    assert split_frame(name) == expected
    assert with_frame(expected[1], expected[0]) == name
