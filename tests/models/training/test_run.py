import csv
import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.models.classifiers import load_classifier
from napari_cam_sam.models.inspection import describe
from napari_cam_sam.models.training.frames import read_frames
from napari_cam_sam.models.training.parameters import TrainingParameters
from napari_cam_sam.models.training.results import TrainingProgress, TrainingResult
from napari_cam_sam.models.training.run import leave_out_near, train
from napari_cam_sam.models.training.samples import Sample, SampleSet, samples_from_folder

QUICK = TrainingParameters(
    architecture="small-cnn", input_size=(32, 32), epochs=3, batch_size=8, device="cpu",
    validation_part=0.2, test_part=0.25,
)  # fmt: skip


def stripes(seed: int, upright: bool) -> np.ndarray:
    """Noise with stripes along one axis, all different."""
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(40) * rng.uniform(0.5, 1.2) + rng.uniform(0, 6))
    plane = 120 + 60 * (wave[None] if upright else wave[:, None]) + rng.normal(0, 25, (40, 40))
    return plane.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures in two classes, one of them twice."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, upright in (("lying", False), ("upright", True)):
        (folder / name).mkdir()
        for index in range(20):
            plane = stripes(index + 100 * upright, upright)
            Pillow.fromarray(plane).save(folder / name / f"{index}.png")
    Pillow.fromarray(stripes(3, False)[1:]).save(folder / "lying" / "again.png")
    return folder


@pytest.fixture(scope="module")
def samples(folder: Path) -> SampleSet:
    return samples_from_folder(folder)


