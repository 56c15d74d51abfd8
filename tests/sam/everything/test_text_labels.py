from __future__ import annotations

import json
import pickle
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.everything.text_labels import (
    NAMING_CAUTION,
    NamingParameters,
    TextModel,
    load_text_model,
    mask_crop,
    masks_named,
    name_masks,
)

TWO = NamingParameters(("a cell", "background"))
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def open_clip(tmp_path_factory):
    module = pytest.importorskip("open_clip", reason="needs the extra text")
    folder = tmp_path_factory.mktemp("configs")
    (folder / "tiny-for-tests.json").write_text(json.dumps(TINY))
    module.add_model_config(folder)
    return module


@pytest.fixture(scope="module")
def clip(open_clip):
    torch.manual_seed(0)
    return open_clip.create_model("tiny-for-tests").eval()


@pytest.fixture(scope="module")
def weights_file(clip, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.save({"epoch": 3, "state_dict": clip.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def model(weights_file) -> TextModel:
    return load_text_model("tiny-for-tests", weights_file, "cpu")


@pytest.fixture
def plane() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)


def block(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[rows, columns] = True
    return mask


MASKS = [block(slice(5, 15), slice(10, 22)), block(slice(0, 3), slice(50, 60)),
         block(slice(20, 21), slice(30, 31))]  # fmt: skip


def test_names_as_zero_shot_classification_does(open_clip, clip, model, plane):
    from PIL import Image

    parameters = NamingParameters(("a cell", "background", "fat"), ("{}", "a slice of {}."))
    found = name_masks(model, plane, MASKS, parameters)

    _, _, prepare = open_clip.create_model_and_transforms("tiny-for-tests")
    tokenize = open_clip.get_tokenizer("tiny-for-tests")
    with torch.no_grad():
        texts = []
        for name in parameters.classes:
            vectors = clip.encode_text(tokenize([name, f"a slice of {name}."]), normalize=True)
            texts.append(vectors.mean(0) / vectors.mean(0).norm())
        crops = [prepare(Image.fromarray(mask_crop(plane, mask, parameters))) for mask in MASKS]
        images = clip.encode_image(torch.stack(crops), normalize=True)
        expected = (clip.logit_scale.exp() * images @ torch.stack(texts).T).softmax(1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-4


def test_batches_change_nothing_and_can_be_stopped(model, plane):
    whole = name_masks(model, plane, MASKS, TWO)
    seen: list[tuple[int, int]] = []
    one = NamingParameters(TWO.classes, batch_size=1)
    parts = name_masks(model, plane, MASKS, one, lambda *step: seen.append(step))
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        name_masks(model, plane, MASKS, one, stop)
    assert name_masks(model, plane, [], TWO).shape == (0, 2)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200, 3)])
def test_any_plane_goes_through(model, shape):
    plane = np.zeros(shape, np.uint8)
    found = name_masks(model, plane, [np.ones(shape[:2], bool)], TWO)
    assert found.shape == (1, 2)
    assert np.isfinite(found).all()


def test_filters_by_text():
    probabilities = np.array([[0.4, 0.6], [0.9, 0.1], [0.5, 0.5], [0.95, 0.05]], np.float32)
    assert masks_named(probabilities, TWO, "a cell") == [3, 1, 2]
    assert masks_named(probabilities, TWO, "background", 0.55) == [0]
    assert masks_named(probabilities, TWO, "background", 1.0) == []
    with pytest.raises(CamSamError, match="Did you mean a cell"):
        masks_named(probabilities, TWO, "cell")
    with pytest.raises(CamSamError, match="from 0 to 1"):
        masks_named(probabilities, TWO, "a cell", 50)


def test_crops_are_squares_around_the_mask(plane):
    keep = NamingParameters(TWO.classes, margin=0.5, background="keep")
    crop = mask_crop(plane, MASKS[0], keep)
    # 12 columns are the longer side: a square of 24 about row 10 and column 16.
    assert crop.shape == (24, 24, 3)
    rows = np.clip(np.arange(-2, 22), 0, 39)
    np.testing.assert_array_equal(crop[:, :, 1], plane[rows][:, 4:28])
    black = mask_crop(
        plane, MASKS[0], NamingParameters(TWO.classes, margin=0.5, background="black")
    )
    inside = np.zeros((24, 24), bool)
    inside[7:17, 6:18] = True
    np.testing.assert_array_equal(black[inside], crop[inside])
    assert not black[~inside].any()
    blurred = mask_crop(plane, MASKS[0], NamingParameters(TWO.classes, margin=0.5))
    np.testing.assert_array_equal(blurred[inside], crop[inside])
    assert 0 < blurred[~inside].std() < 0.6 * crop[~inside].std()


def test_refuses_masks_that_do_not_belong(plane):
    with pytest.raises(CamSamError, match="is empty"):
        mask_crop(plane, np.zeros((40, 60), bool), TWO)
    with pytest.raises(CamSamError, match=r"a mask \(4, 4\)"):
        mask_crop(plane, np.ones((4, 4), bool), TWO)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": ("a cell",)}, "two or more different texts"),
        ({"classes": ("a cell", "a cell")}, "two or more different texts"),
        ({"classes": ("a cell", " ")}, "empty"),
        ({"templates": ()}, "one {} where"),
        ({"templates": ("a photo",)}, "one {} where"),
        ({"background": "blurred"}, "Did you mean blur"),
        ({"margin": -1}, "0 or more"),
        ({"blur": float("nan")}, "0 or more"),
        ({"batch_size": 0}, "1 or more"),
    ],
)
def test_refuses_parameters_that_cannot_be_used(changes, said):
    with pytest.raises(CamSamError, match=said):
        NamingParameters(**({"classes": ("a cell", "background")} | changes))


