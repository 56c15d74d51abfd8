"""What reaches the command line: one sentence and a status, whatever was raised."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage

from napari_cam_sam.cli import main, models
from napari_cam_sam.errors import DEBUG_VARIABLE, CamSamError, reading, reads


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def command(arguments: argparse.Namespace) -> None:
        raise error

    monkeypatch.setattr(models, "_models_list", command)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (CamSamError("A sentence (file.nii)."), 2, "A sentence (file.nii)."),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x.png"), 2,
         "File name too long (x.png)."),
        (MemoryError(), 2, "The memory does not suffice"),
        (KeyError("row"), 1, "unexpected KeyError: 'row'. Please report it"),
        (IndexError("a\nb"), 1, "unexpected IndexError: a b. Please report it"),
    ],
)  # fmt: skip
def test_every_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    line: str,
) -> None:
    raising(monkeypatch, error)
    monkeypatch.delenv(DEBUG_VARIABLE)
    assert main(["models", "list"]) == status
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"napari-cam-sam: {line}")
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    assert main(["models", "list"]) == status
    assert ("Traceback" in capsys.readouterr().err) == (not isinstance(error, CamSamError))


def test_a_reader_tells_what_it_did_not_foresee_and_hides_it_from_no_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @reads("a card")
    def read(path: str) -> None:
        raise errors[path]

    errors = {
        "a": ZeroDivisionError("division by zero"),
        "b": UnicodeError(""),
        "c": CamSamError("x"),
    }
    for path in ("a", "b"):
        with pytest.raises(type(errors[path])):  # as the tests set the variable
            read(path)
    monkeypatch.delenv(DEBUG_VARIABLE)
    with pytest.raises(CamSamError, match=r"as a card: ZeroDivisionError: division by zero \(a\)"):
        read("a")
    with pytest.raises(CamSamError, match=r"as a card: UnicodeError \(b\)"):
        read("b")
    with pytest.raises(CamSamError, match=r"^x$"):
        read("c")
    for stop in (KeyboardInterrupt, SystemExit):
        with pytest.raises(stop), reading("a", "a card"):
            raise stop
    monkeypatch.setenv(DEBUG_VARIABLE, "1")
    words = r"Permission denied: a card could not be read \(p\)"
    with pytest.raises(CamSamError, match=words), reading("a", "a card"):
        raise PermissionError(errno.EACCES, "Permission denied", "p")


def _files(folder: Path) -> dict[str, list[str]]:
    """Commands on odd files, by what their one line must hold."""
    pixels = np.zeros((8, 8), np.uint8)
    PillowImage.fromarray(pixels).save(folder / "a.png")
    PillowImage.fromarray(pixels[:1, :1]).save(folder / "one.png")
    nibabel.save(nibabel.Nifti2Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), folder / "a.nii")
    content = bytearray((folder / "a.nii").read_bytes())
    content[24:32] = (2**62).to_bytes(8, "little")
    (folder / "giant.nii").write_bytes(bytes(content))
    (folder / "tag.yaml").write_text("seed: !!python/name:os.system\n")
    (folder / "laughs.yaml").write_text("a: &a [x]\n" + "".join(
        f"b{i}: &b{i} [{', '.join([f'*b{i - 1}' if i else '*a'] * 9)}]\n" for i in range(9)
    ))  # fmt: skip
    (folder / "out").mkdir()
    (folder / "out" / "study.json").write_text('{"study": [], "compare": 3}')
    (folder / "s").mkdir()
    (folder / "s" / "session.json").write_text("[" * 100_000)
    (folder / "card.safetensors").write_bytes(b"\x02" + b"\0" * 7 + b"{}")
    (folder / "card.json").write_text('{"card": ' * 200 + "1" + "}" * 200)
    os.mkfifo(folder / "pipe.png")
    name = "n" * 300 + ".png"
    run = ["run", "--classifier", "shapes", "--output", "r"]
    return {
        "name too long": [*run, name],
        "giant.nii": [*run, "giant.nii"],
        "pipe.png": [*run, "pipe.png"],
        "tag.yaml:1": ["study", "tag.yaml"],
        "laughs.yaml:": ["study", "laughs.yaml"],
        "study.json": ["report", "out"],
        "session.json": ["replay", "s"],
        "card": ["models", "info", "card.safetensors"],
    }


def test_odd_files_end_in_one_sentence_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(DEBUG_VARIABLE)
    monkeypatch.chdir(tmp_path)
    for wanted, arguments in _files(tmp_path).items():
        assert main(arguments) == 2, arguments
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        assert len(lines) == 1, (arguments, lines)
        assert wanted in lines[0]
