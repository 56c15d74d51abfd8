from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_cam_sam.cam.predictions import predict_planes
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.segment.mask_training import (
    MaskTrainingParameters,
    save_network,
    train_on_masks,
)
from napari_cam_sam.models.segmentation import load_network

RNG = np.random.default_rng(8)
QUICK = MaskTrainingParameters(
    input_size=(48, 48),
    epochs=16,
    batch_size=8,
    learning_rate=4e-3,
    rotation=0,
    zoom=0.1,
    noise=0.01,
    device="cpu",
)


def disc(
    rows: int, columns: int, radius: float = 0.28
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A dark disc at a random place on a brighter, rough ground, and its mask."""
    row, column = RNG.uniform(0.3, 0.7, 2) * (rows, columns)
    r, c = np.indices((rows, columns))
    mask = np.hypot(r - row, c - column) < radius * min(rows, columns)
    plane = np.where(mask, 60, 150) + RNG.normal(0, 12, (rows, columns))
    return plane.clip(0, 255).astype(np.uint8), mask.astype(np.float32)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    return [disc(40, 44) for _ in range(40)]


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_errors_of_single_masks_are_averaged_out(
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.float32]]], tmp_path: Path
) -> None:
    """Each mask lacks a random half; what is learned is nearer to the truth than they are."""
    broken = []
    for _, mask in pairs:
        row, column = (int(v) for v in np.argwhere(mask > 0).mean(axis=0))
        half = mask.copy()
        part = [np.s_[:row], np.s_[row:], np.s_[:, :column], np.s_[:, column:]]
        half[part[RNG.integers(4)]] = 0
        broken.append(half)
    told: list[tuple[int, int]] = []
    network = train_on_masks(
        [plane for plane, _ in pairs], broken, QUICK, progress=lambda *at: told.append(at)
    )
    assert told == [(i + 1, 80) for i in range(80)]
    new = [disc(40, 44) for _ in range(10)]
    found = list(predict_planes(network, [plane for plane, _ in new], "lesion"))
    learned = np.mean([dice(f > 0.35, m > 0) for f, (_, m) in zip(found, new, strict=True)])
    given = np.mean([dice(b > 0, m > 0) for b, (_, m) in zip(broken, pairs, strict=True)])
    assert given < 0.7 < 0.8 < learned
    path = tmp_path / "second.safetensors"
    save_network(network, path)
    again = list(predict_planes(load_network(path), [plane for plane, _ in new], "lesion"))
    for a, b in zip(found, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_same_seed_same_weights_and_another_seed_others(
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.float32]]],
) -> None:
    planes, masks = zip(*pairs[:8], strict=True)
    settings = MaskTrainingParameters(input_size=(32, 32), epochs=2, batch_size=4, device="cpu")
    first, again = (train_on_masks(planes, masks, settings).sha256 for _ in range(2))
    other = MaskTrainingParameters((32, 32), 2, 4, seed=1, device="cpu")
    assert first == again != train_on_masks(planes, masks, other).sha256


def test_what_cannot_be_trained_on_is_said() -> None:
    plane, mask = disc(20, 20)
    for planes, masks, words in (
        ([], [], "0 slices"),
        ([plane], [], "1 slices and 0 masks"),
        ([plane[..., None]], [mask], "gray slices"),
        ([plane], [mask[:5]], "shape"),
        ([plane], [mask * 2], "0 to 1"),
        ([plane], [np.full_like(mask, np.nan)], "0 to 1"),
        ([plane], [mask * 0.4], "No mask"),
    ):
        with pytest.raises(CamSamError, match=words):
            train_on_masks(planes, masks, QUICK)
    for settings in ({"input_size": (20, 32)}, {"epochs": 0}, {"empty": 1.0}, {"shift": -1.0}):
        with pytest.raises(CamSamError):
            MaskTrainingParameters(**settings)  # type: ignore[arg-type]


def test_a_network_that_cannot_be_written(tmp_path: Path) -> None:
    plane, mask = disc(32, 32)
    settings = MaskTrainingParameters((32, 32), 1, 2, device="cpu")
    network = train_on_masks([plane] * 2, [mask] * 2, settings)
    with pytest.raises(CamSamError, match="could not be written"):
        save_network(network, tmp_path / "none" / "network.safetensors")


def test_a_training_is_ended_by_what_progress_raises() -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise StopError

    plane, mask = disc(32, 32)
    with pytest.raises(StopError):
        train_on_masks([plane] * 8, [mask] * 8, QUICK, progress=stop)
