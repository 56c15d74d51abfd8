from __future__ import annotations

import pytest
import torch

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.models.precision import choose_precision

CPU, GPU, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_name_means_itself_on_every_device(name):
    for device in (CPU, GPU, MPS):
        assert choose_precision(name, device) == getattr(torch, name)


@pytest.mark.parametrize(
    ("avx512_bf16", "amx", "expected"),
    [
        (False, False, torch.float32),
        (True, False, torch.bfloat16),
        (False, True, torch.bfloat16),
    ],
)
def test_a_cpu_takes_bfloat16_where_it_has_instructions_for_it(
    monkeypatch, avx512_bf16, amx, expected
):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert choose_precision("auto", CPU) == expected


def test_a_pytorch_that_cannot_tell_takes_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert choose_precision("auto", CPU) == torch.float32


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((6, 1), torch.float32), ((7, 0), torch.float16), ((12, 0), torch.float16)],
)
def test_a_gpu_takes_float16_from_tensor_cores_on(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision("auto", GPU) == expected


def test_mps_takes_float16():
    assert choose_precision("auto", MPS) == torch.float16


@pytest.mark.parametrize("segmenter", ["seeded", "compact-sam"])
def test_an_unknown_precision_is_a_mistake_everywhere(segmenter):
    with pytest.raises(CamSamError, match="Did you mean bfloat16"):
        load_segmenter(segmenter, "cpu", precision="bfloat61")


@pytest.mark.parametrize("segmenter", ["seeded", "compact-sam"])
def test_small_encoders_stay_at_float32_and_say_so(segmenter):
    assert load_segmenter(segmenter, "cpu", precision="bfloat16").precision == "float32"