@pytest.fixture(scope="module")
def whole(samples: SampleSet, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """One training without a break."""
    return train(samples, QUICK, tmp_path_factory.mktemp("training") / "out")


def weights(path: Path | None) -> dict[str, torch.Tensor]:
    assert path is not None
    return load_file(path)


def equal(first: Path | None, second: Path | None) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rows_of(result: TrainingResult) -> list[dict[str, str]]:
    assert result.model is not None
    with (result.model.parent / "predictions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_what_comes_out_loads_and_gives_the_figures(whole: TrainingResult, folder: Path) -> None:
    assert whole.finished
    assert whole.figures is not None
    assert {p.name for p in whole.model.parent.iterdir()} == {
        "model.safetensors", "training.json", "predictions.csv",
    }  # fmt: skip
    classifier = load_classifier(whole.model, device="cpu")
    assert classifier.card.class_names == ("lying", "upright")
    assert (classifier.card.channels, classifier.card.input_size) == (1, (32, 32))
    rows = [row for row in rows_of(whole) if row["part"] == "test"]
    assert len(rows) == whole.figures.n == whole.parts["test"]
    planes = [np.asarray(Pillow.open(row["image"])) for row in rows]
    values = classifier.probabilities(planes)
    written = np.array([[float(row["lying"]), float(row["upright"])] for row in rows])
    np.testing.assert_allclose(values, written, atol=2e-6)
    right = [
        classifier.card.class_names[k] == r["label"]
        for k, r in zip(values.argmax(1), rows, strict=True)
    ]
    assert whole.figures.accuracy == pytest.approx(np.mean(right))
    assert np.sum(whole.figures.confusion) == len(rows)


def test_copies_stay_together_and_are_counted(whole: TrainingResult) -> None:
    rows = rows_of(whole)
    pair = [row for row in rows if Path(row["image"]).name in ("3.png", "again.png")]
    pair = [row for row in pair if row["label"] == "lying"]
    assert len(pair) == 2
    assert pair[0]["group"] == pair[1]["group"]
    assert pair[0]["part"] == pair[1]["part"]
    assert whole.copies is not None
    assert (whole.copies.images, whole.copies.surplus) == (2, 1)
    assert sum(whole.parts.values()) == len(rows) == 41


def test_the_card_says_how_it_was_trained(whole: TrainingResult) -> None:
    found = describe(load_classifier(whole.model, device="cpu"))["training"]
    assert found["figures"]["accuracy"] == whole.figures.accuracy
    assert found["parameters"]["seed"] == 0
    assert found["parameters"]["window"]["kind"] == "auto"
    assert len(found["data_sha256"]) == 64
    assert found["versions"]["torch"]
    assert found["start"] == whole.start == "scratch"
    record = json.loads((whole.model.parent / "training.json").read_text())
    assert [epoch["number"] for epoch in record["epochs"]] == [1, 2, 3]
    assert record["finished"] is True


def test_the_same_seed_gives_the_same_weights(
    whole: TrainingResult, samples: SampleSet, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    again = train(samples, QUICK, tmp_path / "again")
    assert equal(whole.model, again.model)
    assert torch.equal(before, torch.random.get_rng_state())
    assert [replace(e, seconds=0) for e in whole.epochs] == [
        replace(e, seconds=0) for e in again.epochs
    ]
    other = train(samples, replace(QUICK, seed=1, epochs=1), tmp_path / "other")
    assert not equal(whole.model, other.model)


def test_progress_counts_up_and_gives_every_epoch(samples: SampleSet, tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    result = train(samples, replace(QUICK, epochs=2), tmp_path / "out", progress=told.append)
    assert tuple(p.epoch for p in told if p.epoch) == result.epochs
    for stage in ("reading", "training", "testing"):
        done = [p.done for p in told if p.stage == stage]
        assert done == sorted(done)
        assert [p.done == p.total for p in told if p.stage == stage][-1]


def test_a_stopped_training_goes_on_as_if_it_had_not_been(
    whole: TrainingResult, samples: SampleSet, tmp_path: Path
) -> None:
    seen: list[TrainingProgress] = []

    def stop() -> bool:  # in the middle of the second epoch
        return len(seen) > 0 and seen[-1].stage == "training" and seen[-1].done == 5

    stopped = train(samples, QUICK, tmp_path / "out", progress=seen.append, stop=stop)
    assert not stopped.finished
    assert [e.number for e in stopped.epochs] == [1]
    assert load_classifier(stopped.model).card.class_names == ("lying", "upright")
    with pytest.raises(CamSamError, match="holds an unfinished training: resume it"):
        train(samples, QUICK, tmp_path / "out")
    changed = replace(QUICK, seed=4, learning_rate=0.1)
    with pytest.raises(CamSamError, match="differs in learning_rate, seed"):
        train(samples, changed, tmp_path / "out", resume=True)
    with pytest.raises(CamSamError, match="differs in data"):
        train(SampleSet(samples.samples[1:]), QUICK, tmp_path / "out", resume=True)
    resumed = train(samples, QUICK, tmp_path / "out", resume=True)
    assert resumed.finished
    assert equal(whole.model, resumed.model)
    assert [replace(e, seconds=0) for e in whole.epochs] == [
        replace(e, seconds=0) for e in resumed.epochs
    ]
    with pytest.raises(CamSamError, match="holds a finished classifier"):
        train(samples, QUICK, tmp_path / "out", resume=True)


def test_stopped_before_the_first_epoch_there_is_no_classifier(
    samples: SampleSet, tmp_path: Path
) -> None:
    reading = train(samples, QUICK, tmp_path / "a", stop=lambda: True)
    assert (reading.model, reading.finished, reading.epochs) == (None, False, ())
    seen: list[TrainingProgress] = []
    begun = train(
        samples, QUICK, tmp_path / "b", progress=seen.append,
        stop=lambda: seen[-1].stage == "training",
    )  # fmt: skip
    assert (begun.model, begun.best_epoch) == (None, 0)
    assert train(samples, replace(QUICK, epochs=1), tmp_path / "b", resume=True).finished


KILLED = """
import os, signal, sys
from pathlib import Path
from napari_cam_sam.models.training.run import train
from napari_cam_sam.models.training.samples import samples_from_folder
sys.path.insert(0, {here!r})
from test_run import QUICK
def tell(progress):
    if progress.stage == "training" and progress.done == 8:
        os.kill(os.getpid(), signal.SIGKILL)
train(samples_from_folder({folder!r}), QUICK, Path({out!r}), progress=tell)
"""


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_it_had_not_been(
    whole: TrainingResult, samples: SampleSet, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    here = str(Path(__file__).parent)
    code = KILLED.format(here=here, folder=str(folder), out=str(out))
    threads = str(torch.get_num_threads())
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert (out / "checkpoint.pt").exists()
    resumed = train(samples, QUICK, out, resume=True)
    assert equal(whole.model, resumed.model)


def test_a_full_disk_leaves_the_last_epoch(
    whole: TrainingResult,
    samples: SampleSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    real, written = os.replace, []

    def full(source: Path, target: Path) -> None:
        if written.count("checkpoint.pt") == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)
        written.append(Path(target).name)

    with monkeypatch.context() as patch:
        patch.setattr("napari_cam_sam.images.writing.os.replace", full)
        with pytest.raises(CamSamError, match="No space left on device"):
            train(samples, QUICK, out)
    assert {p.name for p in out.iterdir()} == {"checkpoint.pt", "training.json"}
    assert equal(whole.model, train(samples, QUICK, out, resume=True).model)


def test_folders_that_cannot_be_used(samples: SampleSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CamSamError, match="cannot be made"):
        train(samples, QUICK, tmp_path / "file" / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.pt").write_bytes(b"no state")
    with pytest.raises(CamSamError, match="is not the state of a training, or is damaged"):
        train(samples, QUICK, tmp_path / "out", resume=True)


def test_patience_ends_a_training_that_no_longer_gains(samples: SampleSet, tmp_path: Path) -> None:
    # A rate so small that the first epoch's weights stay the best within a few epochs.
    slow = replace(QUICK, learning_rate=1e-12, epochs=30, patience=2)
    result = train(samples, slow, tmp_path / "out")
    assert result.finished
    assert len(result.epochs) == result.best_epoch + 2 < 30


def test_the_best_epoch_is_the_one_that_is_kept(whole: TrainingResult) -> None:
    losses = [epoch.validation_loss for epoch in whole.epochs]
    assert whole.best_epoch == int(np.argmin(losses)) + 1
    assert [e.best for e in whole.epochs] == [
        loss == min(losses[: i + 1]) for i, loss in enumerate(losses)
    ]


def test_without_parts_to_look_at_the_last_epoch_is_kept(
    samples: SampleSet, tmp_path: Path
) -> None:
    everything = replace(QUICK, validation_part=0, test_part=0, epochs=2)
    result = train(samples, everything, tmp_path / "out")
    assert result.best_epoch == 2
    assert (result.figures, result.validation) == (None, None)
    assert result.parts == {"train": 41, "validation": 0, "test": 0}
    assert np.isnan(result.epochs[0].validation_loss)


def test_it_learns(samples: SampleSet, tmp_path: Path) -> None:
    result = train(samples, replace(QUICK, epochs=12, precision="float32"), tmp_path / "out")
    assert result.figures is not None
    assert result.figures.accuracy >= 0.9
    assert result.epochs[-1].loss < 0.8 * result.epochs[0].loss


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "resnet18", "head": "extra", "balance": "weights", "channels": 3},
        {"architecture": "mobilenet_v3_small", "backbone_rate": 1e-4},
        {"augmentation": replace(QUICK.augmentation, mixup=0.4), "balance": "none"},
    ],
)
def test_other_networks_and_losses(samples: SampleSet, tmp_path: Path, changes: dict) -> None:
    parameters = replace(QUICK, epochs=1, start="scratch", **changes)
    result = train(samples, parameters, tmp_path / "out")
    classifier = load_classifier(result.model, device="cpu")
    assert classifier.card.fine_grid is (parameters.architecture != "small-cnn")
    assert classifier.card.head == parameters.head
    rows = [row for row in rows_of(result) if row["part"] == "test"]
    values = classifier.probabilities([np.asarray(Pillow.open(row["image"])) for row in rows])
    np.testing.assert_allclose(values[:, 0], [float(r["lying"]) for r in rows], atol=1e-5)


def test_damaged_images_are_named_and_left_out(samples: SampleSet, tmp_path: Path) -> None:
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG")
    more = SampleSet((*samples.samples, Sample(tmp_path / "damaged.png", "lying")))
    result = train(more, replace(QUICK, epochs=1), tmp_path / "out")
    assert [Path(one.name).name for one in result.left_out] == ["damaged.png"]
    assert json.loads((tmp_path / "out/training.json").read_text())["left_out"][0]["reason"]
    bad = tuple(Sample(tmp_path / "damaged.png", label) for label in "ab")
    with pytest.raises(CamSamError, match="None of the 2 images could be read"):
        train(SampleSet(bad), QUICK, tmp_path / "none")


def test_nothing_one_class_and_one_image(tmp_path: Path, samples: SampleSet) -> None:
    with pytest.raises(CamSamError, match="no images to train on"):
        train(SampleSet(()), QUICK, tmp_path / "out")
    with pytest.raises(CamSamError, match="have the label 'lying'"):
        train(SampleSet(samples.samples[:5]), QUICK, tmp_path / "out")
    with pytest.raises(CamSamError, match="'upright' has 1 image, and each of 3 parts"):
        train(SampleSet(samples.samples[:22]), QUICK, tmp_path / "out")
    with pytest.raises(CamSamError, match="none of the classes: lying, sitting"):
        train(samples, replace(QUICK, classes=("lying", "sitting")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_hash_of_the_data_is_of_what_they_hold(samples: SampleSet) -> None:
    def hashed(given: tuple[Sample, ...]) -> str:
        return read_frames(given, QUICK.window, (32, 32), lambda *_: None).data_hash()

    own = samples.samples
    first = hashed(own)
    memory = [replace(s, image=image_from_array(np.asarray(Pillow.open(s.image)))) for s in own]
    assert hashed(tuple(memory)) == first
    named = [hashed(tuple(replace(s, group=name) for s in own)) for name in ("a", "b")]
    assert named[0] == named[1] != first
    assert hashed((replace(own[0], label="upright"), *own[1:])) != first
    assert hashed(own[1:]) != first


def test_a_loss_that_explodes_is_said(samples: SampleSet, tmp_path: Path) -> None:
    with pytest.raises(CamSamError, match="no longer finite: choose a lower learning rate"):
        train(samples, replace(QUICK, learning_rate=1e30), tmp_path / "out")


def test_what_is_near_held_out_images_goes_with_its_group(samples: SampleSet) -> None:
    held = SampleSet((Sample(image_from_array(stripes(3, False)[:, 1:]), ""),))
    own = [s if s.image.name != "7.png" else replace(s, group="p") for s in samples.samples]
    own = [s if s.image.name != "3.png" else replace(s, group="p") for s in own]
    left = leave_out_near(SampleSet(tuple(own)), held, QUICK)
    # Both classes have a 3.png and a 7.png, all of group p.
    gone = {
        Path(one.name).relative_to(Path(one.name).parents[1]).as_posix() for one in left.left_out
    }
    assert gone == {
        "lying/3.png", "lying/again.png", "lying/7.png", "upright/3.png", "upright/7.png",
    }  # fmt: skip
    assert len(left.samples) == 36
    with pytest.raises(CamSamError, match="does not exist"):
        leave_out_near(samples, SampleSet((Sample(Path("none.png"), ""),)), QUICK)


def test_weights_that_diverge_in_the_last_step_are_said(samples: SampleSet, tmp_path: Path) -> None:
    parameters = replace(
        QUICK, epochs=1, batch_size=64, learning_rate=1e38, warm_up=0.0, precision="float32"
    )
    with pytest.raises(CamSamError, match=r"epoch 1 are no longer finite.*lower learning rate"):
        train(samples, parameters, tmp_path / "out")


def test_a_refused_training_leaves_the_folder_that_was_there(tmp_path: Path) -> None:
    few = SampleSet(
        tuple(Sample(image_from_array(stripes(i, True)), name) for i, name in enumerate("ab"))
    )
    (tmp_path / "mine").mkdir()
    for name in ("mine", "new"):
        with pytest.raises(CamSamError, match="each of 3 parts"):
            train(few, QUICK, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
