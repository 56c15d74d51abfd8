import json
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.hashing import file_hash
from napari_cam_sam.models import classifiers, names
from napari_cam_sam.models.classifiers import (
    Classifier,
    ClassifierCard,
    classifier_names,
    list_layers,
    load_classifier,
)
from napari_cam_sam.models.classify import torchvision_weights
from napari_cam_sam.models.classify.architectures import build
from napari_cam_sam.models.inspection import describe

CARD = {
    "architecture": "small-cnn",
    "class_names": ["normal", "lesion", "2"],
    "input_size": [32, 48],
    "channels": 1,
    "mean": [0.5],
    "std": [0.25],
}


def _save(path: Path, card: dict | None = CARD, num_classes: int = 3, channels: int = 1) -> Path:
    state = build("small-cnn", num_classes=num_classes, channels=channels).state_dict()
    save_file(state, path, metadata={} if card is None else {"card": json.dumps(card)})
    return path


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    return load_classifier(_save(tmp_path / "net.safetensors"), device="cpu")


def test_card_from_metadata(classifier: Classifier, tmp_path: Path) -> None:
    assert classifier.card == ClassifierCard(
        "small-cnn", 3, ("normal", "lesion", "2"), (32, 48), (0.5,), (0.25,), 1
    )
    assert classifier.sha256 == file_hash(tmp_path / "net.safetensors")
    assert classifier.default_layers == ("stage4",)
    assert classifier.device == torch.device("cpu")


def test_card_beside_then_arguments(tmp_path: Path) -> None:
    path = _save(tmp_path / "net.safetensors", card=None)
    with pytest.raises(CamSamError, match="does not say its architecture"):
        load_classifier(path)
    path.with_suffix(".json").write_text(json.dumps({"architecture": "small-cnn"}))
    counted = load_classifier(path, channels=1, device="cpu")
    assert counted.card.class_names == ("class 0", "class 1", "class 2")
    loaded = load_classifier(path, num_classes=3, channels=1, layers=("stage2",), device="cpu")
    assert loaded.default_layers == ("stage2",)
    with pytest.raises(CamSamError, match=r"differ: architecture.*but .resnet18. by the argument"):
        load_classifier(path, architecture="resnet18", num_classes=3, channels=1)


def test_another_architecture_or_number_of_classes_says_so(tmp_path: Path) -> None:
    path = _save(tmp_path / "net.safetensors", card=None, num_classes=5)
    with pytest.raises(CamSamError, match=r"head.weight is \(5, 192\), expected \(3, 192\)"):
        load_classifier(path, architecture="small-cnn", num_classes=3, channels=1)
    with pytest.raises(CamSamError, match=r"does not fit resnet18 .* keys are missing"):
        load_classifier(path, architecture="resnet18", num_classes=5)


def test_unknown_names_give_near_ones(tmp_path: Path) -> None:
    with pytest.raises(CamSamError, match=r"Did you mean .*resnet18"):
        load_classifier("resnet81")
    with pytest.raises(CamSamError, match="There is no such checkpoint"):
        load_classifier(tmp_path / "none.pth")
    with pytest.raises(CamSamError, match=r"Unknown architecture 'smal-cnn'\. Did you mean"):
        load_classifier(_save(tmp_path / "a.safetensors", CARD | {"architecture": "smal-cnn"}))
    with pytest.raises(CamSamError, match=r"Unknown layer 'stage9'\. Did you mean stage"):
        load_classifier(_save(tmp_path / "b.safetensors", CARD | {"layers": ["stage9"]}))
    with pytest.raises(CamSamError, match="device"):
        load_classifier(_save(tmp_path / "c.safetensors"), device="gpu")


def test_shipped_classifiers_load_by_name(tmp_path: Path, monkeypatch) -> None:
    shipped = {"lesions": _save(tmp_path / "lesions.safetensors")}
    save_file({"a": torch.zeros(1)}, tmp_path / "sam.safetensors")
    shipped["compact-sam"] = tmp_path / "sam.safetensors"
    monkeypatch.setattr(names, "shipped_models", lambda: shipped)
    assert "lesions" in classifier_names()
    assert "resnet18" in classifier_names()
    assert "compact-sam" not in classifier_names()
    assert load_classifier("lesions", device="cpu").name == "lesions"


