import sys
from pathlib import Path

import pytest

from napari_cam_sam.models.factories import call_factory


def test_a_factory_finds_later_what_it_put_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    (tmp_path / "vendored_net.py").write_text(
        "import sys, torch\nsys.path.insert(0, 'vendor')\nnet = torch.nn.Identity\n"
    )
    call_factory("vendored_net:net")
    assert sys.path == ["vendor", *before]
