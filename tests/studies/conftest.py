from __future__ import annotations

from pathlib import Path

import pytest

STUDY = """\
name: lesions
dataset:
  layout: phantoms
  path: images
  kind: ultrasound
  count: 3
grid:
  classifiers: lesion
  targets: lesion
  strategies: [ours, truth-box]
  segmenters: [compact-sam, seeded]
"""


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """A study of three phantoms with four settings."""
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path
