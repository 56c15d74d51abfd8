import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.checkpoints import load_into, read_checkpoint, weights_sha256


def _net() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))


def _state() -> dict[str, torch.Tensor]:
    return _net().state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 7},
        lambda s: {"model": s, "epoch": 7},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "epoch": 7},
        lambda s: {"model": {"state_dict": s}, "epoch": 7},
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_layouts_of_torch_checkpoints(tmp_path: Path, wrap, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    content = wrap(_state())
    torch.save(content, path)
    checkpoint = read_checkpoint(path)
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint.metadata == ({"epoch": 7} if "epoch" in content else {})
    other = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))
    load_into(other, checkpoint)
    assert weights_sha256(other) == weights_sha256(_net())


def test_safetensors_float16_with_metadata(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    half = {k: v.half() if v.is_floating_point() else v for k, v in _state().items()}
    save_file(half, path, metadata={"card": "{}"})
    checkpoint = read_checkpoint(path)
    assert checkpoint.metadata == {"card": "{}"}
    net = _net()
    load_into(net, checkpoint)
    assert net[2].weight.dtype == torch.float32
    assert torch.equal(net[2].weight, half["2.weight"].float())


class _Evil:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pth", b"", "is empty"),
        ("a.safetensors", b"", "is empty"),
        ("a.pth", b"\n <!DOCTYPE html><html>404</html>", "web page"),
        ("a.safetensors", b"<html><body>login</body></html>", "web page"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\n", "LFS pointer"),
        ("a.pth", b"not a checkpoint at all", "not a PyTorch checkpoint"),
        ("a.pth", pickle.dumps({"a": _Evil()}, protocol=0), r"holds code \(\w+\.print\)"),
        ("a.pth", pickle.dumps({"a": _Evil()}, protocol=2), r"holds code \(\w+\.print\)"),
        ("a.pth", pickle.dumps({"a": _Evil()}, protocol=4), r"holds code \(builtins\.print\)"),
        ("a.safetensors", b"\xff" * 64, "not a whole safetensors file"),
        ("a.h5", b"\x89HDF", r"expected a file that ends in \.pth"),
    ],
    ids=[str(i) for i in range(11)],
)
def test_what_is_no_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CamSamError, match=words) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "code ran" not in capsys.readouterr().out


def test_zip_with_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": _Evil()}, tmp_path / "evil.pth")
    with pytest.raises(CamSamError, match=r"holds code \((\w+\.)?print\)"):
        read_checkpoint(tmp_path / "evil.pth")
    assert "code ran" not in capsys.readouterr().out


def test_missing_folder_module_and_no_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CamSamError, match="There is no such checkpoint"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(CamSamError, match="This is a folder"):
        read_checkpoint(tmp_path)
    torch.save(_net(), tmp_path / "whole.pth")
    with pytest.raises(CamSamError, match=r"holds code .*Sequential"):
        read_checkpoint(tmp_path / "whole.pth")
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    with pytest.raises(CamSamError, match="This holds no weights"):
        read_checkpoint(tmp_path / "epoch.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CamSamError, match="This holds no weights"):
        read_checkpoint(tmp_path / "list.pth")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(part=st.floats(0.01, 0.99), suffix=st.sampled_from([".pth", ".safetensors"]))
def test_truncated_anywhere_is_refused(tmp_path: Path, part: float, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(_state(), path) if suffix == ".safetensors" else torch.save(_state(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(1, int(part * len(whole)))])
    with pytest.raises(CamSamError, match="truncated"):
        read_checkpoint(path)


def test_misfit_names_keys_and_shapes_and_leaves_the_module(tmp_path: Path) -> None:
    state = _state()
    del state["0.bias"]
    state["2.weight"] = torch.zeros(5, 4)
    state |= {f"extra.{i}": torch.zeros(1) for i in range(4)}
    torch.save(state, tmp_path / "odd.pth")
    net = _net()
    before = weights_sha256(net)
    with pytest.raises(CamSamError) as caught:
        load_into(net, read_checkpoint(tmp_path / "odd.pth"), what="tiny")
    message = str(caught.value)
    assert "does not fit tiny" in message
    assert "1 key is missing (0.bias)" in message
    assert "4 keys are not in the model (extra.0, extra.1, extra.2, …)" in message
    assert "2.weight is (5, 4), expected (3, 4)" in message
    assert weights_sha256(net) == before


def test_absent_batch_counters_are_no_misfit(tmp_path: Path) -> None:
    state = {k: v for k, v in _state().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    load_into(_net(), read_checkpoint(tmp_path / "old.pth"))
