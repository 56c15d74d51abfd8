from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image, image_from_array
from napari_cam_sam.images.windows import WindowParameters
from napari_cam_sam.models.cards import ClassifierCard, merge_cards
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.training import frames as frames_module
from napari_cam_sam.models.training.augmentation import augment, mix
from napari_cam_sam.models.training.frames import read_frames
from napari_cam_sam.models.training.loop import normalised, order_of, rate_at
from napari_cam_sam.models.training.parameters import (
    PRESETS,
    AugmentationParameters,
    TrainingParameters,
    training_preset,
)
from napari_cam_sam.models.training.samples import Sample, samples_from_csv

STILL = AugmentationParameters(
    rotation=0, zoom=0, aspect=0, shift=0, flip=False, gamma=0, gain=0, blur=0, noise=0
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def card(channels: int) -> ClassifierCard:
    fields = {
        "architecture": "small-cnn", "num_classes": 2, "channels": channels,
        "input_size": (24, 32),
    }  # fmt: skip
    return merge_cards([("test", fields)], "test", (24, 32))


@pytest.mark.parametrize("channels", [1, 3])
def test_frames_are_what_the_classifier_is_fed(channels: int) -> None:
    rng = np.random.default_rng(0)
    gray, colour = rng.integers(0, 256, (40, 30)), rng.integers(0, 256, (17, 60, 3))
    images = [
        image_from_array(gray.astype(np.uint8)),
        image_from_array(colour.astype(np.uint8), rgb=True),
        image_from_array(np.repeat(gray[..., None], 3, axis=2).astype(np.uint8), rgb=True),
    ]
    samples = [Sample(image, "a") for image in images]
    frames = read_frames(samples, WindowParameters(), (24, 32), lambda *_: None)
    classifier = Classifier(nn.Identity(), card(channels), "test", "", (), torch.device("cpu"))
    wanted, _ = classifier.prepare([np.asarray(image.data) for image in images])
    found = normalised(torch.from_numpy(frames.pixels), card(channels))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    gray_alone = read_frames(samples[::2], WindowParameters(), (24, 32), lambda *_: None)
    assert gray_alone.pixels.shape == (2, 1, 24, 32)
    found = normalised(torch.from_numpy(gray_alone.pixels), card(channels))
    torch.testing.assert_close(found, wanted[::2], rtol=0, atol=1e-5)


def test_what_cannot_be_read_is_named(tmp_path) -> None:
    volume = image_from_array(np.arange(4 * 8 * 8).reshape(4, 8, 8), name="scan")
    nothing = image_from_array(np.full((8, 8), np.nan), name="nothing")
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    samples = [
        Sample(tmp_path / "damaged.png", "a"),
        Sample(volume, "a"),
        Sample(volume, "a", plane=3),
        Sample(volume, "a", plane=4),
        Sample(nothing, "a"),
    ]
    told = []
    frames = read_frames(samples, WindowParameters(), (16, 16), lambda *done: told.append(done))
    assert frames.samples == (samples[2],)
    reasons = {one.name.rpartition("/")[2]: one.reason for one in frames.left_out}
    assert "damaged" in reasons["damaged.png"]
    assert "is a volume of 4 slices" in reasons["scan"]
    assert "no slice 4" in reasons["scan, slice 4 along axis 0"]
    assert "only NaN" in reasons["nothing"]
    assert told == [(i, 5) for i in range(1, 6)]


def test_more_than_the_memory_holds_is_refused() -> None:
    image = image_from_array(np.zeros((8, 8), np.uint8))
    with pytest.raises(CamSamError, match="of memory, and"):
        read_frames(
            [Sample(image, "a")] * 100_000, WindowParameters(), (4096, 4096), lambda *_: None
        )


def test_no_change_is_no_change_and_a_flip_is_a_flip() -> None:
    images = torch.rand(6, 1, 20, 30, generator=generator())
    torch.testing.assert_close(augment(images, STILL, generator()), images)
    flipped = augment(images, replace(STILL, flip=True), generator(1))
    same = [bool(torch.allclose(a, b, atol=1e-5)) for a, b in zip(images, flipped, strict=True)]
    mirrored = [
        bool(torch.allclose(a, b.flip(-1), atol=1e-5)) for a, b in zip(images, flipped, strict=True)
    ]
    assert [a != b for a, b in zip(same, mirrored, strict=True)] == [True] * 6
    assert any(same)
    assert any(mirrored)


def test_rotation_keeps_shapes_and_shift_brings_black() -> None:
    # A disc off the centre of a wide frame: turned about the frame's centre it stays a disc.
    rows, columns = np.mgrid[:40, :80]
    disc = ((rows - 20) ** 2 + (columns - 55) ** 2 < 36).astype(np.float32)
    images = torch.from_numpy(disc)[None, None].repeat(8, 1, 1, 1)
    turned = augment(images, replace(STILL, rotation=25), generator())
    for image in turned[:, 0].numpy():
        mass = image.sum()
        row, column = (image * rows).sum() / mass, (image * columns).sum() / mass
        assert mass == pytest.approx(disc.sum(), rel=0.03)
        assert np.hypot(row - 19.5, column - 39.5) == pytest.approx(np.hypot(0.5, 15.5), abs=0.2)
        spread = [
            (image * (axis - mean) ** 2).sum() / mass
            for axis, mean in ((rows, row), (columns, column))
        ]
        assert spread[0] == pytest.approx(spread[1], rel=0.1)
    shifted = augment(torch.ones(50, 1, 20, 20), replace(STILL, shift=0.5), generator())
    share = shifted.mean(dim=(1, 2, 3))
    assert float(share.min()) >= 0.25 - 1e-6  # half of each side
    assert float(share.min()) < 0.5
    assert float(share.max()) > 0.8


def test_gray_values_change_within_their_limits() -> None:
    images = torch.full((400, 1, 4, 4), 0.5)
    gamma = augment(images, replace(STILL, gamma=0.4), generator())[:, 0, 0, 0]
    assert float(gamma.min()) == pytest.approx(0.5 ** np.exp(0.4), abs=0.01)
    assert float(gamma.max()) == pytest.approx(0.5 ** np.exp(-0.4), abs=0.01)
    gain = augment(images, replace(STILL, gain=0.2), generator())[:, 0, 0, 0]
    assert float(gain.min()) == pytest.approx(0.4, abs=0.005)
    assert float(gain.max()) == pytest.approx(0.6, abs=0.005)
    noise = augment(images, replace(STILL, noise=0.1), generator())
    assert float((noise - 0.5).std()) == pytest.approx(0.1 / np.sqrt(3), rel=0.1)
    blurred = augment(
        torch.eye(8)[None, None].repeat(400, 1, 1, 1), replace(STILL, blur=0.3), generator()
    )
    kept = (blurred[:, 0] == torch.eye(8)).all(dim=(1, 2)).float().mean()
    assert float(kept) == pytest.approx(0.7, abs=0.07)
    assert float(blurred.sum(dim=(2, 3)).max()) == pytest.approx(8, abs=0.5)


def test_erased_squares_lie_inside_and_are_one_gray() -> None:
    images = torch.full((300, 1, 16, 24), 2.0)
    erased = augment(images, replace(STILL, erase=0.4), generator())
    changed = erased != 2
    assert float(changed.any(dim=(1, 2, 3)).float().mean()) == pytest.approx(0.4, abs=0.08)
    for image, where in zip(erased[:, 0], changed[:, 0], strict=True):
        if where.any():
            rows, columns = torch.nonzero(where, as_tuple=True)
            assert (rows.max() - rows.min(), columns.max() - columns.min()) == (3, 3)
            assert where.sum() == 16
            assert image[where].unique().numel() == 1


def test_mixing_keeps_targets_probabilities() -> None:
    images, targets = torch.eye(4), torch.eye(4)
    mixed, labels = mix(images, targets, 0.7, generator())
    torch.testing.assert_close(mixed, labels)
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(4))
    assert (labels.diagonal() >= 0.7 - 1e-6).all()


