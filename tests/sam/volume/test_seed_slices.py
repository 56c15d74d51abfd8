from __future__ import annotations

import numpy as np
import pytest

from napari_cam_sam.cam.heatmaps import CamParameters, compute_heatmaps
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.metrics.overlap import overlap
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.prompts.strategies import prompts_from_heatmap
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.volume.parameters import PropagationParameters
from napari_cam_sam.sam.volume.propagation import propagate
from napari_cam_sam.sam.volume.seed_slices import trusted_planes

OBJECT = ObjectPrompt(1, box=Box(0, 0, 4, 4))


def planes(indices: range) -> list[PlanePrompts]:
    return [PlanePrompts(0, i, (OBJECT,)) for i in indices]


def chosen(trust: list[float], **options: float) -> list[int]:
    found = trusted_planes(planes(range(len(trust))), dict(enumerate(trust)), **options)
    return [plane.index for plane in found]


def test_one_plane_a_run_is_kept():
    assert chosen([0.1, 0.6, 0.9, 0.7, 0.2, 0.8, 0.1]) == [2, 5]
    assert chosen([0.1, 0.6, 0.9, 0.7, 0.2, 0.8, 0.1], min_trust=0) == [2]
    assert chosen([0.9, 0.9, 0.9, 0.9, 0.9]) == [2]
    assert chosen([0.1, float("nan"), 0.2]) == []


def test_planes_without_prompts_or_trust_are_none():
    given = [*planes(range(3)), PlanePrompts(0, 3, (), "no evidence"), *planes(range(4, 6))]
    found = trusted_planes(given, {1: 0.9, 3: 1.0, 5: 0.6})
    assert [plane.index for plane in found] == [1, 5]
    assert trusted_planes([], {}) == []


def test_refuses():
    with pytest.raises(CamSamError, match="must be a number"):
        trusted_planes(planes(range(2)), {}, float("nan"))
    with pytest.raises(CamSamError, match="different axes"):
        trusted_planes([*planes(range(2)), PlanePrompts(1, 0, (OBJECT,))], {})


def test_heatmaps_of_a_phantom_propagated_from_the_trusted_planes():
    """Heatmaps of every plane, and the volume from the plane that the classifier is surest of."""
    sample = make_sample("ct", 11)
    window = resolve_window(sample.image, parse_window(sample.window))
    truth = np.asarray(sample.truth.data) > 0

    def read_plane(index: int) -> np.ndarray:
        return apply_window(sample.image.plane(0, index), window)

    classifier = load_classifier(sample.classifier, device="cpu")
    heatmaps = list(
        compute_heatmaps(
            classifier, map(read_plane, range(len(truth))), CamParameters(target=sample.target)
        )
    )
    prompts = [prompts_from_heatmap(h.values, index=i) for i, h in enumerate(heatmaps)]
    trusted = trusted_planes(prompts, {i: h.probability for i, h in enumerate(heatmaps)})
    assert trusted
    assert len(trusted) < len(truth) // 2
    segmenter = load_segmenter("compact-sam", "cpu")
    scores = []
    for planes_given, parameters in (
        (prompts, PropagationParameters(max_planes=0, fill_gaps=False)),
        (trusted, PropagationParameters()),
    ):
        labels = np.zeros(truth.shape, np.uint8)
        for plane in propagate(sample.image, segmenter, planes_given, read_plane, parameters):
            labels[plane.index] = plane.labels
        scores.append(overlap(labels, truth).dice)
    assert scores[1] > scores[0]