@pytest.mark.parametrize(
    ("target", "index"), [(0, 0), (2, 2), (np.int64(1), 1), ("lesion", 1), ("1", 1), ("2", 2)]
)
def test_class_index(classifier: Classifier, target: int | str, index: int) -> None:
    assert classifier.class_index(target) == index


@pytest.mark.parametrize("target", [-1, 3, "3", "-1", 10**9, True, 1.5])
def test_class_out_of_range(classifier: Classifier, target: int | str) -> None:
    with pytest.raises(CamSamError, match="3 classes, 0 to 2"):
        classifier.class_index(target)


def test_class_name_near(classifier: Classifier) -> None:
    with pytest.raises(CamSamError, match=r"Unknown class 'lesoin'\. Did you mean lesion"):
        classifier.class_index("lesoin")


def test_prepare_gray_rgb_and_normalisation(classifier: Classifier) -> None:
    gray = np.full((10, 10), 100, np.uint8)
    rgb = np.stack([gray, gray * 2, gray // 2], axis=-1)
    tensor, letterboxes = classifier.prepare([gray, rgb])
    assert tensor.shape == (2, 1, 32, 48)
    assert [box.plane_shape for box in letterboxes] == [(10, 10), (10, 10)]
    inside = tensor[:, 0, 16, 24]
    luma = 0.299 * 100 + 0.587 * 200 + 0.114 * 50
    expected = (np.array([100, luma]) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(inside.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(tensor[:, 0, 16, 0].numpy(), -2, atol=1e-6)  # padding is black


def test_rgb_model_repeats_gray_and_keeps_channel_order() -> None:
    card = ClassifierCard("small-cnn", 2, ("a", "b"), (8, 8), (0.0, 0.1, 0.2), (1.0, 1.0, 0.5), 3)
    model = build("small-cnn", num_classes=2)
    rgb_classifier = Classifier(model, card, "x", "", ("stage3",), torch.device("cpu"))
    gray = np.full((8, 8), 51, np.uint8)
    colour = np.stack([gray, gray * 2, gray * 3], axis=-1)
    tensor, _ = rgb_classifier.prepare([gray, colour])
    np.testing.assert_allclose(tensor[0, :, 4, 4].numpy(), [0.2, 0.1, 0.0], atol=1e-6)
    np.testing.assert_allclose(tensor[1, :, 4, 4].numpy(), [0.2, 0.3, 0.8], atol=1e-6)


@pytest.mark.parametrize(
    "plane",
    [
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros(8, np.uint8),
    ],
)
def test_prepare_refuses_other_planes(classifier: Classifier, plane: np.ndarray) -> None:
    with pytest.raises(CamSamError, match="Apply a window first"):
        classifier.prepare([plane])


def test_no_planes_refused(classifier: Classifier) -> None:
    with pytest.raises(CamSamError, match="no slices"):
        classifier.probabilities([])


def test_probabilities_do_not_depend_on_the_batch(classifier: Classifier) -> None:
    rng = np.random.default_rng(0)
    planes = [rng.integers(0, 256, (20, 30), dtype=np.uint8) for _ in range(5)]
    classifier.module.train()
    together = classifier.probabilities(planes)
    alone = np.concatenate([classifier.probabilities([plane]) for plane in planes])
    assert classifier.module.training
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(classifier.probabilities(planes, batch_size=2), alone, atol=1e-5)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    classifier.module.eval()
    with torch.no_grad():
        logits = classifier.module(classifier.prepare(planes)[0]).numpy()
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(together, softmax, atol=1e-5)


def test_one_class_is_a_sigmoid(tmp_path: Path) -> None:
    card = CARD | {"class_names": ["lesion"]}
    one = load_classifier(_save(tmp_path / "n.safetensors", card, num_classes=1), device="cpu")
    plane = np.full((9, 9), 200, np.uint8)
    with torch.no_grad():
        logit = float(one.module(one.prepare([plane])[0]))
    np.testing.assert_allclose(one.probabilities([plane]), [[1 / (1 + np.exp(-logit))]], atol=1e-6)


def test_layers_and_description(classifier: Classifier) -> None:
    layers = {layer.name: layer for layer in list_layers(classifier)}
    assert layers["stage3"].shape == (1, 128, 4, 6)
    assert layers["stage3.conv1"].type == "Conv2d"
    assert not classifier.module.stage3._forward_hooks
    info = describe(classifier)
    assert json.loads(json.dumps(info))["card"]["class_names"] == ["normal", "lesion", "2"]
    assert info["parameters"] == sum(p.numel() for p in classifier.module.parameters())
    assert info["sha256"] == classifier.sha256


FACTORY = """
from torch import nn
from napari_cam_sam.models.classify.small_cnn import SmallCNN

def make():
    net = SmallCNN(num_classes=2)
    net.card = {"class_names": ["no", "yes"], "channels": 1, "input_size": [32, 32],
                "layers": ["stage2"]}
    return net

def bare():
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def number():
    return 3

def broken():
    return {}["missing"]
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "cam_factory_module.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "cam_factory_module", raising=False)
    return "cam_factory_module"


def test_factory(factory: str) -> None:
    path_before = list(sys.path)
    made = load_classifier(f"{factory}:make", device="cpu")
    assert sys.path == path_before
    assert made.card.class_names == ("no", "yes")
    assert made.default_layers == ("stage2",)
    assert len(made.sha256) == 64
    bare = load_classifier(f"{factory}:bare", num_classes=2, input_size=(16, 16), device="cpu")
    assert bare.default_layers == ()
    assert bare.probabilities([np.zeros((5, 5), np.uint8)]).shape == (1, 2)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("number", "returned int"),
        ("broken", "failed with KeyError"),
        ("absent", "failed with AttributeError"),
        ("bare", "does not say its classes"),
    ],
)
def test_bad_factories(factory: str, function: str, words: str) -> None:
    with pytest.raises(CamSamError, match=words):
        load_classifier(f"{factory}:{function}")
    with pytest.raises(CamSamError, match="ModuleNotFoundError"):
        load_classifier("no_such_module_here:f")


def test_torchvision_without_network_says_where_to_place_the_file(tmp_path: Path, monkeypatch):
    def no_network(*_args: object, **_kwargs: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(CamSamError, match=r"place it at .*checkpoints.resnet18-f37072fd\.pth"):
        load_classifier("resnet18")


def test_torchvision_weights_in_the_cache_are_checked_and_used(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "mobilenet_v3_small-047dcff4.pth"
    torch.save(build("mobilenet_v3_small", num_classes=1000).state_dict(), path)
    with pytest.raises(CamSamError, match="not the file that torchvision published"):
        load_classifier("mobilenet_v3_small")
    real = torchvision_weights.read_checkpoint

    def published(where: Path):
        return torchvision_weights.Checkpoint(
            where, real(where).state_dict, {}, "047dcff4" + 56 * "0"
        )

    monkeypatch.setattr(torchvision_weights, "read_checkpoint", published)
    loaded = load_classifier("mobilenet_v3_small", device="cpu")
    assert loaded.card.num_classes == len(set(loaded.card.class_names)) == 1000
    assert loaded.card.class_names[0] == "tench"
    assert loaded.card.input_size == (224, 224)
    assert loaded.default_layers == ("features.12",)


def test_every_torchvision_architecture_has_weights_with_a_hash_in_their_name():
    import torchvision

    for row in classifiers.ARCHITECTURES.values():
        if row.torchvision:
            url = torchvision.models.get_model_weights(row.name).DEFAULT.url
            assert len(Path(url).stem.rpartition("-")[2]) == 8


def test_the_names_known_before_pytorch_are_those_that_torchvision_builds() -> None:
    known = classifiers.ARCHITECTURES.values()
    assert list(names.TORCHVISION_NAMES) == [r.name for r in known if r.torchvision]
