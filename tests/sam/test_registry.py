from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.sam import registry
from napari_cam_sam.sam.registry import (
    CACHE_VARIABLE,
    REGISTRY,
    cache_folder,
    download,
    is_installed,
    verify,
)

CONTENT = b"weights " * 1000


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Put a local server behind sam-vit-b; what it sends can be changed."""
    sent = {"body": CONTENT}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if sent["body"] else 404)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(sent["body"])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    entry = replace(
        REGISTRY["sam-vit-b"],
        url=f"http://127.0.0.1:{server.server_port}/sam_vit_b_01ec64.pth",
        known_hash=f"md5:{hashlib.md5(CONTENT).hexdigest()}",
        size=len(CONTENT),
    )
    monkeypatch.setitem(registry.REGISTRY, "sam-vit-b", entry)
    yield sent
    server.shutdown()
    server.server_close()


def test_known_checkpoints_are_the_published_ones():
    entries = REGISTRY.values()
    names = {entry.file_name: entry.known_hash for entry in entries}
    # The first digits of each md5 are in the official file names.
    for name, known in names.items():
        if name.startswith("sam_vit"):
            assert known.startswith("md5:")
            assert name.removesuffix(".pth").rsplit("_", 1)[1] == known[4:10]
    assert set(REGISTRY) == {"sam-vit-b", "sam-vit-l", "sam-vit-h", "medsam", "mobile-sam"}
    digits = {"md5": 32, "sha256": 64}
    hashes = [entry.known_hash.split(":") for entry in entries]
    assert all(len(digest) == digits[algorithm] for algorithm, digest in hashes)
    assert all(entry.url.startswith("https://") for entry in REGISTRY.values())
    assert all(entry.licence for entry in REGISTRY.values())


def test_cache_folder_moves_by_argument_then_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert "napari-cam-sam" in str(cache_folder())
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "there"))
    assert cache_folder() == tmp_path / "there"
    assert cache_folder(tmp_path) == tmp_path


def test_downloads_reports_progress_and_does_not_download_again(served, tmp_path):
    folder = tmp_path / "new"
    seen: list[tuple[int, int]] = []
    path = download("sam-vit-b", folder, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert is_installed("sam-vit-b", folder)
    assert verify("sam-vit-b", folder) == path
    seen.clear()
    served["body"] = b""
    assert download("sam-vit-b", folder, lambda *_: seen.append((0, 0))) == path
    assert not seen


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"x" + CONTENT[1:], "not the published sam-vit-b"),
        (CONTENT[:-9], "could not be downloaded|not the published"),
        (b"", "could not be downloaded"),
    ],
)
def test_keeps_nothing_that_is_not_the_published_file(served, tmp_path, body, said):
    served["body"] = body
    with pytest.raises(CamSamError, match=said) as caught:
        download("sam-vit-b", tmp_path, progress=lambda *_: None)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_refused_and_replaced_on_request(served, tmp_path):
    path = tmp_path / "sam_vit_b_01ec64.pth"
    path.write_bytes(CONTENT[:100])
    assert not is_installed("sam-vit-b", tmp_path)
    with pytest.raises(CamSamError, match="has 100 bytes, expected 8000"):
        verify("sam-vit-b", tmp_path)
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(CamSamError, match="its md5 is"):
        verify("sam-vit-b", tmp_path)
    download("sam-vit-b", tmp_path, progress=lambda *_: None)
    assert path.read_bytes() == CONTENT


def test_offline_says_where_to_put_the_file(tmp_path, monkeypatch):
    entry = replace(REGISTRY["medsam"], url="http://127.0.0.1:9/medsam_vit_b.pth")
    monkeypatch.setitem(registry.REGISTRY, "medsam", entry)
    with pytest.raises(CamSamError, match="could not be downloaded") as caught:
        download("medsam", tmp_path, progress=lambda *_: None)
    assert f"put medsam_vit_b.pth into {tmp_path}" in str(caught.value)
    with pytest.raises(CamSamError, match="models download medsam"):
        verify("medsam", tmp_path)


def test_a_folder_that_cannot_be_written(served, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(CamSamError, match="cannot be written"):
        download("sam-vit-b", Path(blocked) / "inside", progress=lambda *_: None)


def test_unknown_name():
    with pytest.raises(CamSamError, match="Did you mean sam-vit-b"):
        download("sam-vitb")
