"""MobileSAM in the layout of its own checkpoint, with weights drawn instead of the published."""

from __future__ import annotations

import hashlib
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

from napari_cam_sam.demo.phantoms import shapes
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.prompts.data import Box, ObjectPrompt, Point
from napari_cam_sam.sam import registry
from napari_cam_sam.sam.everything.automatic import AutomaticParameters, automatic_masks
from napari_cam_sam.sam.loading import (
    build_sam,
    describe_segmenter,
    detect_architecture,
    load_segmenter,
)
from napari_cam_sam.sam.models.mobile import rename_mobile_sam
from napari_cam_sam.sam.registry import REGISTRY

EQUALITY = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "mobile_equality.py"))

# Printed by benchmarks/mobile_equality.py: features of the authors' module.
THEIRS = [
    -0.1479, -0.2339, -0.0485, -0.5264, -0.769, -1.1014, -0.9813, -0.7248, -0.6627, -0.8421,
    -1.1569, -0.5164, -0.4165, -0.7354, -1.1937, -0.6222, 0.3518, -0.379, -0.7639, -0.7472,
    -0.3893, -0.8301, -0.8851, -0.4537, -0.7717, -0.9371, -0.7413, -0.5674, 0.2515, 0.4316,
    0.4723, -0.1842, -0.1491, -0.224, -0.6081, -0.2657, -0.4554, -0.276, -0.4985, -0.0782,
    -0.1164, -0.5129, -0.3609, 0.1441, -0.1867, -0.1094, -0.3371, -0.2973,
]  # fmt: skip


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    prompts = PromptEncoder(256, (64, 64), (1024, 1024), 16)
    decoder = MaskDecoder(
        transformer_dim=256,
        transformer=TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048),
    )
    drawn = EQUALITY["draw"](EQUALITY["encoder_layout"]())
    drawn |= {f"prompt_encoder.{key}": value for key, value in prompts.state_dict().items()}
    return drawn | {f"mask_decoder.{key}": value for key, value in decoder.state_dict().items()}


@pytest.fixture(scope="module")
def checkpoint(weights, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(weights, path)
    return path


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason="needs the extra mobile")


def test_is_told_apart(weights):
    assert detect_architecture(weights) == "vit-t"


def test_has_the_size_of_the_published_file(checkpoint):
    # The names in the file differ a little in length, the numbers do not.
    assert checkpoint.stat().st_size == pytest.approx(REGISTRY["mobile-sam"].size, rel=0.002)


def test_every_weight_finds_its_place(timm, weights):
    renamed = rename_mobile_sam(weights)
    own = build_sam("vit-t").state_dict()
    assert {key: value.shape for key, value in renamed.items()} == {
        key: value.shape for key, value in own.items()
    }
    heads = {k for k in weights if k.startswith(("image_encoder.head", "image_encoder.norm_head"))}
    assert len(renamed) == len(weights) - len(heads) == len(weights) - 4


def test_encodes_as_the_authors_module(timm, weights):
    sam = build_sam("vit-t")
    sam.load_state_dict(rename_mobile_sam(weights))
    with torch.no_grad():
        features = sam.image_encoder(EQUALITY["picture"]())
    assert features.shape == (1, 256, 64, 64)
    torch.testing.assert_close(
        EQUALITY["fingerprint"](features), torch.tensor(THEIRS), atol=2e-4, rtol=0
    )


def test_segments_by_prompts_and_unasked(timm, checkpoint):
    segmenter = load_segmenter(checkpoint, "cpu", frame="sam")
    assert segmenter.name == "vit-t (mobile_sam.pt)"
    assert segmenter.model_hash == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    plane = shapes(3).image
    embedding = segmenter.encode(plane)
    prompts = [ObjectPrompt(1, (Point(9, 9),)), ObjectPrompt(2, box=Box(4, 4, 60, 70))]
    for found in segmenter.decode(embedding, prompts):
        assert found.masks.shape == (3, 128, 128)
        assert np.isfinite(found.logits).all()
    everything = AutomaticParameters(points_per_side=1, predicted_iou=0.0, stability=0.0)
    for one in automatic_masks(segmenter, plane, everything, embedding):
        assert one.mask.shape == (128, 128)


def test_a_name_loads_from_the_folder_after_checking_its_hash(timm, checkpoint, monkeypatch):
    content = checkpoint.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    entry = replace(REGISTRY["mobile-sam"], known_hash=f"sha256:{digest}", size=len(content))
    monkeypatch.setitem(registry.REGISTRY, "mobile-sam", entry)
    assert load_segmenter("mobile-sam", "cpu", checkpoint.parent).name == "mobile-sam"
    assert load_segmenter(checkpoint, "cpu").name == "mobile-sam"
    about = describe_segmenter("mobile-sam", checkpoint.parent)
    assert about is not None
    assert (about["state"], about["sha256"]) == ("installed", digest)
    wrong = replace(entry, known_hash="sha256:" + "0" * 64)
    monkeypatch.setitem(registry.REGISTRY, "mobile-sam", wrong)
    with pytest.raises(CamSamError, match="its sha256 is"):
        load_segmenter("mobile-sam", "cpu", checkpoint.parent)


def test_says_which_keys_are_missing(timm, weights, tmp_path):
    path = tmp_path / "part.pt"
    torch.save({k: v for k, v in weights.items() if "layers.2.blocks.5" not in k}, path)
    with pytest.raises(CamSamError, match=r"keys are missing \(image_encoder.stages.2.blocks.5"):
        load_segmenter(path, "cpu", frame="sam")


def test_says_what_to_install(monkeypatch, checkpoint):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(CamSamError, match=r'pip install "napari-cam-sam\[mobile\]"'):
        load_segmenter(checkpoint, "cpu", frame="sam")
