"""Damaged, oversized and special files where a checkpoint should be."""

import os
import pickle
import socket
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.hashing import file_hash
from napari_cam_sam.images.reading import read_image, read_labels
from napari_cam_sam.models.checkpoints import load_into, read_checkpoint
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.models.classify.small_cnn import SmallCNN
from napari_cam_sam.sam.loading import load_segmenter


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(SmallCNN(2, 1).state_dict(), tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_a_weight_that_is_marked_as_a_folder_is_no_memory_of_others(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.arange(3.0)}, path)
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    while b"data/0" not in data[central + 46 : central + 70]:
        central = data.index(b"PK\x01\x02", central + 4)
    data[central + 38] |= 0x10  # the attribute of MS-DOS for a folder
    path.write_bytes(data)
    with pytest.raises(CamSamError, match=r"^This is damaged \('.*data/0' is marked as a folder"):
        read_checkpoint(path)


def test_one_flipped_bit_of_a_weight_is_found(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    with zipfile.ZipFile(weights) as archive:
        parts = [part for part in archive.infolist() if part.file_size > 100]
    for part in parts[:: max(1, len(parts) // 8)]:
        start = part.header_offset + 30
        names = struct.unpack("<HH", content[part.header_offset + 26 : start])
        at = start + sum(names) + part.file_size // 2
        content[at] ^= 0x10
        weights.write_bytes(content)
        with pytest.raises(CamSamError, match=r"^This is damaged \(Bad CRC-32"):
            read_checkpoint(weights)
        content[at] ^= 0x10
    weights.write_bytes(content)
    assert read_checkpoint(weights).state_dict


def test_a_resumed_archive_whose_checksums_were_switched_off_is_read(tmp_path: Path) -> None:
    code = (
        "import torch; torch.serialization.set_crc32_options(False);"
        f"torch.save({{'a': torch.ones(99)}}, {str(tmp_path / 'a.pth')!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert read_checkpoint(tmp_path / "a.pth").state_dict["a"].sum() == 99


def _packed(source: Path, target: Path, method: int) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))


def test_an_archive_that_expands_without_measure_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(32 << 20)}, tmp_path / "zeros.pth")
    _packed(tmp_path / "zeros.pth", tmp_path / "bomb.pth", zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pth").stat().st_size < 1 << 20
    with pytest.raises(CamSamError, match="unpack to 128 MiB or more"):
        read_checkpoint(tmp_path / "bomb.pth")


@pytest.mark.parametrize("what", ["size", "method", "encrypted"])
def test_archives_whose_headers_lie_are_refused(weights: Path, what: str) -> None:
    content = bytearray(weights.read_bytes())
    at = content.index(b"PK\x01\x02")  # the first entry of the directory
    if what == "size":
        content[at + 24 : at + 28] = struct.pack("<I", 2**31)
    elif what == "method":
        content[at + 10 : at + 12] = struct.pack("<H", 99)
    else:
        content[at + 8] |= 1
    weights.write_bytes(content)
    with pytest.raises(CamSamError):
        read_checkpoint(weights)


def test_torchscript_is_named(tmp_path: Path) -> None:
    with pytest.warns():
        torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(tmp_path / "script.pt")
    with pytest.raises(CamSamError, match=r"holds code \(TorchScript\)"):
        read_checkpoint(tmp_path / "script.pt")


def test_headers_of_safetensors_that_lie_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for header in (
        b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4000000000]}}',
        b"[" * 10_000,
        b'{"__metadata__":' + b'{"a":' * 5_000,
    ):
        path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
        with pytest.raises(CamSamError, match="not a whole safetensors file"):
            read_checkpoint(path)
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(CamSamError, match="not a whole safetensors file"):
        read_checkpoint(path)


def test_tensors_without_numbers_of_their_own_are_no_weights(tmp_path: Path) -> None:
    net = SmallCNN(2, 1)
    state = net.state_dict()
    name = next(key for key in state if key.endswith("weight"))
    odd = [
        torch.empty_like(state[name], device="meta"),
        state[name].to_sparse(),
    ]
    for value in odd:
        torch.save(state | {name: value}, tmp_path / "odd.pth")
        with pytest.raises(CamSamError, match=rf"1 key is missing \({name}\)"):
            load_into(SmallCNN(2, 1), read_checkpoint(tmp_path / "odd.pth"))


def test_a_last_layer_that_pretends_to_be_huge_is_refused(tmp_path: Path) -> None:
    state = SmallCNN(2, 1).state_dict()
    state["head.weight"] = torch.zeros(1, 192).expand(2_000_000_000, 192)
    torch.save(state, tmp_path / "huge.pth")
    assert (tmp_path / "huge.pth").stat().st_size < 10 << 20
    with pytest.raises(CamSamError, match=r"num_classes should be 100000 or less, not 2000000000"):
        load_classifier(tmp_path / "huge.pth", architecture="small-cnn", channels=1, device="cpu")


READERS = {
    "image.png": read_image, "image.nii.gz": read_image, "image.tif": read_image,
    "labels.nii": read_labels, "weights.pth": read_checkpoint,
    "weights.safetensors": read_checkpoint, "sam.pt": lambda path: load_segmenter(path, "cpu"),
    "any": file_hash,
}  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of Unix")
@pytest.mark.parametrize("name", READERS)
def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(CamSamError, match=r"^This is a pipe, a socket or a device, but should be"):
        READERS[name](path)
    path.unlink()
    with socket.socket(socket.AF_UNIX) as made:
        here = os.getcwd()
        os.chdir(tmp_path)  # a socket's path is short
        try:
            made.bind(name)
        finally:
            os.chdir(here)
        with pytest.raises(CamSamError, match=r"^This is a pipe, a socket or a device"):
            READERS[name](path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(CamSamError, match=r"^This is a pipe, a socket or a device"):
        READERS[name](path)


def test_a_card_beside_that_is_a_pipe_is_refused(weights: Path) -> None:
    os.mkfifo(weights.with_suffix(".json"))
    with pytest.raises(CamSamError, match="pipe, a socket or a device"):
        load_classifier(weights, device="cpu")


def test_a_pickle_of_many_references_is_refused_in_time(tmp_path: Path) -> None:
    content: object = [0]
    for _ in range(60):
        content = [content, content]
    (tmp_path / "many.pth").write_bytes(pickle.dumps({"class_names": content}, protocol=2))
    with pytest.raises(CamSamError):
        load_classifier(tmp_path / "many.pth", architecture="small-cnn", device="cpu")
