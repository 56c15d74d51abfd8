"""Several classes as one target, log odds, and maps averaged with the mirrored plane's."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from napari_cam_sam.cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.segmentation import network_of_module

Make = Callable[..., Classifier]
Planes = list[NDArray[np.uint8]]


def one(model: Classifier, plane: NDArray[np.uint8], **settings: object) -> Heatmap:
    return next(compute_heatmaps(model, [plane], CamParameters("grad-cam", **settings)))  # type: ignore[arg-type]


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(values - values.max())
    return powers / powers.sum()


@pytest.mark.parametrize("odds", [False, True])
@pytest.mark.parametrize("members", [(1,), (0, 2), (3, 1, 2)])
def test_score_is_differentiated_by_the_chain_rule(
    shallow: Classifier, planes: Planes, members: tuple[int, ...], odds: bool
) -> None:
    """Grad-CAM is linear in the gradient: the map is a mean of the classes' own maps."""
    each = [one(shallow, planes[0], target=k).raw for k in range(4)]
    logits = np.log(shallow.probabilities(planes[:1])[0].astype(np.float64))
    expected = np.tensordot(softmax(logits[list(members)]), [each[k] for k in members], 1)
    if odds:
        others = [k for k in range(4) if k not in members]
        expected = expected - np.tensordot(softmax(logits[others]), [each[k] for k in others], 1)
    names = "+".join(f"class {k}" for k in members)
    found = one(shallow, planes[0], target=names, odds=odds)
    np.testing.assert_allclose(found.raw, expected, atol=1e-6)
    assert found.target_name == names
    assert found.target_index == max(members, key=lambda k: logits[k])
    assert found.probability == pytest.approx(np.exp(logits[list(members)]).sum(), abs=1e-6)


def test_odds_of_two_classes_is_the_difference_of_their_logits(make: Make, planes: Planes) -> None:
    from tests.cam.conftest import tiny

    model = make(tiny(classes=2), classes=2)
    first, second = (one(model, planes[0], target=k).raw for k in (0, 1))
    np.testing.assert_allclose(
        one(model, planes[0], target=0, odds=True).raw, first - second, atol=1e-6
    )


def test_a_class_whose_name_has_a_plus_stays_one_class(make: Make, planes: Planes) -> None:
    from dataclasses import replace

    model = make()
    named = replace(model, card=replace(model.card, class_names=("a", "b", "a+b", "c")))
    assert one(named, planes[0], target="a+b").target_index == 2
    assert one(named, planes[0], target="a + c").target_name == "a+c"


@pytest.mark.parametrize("shape", [(32, 32), (20, 50), (33, 20)])
def test_mirrored_map_of_the_mirrored_plane_is_the_map_mirrored(
    deep: Classifier, shape: tuple[int, int]
) -> None:
    plane = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    turned = np.ascontiguousarray(plane[:, ::-1])
    settings = CamParameters("layer-cam", "class 1", ("first", "second"), mirrored=True)
    here, there = (next(compute_heatmaps(deep, [p], settings)) for p in (plane, turned))
    np.testing.assert_allclose(here.values, there.values[:, ::-1], atol=1e-5)
    alone = next(compute_heatmaps(deep, [plane], CamParameters("layer-cam", "class 1")))
    assert np.abs(alone.values - here.values).max() > 0.01


def test_mirrored_maps_explain_the_class_of_the_plane_itself(
    deep: Classifier, planes: Planes
) -> None:
    predicted = deep.probabilities(planes).argmax(axis=1)
    heatmaps = list(compute_heatmaps(deep, planes, CamParameters("layer-cam", mirrored=True)))
    assert [h.target_index for h in heatmaps] == predicted.tolist()
    for k, plane, heatmap in zip(predicted, planes, heatmaps, strict=True):
        turned = np.ascontiguousarray(plane[:, ::-1])
        a, b = (
            next(compute_heatmaps(deep, [p], CamParameters("layer-cam", int(k)))).raw
            for p in (plane, turned)
        )
        np.testing.assert_allclose(heatmap.raw, (a + b[:, ::-1]) / 2, atol=1e-6)


def test_what_cannot_be_explained_is_said(shallow: Classifier) -> None:
    everything = "+".join(shallow.card.class_names)
    for settings, words in (
        (CamParameters(target=everything, odds=True), "none left"),
        (CamParameters("finer-cam", "class 1+class 2"), "explains one class"),
        (CamParameters("shapley-cam", odds=True), "score of its own"),
        (CamParameters("lrp", "class 1+class 2"), "explains one class"),
        (CamParameters("lrp", odds=True), "score of its own"),
        (CamParameters(target="class 1+clas 2"), "clas 2"),
    ):
        with pytest.raises(CamSamError, match=words):
            compute_heatmaps(shallow, [], settings)


def test_networks_have_pixel_sets_instead() -> None:
    module = torch.nn.Conv2d(1, 2, 3, padding=1)
    card = {"num_classes": 2, "input_size": [16, 16], "layers": [], "architecture": "one"}
    network = network_of_module("one", module, card, torch.device("cpu"))
    for settings in ({"odds": True}, {"mirrored": True}, {"target": "class 0+class 1"}):
        with pytest.raises(CamSamError, match="segmentation network"):
            compute_heatmaps(network, [], CamParameters(**settings))  # type: ignore[arg-type]