def test_every_class_is_shown_as_often() -> None:
    classes = np.repeat([0, 1, 2], [50, 20, 5])
    order = order_of(classes, "sampling", np.random.default_rng(0))
    assert np.bincount(classes[order]).tolist() == [25, 25, 25]
    shown = np.bincount(order, minlength=75)
    assert set(shown[50:70].tolist()) == {1, 2}
    assert shown[70:].tolist() == [5] * 5
    plain = order_of(classes, "none", np.random.default_rng(0))
    assert sorted(plain.tolist()) == list(range(75))


def test_the_rate_rises_and_falls_along_a_cosine() -> None:
    assert rate_at(0.05, 0.1) == pytest.approx(0.5)
    assert rate_at(0.1, 0.1) == pytest.approx(1)
    assert rate_at(0.55, 0.1) == pytest.approx(0.5)
    assert rate_at(1, 0) == pytest.approx(0)
    assert rate_at(1 / 3, 0) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "resnet81"}, "Did you mean resnet18"),
        ({"balance": "sample"}, "Did you mean sampling"),
        ({"epochs": 0}, "epochs must be 1 or more"),
        ({"batch_size": 1}, "batch_size must be 2 or more"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"seed": 2**64}, "seed must be 0 to"),
        ({"input_size": (8, 128)}, "input_size must be rows and columns from 16"),
        ({"channels": 2}, "channels must be 1, 3"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1"),
        ({"validation_part": 0.5, "test_part": 0.4}, "leave too little"),
        ({"patience": 3, "validation_part": 0.0}, "needs a validation part"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"classes": ("a", "a")}, "two or more different"),
    ],
)
def test_parameters_out_of_their_range(changes: dict, words: str) -> None:
    with pytest.raises(CamSamError, match=words):
        replace(TrainingParameters(), **changes)


def test_augmentation_out_of_its_range_and_presets() -> None:
    with pytest.raises(CamSamError, match=r"augmentation gain must be in 0 to 0\.99"):
        AugmentationParameters(gain=1.5)
    assert training_preset("s1").head == "extra"
    assert (PRESETS["s1"].learning_rate, PRESETS["s1"].backbone_rate) == (9e-4, 9e-5)
    assert PRESETS["s0"].architecture == "mobilenet_v3_large"
    with pytest.raises(CamSamError, match="Unknown preset 's3'"):
        training_preset("s3")


def test_a_volume_is_opened_once_for_the_rows_of_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def read(path: Path) -> Image:
        opened.append(path)
        return image_from_array(np.arange(3 * 20 * 20, dtype=np.uint8).reshape(3, 20, 20))

    monkeypatch.setattr(frames_module, "read_image", read)
    (tmp_path / "list.csv").write_text("path,label,plane\n" + "a.nii,x,0\na.nii,x,1\na.nii,x,2\n")
    samples = samples_from_csv(tmp_path / "list.csv").samples
    assert len(read_frames(samples, WindowParameters(), (16, 16), lambda *_: None).samples) == 3
    assert opened == [tmp_path / "a.nii"]
