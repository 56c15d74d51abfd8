from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import ObjectPrompt, Point
from napari_cam_sam.sam import loading, registry
from napari_cam_sam.sam.compact import build_compact_sam
from napari_cam_sam.sam.loading import detect_architecture, load_segmenter
from napari_cam_sam.sam.registry import REGISTRY, default_segmenter, segmenter_names


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
    entry = replace(REGISTRY["medsam"], md5=hashlib.md5(content).hexdigest(), size=len(content))
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
