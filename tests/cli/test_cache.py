"""``embed`` fills the disk and goes on where it was stopped; ``cache`` counts and clears."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from napari_cam_sam.cli import main
from napari_cam_sam.demo.volumes import ct
from napari_cam_sam.images.reading import read_image
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache, round_features
from napari_cam_sam.sam.cache.store import EmbeddingStore
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.registry import CACHE_VARIABLE

PLANES = 24


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    phantom = ct(5, shape=(PLANES, 64, 64))
    path = tmp_path_factory.mktemp("volume") / "image.nii.gz"
    nib.save(nib.Nifti1Image(phantom.hounsfield.transpose(2, 1, 0), np.eye(4)), path)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "embeddings"


def asked(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    """Run a command and give the one object that it prints."""
    assert main([*map(str, argv), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    data = json.loads(printed.out)
    assert isinstance(data, dict)
    return data


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """Run a command that must fail, and give its one line."""
    assert main([str(a) for a in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    return str(err)


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.zarr.zip") if not path.name.startswith("."))


def check_all_are_right(image_path: Path, folder: Path, axis: int = 0) -> None:
    """Compare every plane's entry with what the segmenter makes now."""
    segmenter = load_segmenter("compact-sam", "cpu")
    image = read_image(image_path)
    window = resolve_window(image, parse_window("ct-abdomen"))
    cache = EmbeddingCache(0, EmbeddingStore(folder, 1 << 40))
    for index in range(image.n_planes(axis)):
        plane = apply_window(image.plane(axis, index), window)
        found = cache.get(segmenter, plane)
        assert found is not None
        # To a step of the float16 that is kept: another process may add in another order.
        now = round_features(segmenter.encode(plane)).features
        torch.testing.assert_close(found.features, now, rtol=2**-10, atol=2**-14)


def test_a_volume_is_embedded_and_counted_and_cleared(
    volume: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["embed", volume, "--segmenter", "compact-sam", "--window", "ct-abdomen"]
    argv += ["--device", "cpu"]
    first = asked(capsys, *argv, "--planes", "3:7")
    assert (first["planes"], first["encoded"], first["found"]) == (4, 4, 0)
    assert first["folder"] == str(folder)
    second = asked(capsys, *argv)
    assert (second["planes"], second["encoded"], second["found"]) == (PLANES, PLANES - 4, 4)
    check_all_are_right(volume, folder)
    along = asked(capsys, *argv, "--axis", "2", "--planes", "10")
    assert along["encoded"] == 1
    other_window = asked(capsys, *argv, "--window", "ct-bone", "--planes", "10")
    assert other_window["encoded"] == 1

    info = asked(capsys, "cache", "info")
    sizes = [path.stat().st_size for path in entries(folder)]
    assert (info["entries"], info["bytes"]) == (PLANES + 2, sum(sizes))
    assert info["limit"] == 10 << 30
    assert [(m["name"], m["entries"]) for m in info["models"]] == [("compact-sam", PLANES + 2)]
    assert first["model_hash"].startswith(info["models"][0]["model_hash"])

    assert asked(capsys, "cache", "clear", "--older-than", 1)["entries"] == 0
    old = entries(folder)[:2]
    for path in old:
        os.utime(path, (time.time() - 3 * 86400,) * 2)
    cleared = asked(capsys, "cache", "clear", "--model", "compact-sam", "--older-than", "2.5")
    assert cleared["entries"] == 2
    assert not any(path.exists() for path in old)
    assert asked(capsys, "cache", "clear", "--model", first["model_hash"])["entries"] == PLANES
    assert asked(capsys, "cache", "info")["models"] == []


def test_people_get_a_table(volume: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["embed", str(volume), "--segmenter", "compact-sam", "--planes", "5", "--device", "cpu"]
    assert main(argv) == 0
    assert "1 encoded, 0 were there" in capsys.readouterr().out
    assert main(["cache", "info"]) == 0
    out = capsys.readouterr().out
    assert str(folder) in out
    assert "10240.0 MiB" in out
    assert "compact-sam" in out
    assert main(["cache", "clear"]) == 0
    assert "1 slice deleted" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_after_a_kill_only_what_is_missing_is_encoded(
    volume: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["embed", str(volume), "--segmenter", "compact-sam", "--window", "ct-abdomen"]
    argv += ["--device", "cpu"]
    known: dict[Path, tuple[int, bytes]] = {}
    for sig, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
        worker = subprocess.Popen(
            [sys.executable, "-m", "napari_cam_sam", *argv],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while len(entries(folder)) < len(known) + 3 and time.monotonic() < deadline:
            time.sleep(0.002)
        worker.send_signal(sig)
        _, err = worker.communicate()
        assert worker.returncode == code
        for path, (inode, content) in known.items():
            assert (path.stat().st_ino, path.read_bytes()) == (inode, content)
        known = {path: (path.stat().st_ino, path.read_bytes()) for path in entries(folder)}
        assert 0 < len(known) < PLANES
    said = re.fullmatch(
        rf"napari-cam-sam: stopped; (\d+) of {PLANES} slices are on disk, and the same command "
        r"goes on from there\.\s*",
        err,
    )
    assert said
    # The signal may have come after the last one was written and before it was counted.
    assert len(known) - int(said[1]) in (0, 1)
    resumed = asked(capsys, *argv)
    assert (resumed["found"], resumed["encoded"]) == (len(known), PLANES - len(known))
    for path, (inode, content) in known.items():
        assert (path.stat().st_ino, path.read_bytes()) == (inode, content)
    check_all_are_right(volume, folder)


def test_a_damaged_entry_is_encoded_again(
    volume: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["embed", volume, "--segmenter", "compact-sam", "--planes", "3:6", "--device", "cpu"]
    asked(capsys, *argv)
    os.truncate(entries(folder)[1], 1000)
    again = asked(capsys, *argv)
    assert (again["found"], again["encoded"]) == (2, 1)


def test_bad_input_gets_one_line(
    volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("I am no folder")
    embed = ["embed", volume, "--segmenter", "compact-sam", "--device", "cpu"]
    assert "seeded" in refused(capsys, "embed", volume, "--segmenter", "seeded")
    assert "compact-sam" in refused(capsys, "embed", volume, "--segmenter", "compactsam")
    assert "0 to 23" in refused(capsys, *embed, "--planes", "90")
    assert "ct-brain" in refused(capsys, *embed, "--window", "ct-bran")
    assert "cannot be written" in refused(capsys, *embed, "--folder", tmp_path / "file")
    assert "--planes" in refused(capsys, *embed, "--disk-mb", "1")
    assert "1 or more" in refused(capsys, *embed, "--disk-mb", "0")
    assert "0 or more" in refused(capsys, "cache", "info", "--disk-mb", "-1")
    assert "days" in refused(capsys, "cache", "clear", "--older-than", "-1")
    assert "days" in refused(capsys, "cache", "clear", "--older-than", "nan")
    assert "sam-vit-b" in refused(capsys, "cache", "clear", "--model", "sam-vit-b")
    assert "--help" in refused(capsys, "cache")
