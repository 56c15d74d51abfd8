from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.hashing import file_hash
from napari_cam_sam.models.classify import torchvision_weights
from napari_cam_sam.models.training.networks import card_of, parameter_groups, starting_network
from napari_cam_sam.models.training.parameters import TrainingParameters

BASE = TrainingParameters(input_size=(64, 64), channels=3, fine_grid=False)


@pytest.fixture
def imagenet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights where torchvision's would be after a download, with their name after their hash."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    torch.manual_seed(0)
    state = torchvision.models.resnet18().state_dict()
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "new.pth")
    name = f"resnet18-{file_hash(tmp_path / 'new.pth')[:8]}.pth"
    (tmp_path / "new.pth").rename(tmp_path / "checkpoints" / name)
    monkeypatch.setattr(torchvision_weights, "_place", lambda _: tmp_path / "checkpoints" / name)
    return state


def start(parameters: TrainingParameters, channels: int = 3) -> tuple[torch.nn.Module, str]:
    return starting_network(parameters, card_of(parameters, ("a", "b"), channels))


def test_the_seed_decides_the_first_weights() -> None:
    first, _ = start(replace(BASE, start="scratch"))
    again, _ = start(replace(BASE, start="scratch"))
    other, _ = start(replace(BASE, start="scratch", seed=1))
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_imagenet_where_the_weights_are(imagenet: dict[str, torch.Tensor]) -> None:
    module, how = start(BASE)
    assert how == "imagenet"
    assert module.fc.out_features == 2
    own = module.state_dict()
    for name, value in imagenet.items():
        if not name.startswith("fc."):
            assert torch.equal(own[name], value), name
    assert start(replace(BASE, start="scratch"))[1] == "scratch"


def test_gray_input_sees_what_three_equal_channels_would(
    imagenet: dict[str, torch.Tensor],
) -> None:
    colour, _ = start(BASE)
    gray, _ = start(replace(BASE, channels=1), channels=1)
    plane = torch.randn(2, 1, 64, 64)
    torch.testing.assert_close(
        gray.conv1(plane), colour.conv1(plane.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4
    )


def test_an_extra_head_keeps_the_thousand_outputs(imagenet: dict[str, torch.Tensor]) -> None:
    parameters = replace(BASE, head="extra", dropout=0.7, backbone_rate=1e-4)
    module, _ = start(parameters)
    assert torch.equal(module.fc[0].weight, imagenet["fc.weight"])
    assert [type(part).__name__ for part in module.fc] == ["Linear", "ReLU", "Dropout", "Linear"]
    assert module.fc[2].p == 0.7
    backbone, head = parameter_groups(module, parameters)
    assert (backbone["peak"], head["peak"]) == (1e-4, 1e-3)
    assert [tuple(value.shape) for value in head["params"]] == [(2, 1000), (2,)]
    assert len(backbone["params"]) + 2 == len(list(module.parameters()))


def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    assert start(BASE)[1] == "scratch"
    with pytest.raises(CamSamError, match="could not be downloaded"):
        start(replace(BASE, start="imagenet"))
    with pytest.raises(CamSamError, match="no ImageNet weights for small-cnn"):
        start(replace(BASE, start="imagenet", architecture="small-cnn"))


def test_imagenet_of_a_transformer_needs_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = replace(BASE, architecture="vit_b_16")
    with torch.device("meta"):
        state = torchvision.models.vit_b_16().state_dict()
    checkpoint = torchvision_weights.Checkpoint(Path("x"), state, {}, "")
    monkeypatch.setattr(
        "napari_cam_sam.models.training.networks.read_torchvision_weights",
        lambda _: (checkpoint, (224, 224)),
    )
    with (
        torch.device("meta"),
        pytest.raises(CamSamError, match=r"another input size than 64×64: use 224×224"),
    ):
        start(replace(parameters, start="imagenet"))