def test_loads_a_folder_as_the_hub_would_hold_it(clip, model, plane, tmp_path):
    config = {"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(CamSamError, match="could not be loaded"):
        load_text_model(f"local-dir:{tmp_path}", device="cpu")
    weights = {k: v.clone().contiguous() for k, v in clip.state_dict().items()}
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    folder = load_text_model(f"local-dir:{tmp_path}", device="cpu")
    assert folder.model_hash == model.model_hash
    torch.testing.assert_close(folder.embed_texts(["x"]), model.embed_texts(["x"]))
    # The folder's own mean and deviation hold.
    found = name_masks(folder, plane, MASKS, TWO)
    assert not np.allclose(found, name_masks(model, plane, MASKS, TWO))


class Code:
    def __reduce__(self):
        return (print, ("ran",))


def test_refuses_weights_that_cannot_be_used(open_clip, clip, weights_file, tmp_path, capsys):
    path = tmp_path / "bad.pt"
    path.write_bytes(pickle.dumps(Code()))
    with pytest.raises(CamSamError, match="holds code"):
        load_text_model("tiny-for-tests", path, "cpu")
    torch.save({k: v for k, v in clip.state_dict().items() if "visual" not in k}, path)
    with pytest.raises(CamSamError, match="keys are missing"):
        load_text_model("tiny-for-tests", path, "cpu")
    with pytest.raises(CamSamError, match="no such checkpoint"):
        load_text_model("tiny-for-tests", tmp_path / "absent.pt", "cpu")
    with pytest.raises(CamSamError, match="Did you mean ViT"):
        load_text_model("ViT-B-33", weights_file, "cpu")
    with pytest.raises(CamSamError, match="without weights"):
        load_text_model("tiny-for-tests", device="cpu")
    with pytest.raises(CamSamError, match=r"Unknown weights of tiny-for-tests 'openai'"):
        load_text_model("tiny-for-tests", "openai", "cpu")
    with pytest.raises(CamSamError, match="brings its own weights"):
        load_text_model("local-dir:/x", weights_file, "cpu")
    with pytest.raises(CamSamError, match="could not be loaded by open_clip"):
        load_text_model(f"local-dir:{tmp_path / 'absent'}", device="cpu")
    assert "ran" not in capsys.readouterr().out


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(CamSamError, match=r'pip install "napari-cam-sam\[text\]"'):
        load_text_model("ViT-B-32", "openai")


def test_warns_of_what_was_found():
    assert "inconsistently" in NAMING_CAUTION
