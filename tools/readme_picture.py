"""Draw the README's picture: three planes of the CT-like sample with the shipped models.

python tools/readme_picture.py
"""

from __future__ import annotations

from pathlib import Path

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.images.windows import parse_window
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.overview import draw_overview
from napari_cam_sam.pipeline import RunParameters, run_image
from napari_cam_sam.sam.loading import load_segmenter

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "overview.png"


def main() -> None:
    """Run and draw."""
    sample = make_sample("ct")
    parameters = RunParameters(
        planes=range(10, 13),
        window=parse_window(sample.window),
        cam=CamParameters(target=sample.target),
    )
    classifier, segmenter = load_classifier(sample.classifier), load_segmenter("compact-sam")
    result = run_image(sample.image, segmenter, classifier, parameters, sample.truth)
    PICTURE.parent.mkdir(exist_ok=True)
    draw_overview(PICTURE, result, sample.truth)


if __name__ == "__main__":
    main()
