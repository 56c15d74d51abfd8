"""``run --propagate``: objects of a volume, where they are from, and what stops it."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow

from napari_cam_sam.cli import main
from napari_cam_sam.demo.samples import make_sample
from napari_cam_sam.images.reading import read_image, read_labels
from napari_cam_sam.images.windows import apply_window, parse_window, resolve_window
from napari_cam_sam.images.writing import write_image, write_labels
from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts
from napari_cam_sam.sam.cache.embeddings import EmbeddingCache
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.registry import CACHE_VARIABLE
from napari_cam_sam.sam.volume.propagation import propagate
from napari_cam_sam.sam.volume.smoothing import smooth_along_axis

MIDDLE = 11  # of the planes 8 to 14 that the lesion of the sample is on
BOXED = f"strategy: truth-box\nprompts: {{margin: 2}}\nplanes: {MIDDLE}\n"

AT_MOST = "volume: {{propagation: {{max_planes: {}}}}}"


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    sample = make_sample("ct")
    folder = tmp_path_factory.mktemp("volume")
    write_image(folder / "image.nii.gz", sample.image)
    write_labels(folder / "truth.nii.gz", np.asarray(sample.truth.data), sample.image)
    return folder / "image.nii.gz", folder / "truth.nii.gz"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep embeddings away from the user's, in one folder for all tests: that is what it is for."""
    folder = tmp_path_factory.getbasetemp() / "cache-of-volumes"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


def config(folder: Path, settings: str) -> list[str]:
    """Write a file of settings, and give the options that name it."""
    path = folder / "settings.yaml"
    path.write_text(settings)
    return ["--config", str(path)]


def command(
    volume: tuple[Path, Path], output: Path, *more: object, settings: str = ""
) -> list[str]:
    if settings:
        more = (*more, *config(volume[0].parent, settings))
    given = ["run", volume[0], "--truth", volume[1], "--window", "ct-abdomen", "--device", "cpu"]
    return [str(a) for a in [*given, "--sam", "compact-sam", "--output", output, "--json", *more]]


def boxed(volume: tuple[Path, Path], output: Path, *more: object, settings: str = "") -> list[str]:
    """One box of the truth, on the middle plane, propagated."""
    return command(volume, output, "--propagate", *more, settings=BOXED + settings)


def asked(capsys: pytest.CaptureFixture[str], argv: list[str]) -> dict[str, Any]:
    assert main(argv) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    data = json.loads(printed.out)
    assert isinstance(data, dict)
    return data


def labels_of(output: Path) -> NDArray[Any]:
    return np.asarray(read_labels(output / "labels.nii.gz").data)


def dice(first: NDArray[Any], second: NDArray[Any]) -> float:
    return 2 * np.count_nonzero((first > 0) & (second > 0)) / (
        np.count_nonzero(first) + np.count_nonzero(second)
    )  # fmt: skip


def test_propagation_finds_more_than_the_prompted_plane(
    volume: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.asarray(read_labels(volume[1]).data)
    whole = asked(capsys, boxed(volume, tmp_path / "whole"))
    alone = asked(capsys, boxed(volume, tmp_path / "alone", settings=AT_MOST.format(0)))
    assert whole["scores"]["volume"]["dice"] > alone["scores"]["volume"]["dice"] + 0.3
    for name, printed in (("whole", whole), ("alone", alone)):
        found = dice(labels_of(tmp_path / name), truth)
        assert printed["scores"]["volume"]["dice"] == pytest.approx(found)

    # The same by hand, with the function of the room below.
    image, segmenter = read_image(volume[0]), load_segmenter("compact-sam", "cpu")
    window = resolve_window(image, parse_window("ct-abdomen"))
    rows, columns = np.nonzero(truth[MIDDLE])
    box = Box(
        float(rows.min() - 2), float(columns.min() - 2),
        float(rows.max() + 3), float(columns.max() + 3), "truth",
    )  # fmt: skip
    expected = np.zeros_like(truth)
    by_hand = {}
    for plane in propagate(
        image,
        segmenter,
        [PlanePrompts(0, MIDDLE, (ObjectPrompt(1, box=box),))],
        lambda index: apply_window(image.plane(0, index), window),
        encode=lambda plane: EmbeddingCache().encode(segmenter, plane),
    ):
        expected[plane.index] = plane.labels
        by_hand[plane.index] = plane.objects[0]
    np.testing.assert_array_equal(labels_of(tmp_path / "whole"), expected)

    record = json.loads((tmp_path / "whole" / "run.json").read_text())
    assert record["sources"] == whole["sources"]
    assert [one["index"] for one in record["sources"]] == sorted(by_hand)
    for one in record["sources"]:
        hand = by_hand[one["index"]]
        assert (one["object_id"], one["source"], one["from_plane"], one["stopped"]) == (
            1, hand.source, MIDDLE, hand.stopped,
        )  # fmt: skip
    assert {one["source"] for one in record["sources"]} == {"prompted", "propagated", "none"}
    assert any(one["stopped"] for one in record["sources"])
    with (tmp_path / "whole" / "scores.csv").open() as file:
        rows_of_table = {int(row["index"]): row for row in csv.DictReader(file)}
    assert rows_of_table[MIDDLE]["source"] == "prompted"
    assert rows_of_table[MIDDLE + 1]["source"] == "propagated"
    assert rows_of_table[MIDDLE + 1]["from_plane"] == str(MIDDLE)


def test_rules_can_be_turned_off(
    volume: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = """volume:
      propagation: {min_contrast: null, follow_brightness: false, max_planes: 2}
    """
    printed = asked(capsys, boxed(volume, tmp_path / "out", settings=far))
    with_mask = [one["index"] for one in printed["sources"] if one["source"] != "none"]
    assert with_mask == list(range(MIDDLE - 2, MIDDLE + 3))
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    rule = record["parameters"]["volume"]["propagation"]
    assert (rule["min_contrast"], rule["max_planes"], rule["margin"]) == (None, 2, 2.0)


@pytest.mark.slow
def test_heatmaps_prompt_the_planes_that_can_be_trusted(
    volume: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lesion = ("--classifier", "lesion", "--target", "lesion")
    printed = asked(capsys, command(volume, tmp_path / "out", *lesion, "--propagate"))
    prompted = [plane["index"] for plane in printed["prompts"]["planes"] if plane["objects"]]
    probabilities = json.loads((tmp_path / "out" / "run.json").read_text())["probabilities"]
    assert len(probabilities) == 24
    assert max(probabilities, key=lambda index: probabilities[index]) in map(str, prompted)
    reasons = [plane["reason"] for plane in printed["prompts"]["planes"] if not plane["objects"]]
    assert any("below 0.5" in reason for reason in reasons)
    assert any("is more probable" in reason for reason in reasons)
    by_plane = asked(capsys, command(volume, tmp_path / "planes", *lesion))
    assert printed["scores"]["volume"]["dice"] > by_plane["scores"]["volume"]["dice"] + 0.3
    heatmaps = [read_image(tmp_path / n / "heatmap.nii.gz").data for n in ("out", "planes")]
    np.testing.assert_array_equal(*map(np.asarray, heatmaps))

    nothing = asked(
        capsys, command(volume, tmp_path / "none", *lesion, settings="volume: {min_trust: 1}")
    )
    assert nothing["sources"] == []
    assert not labels_of(tmp_path / "none").any()


@pytest.mark.slow
def test_smoothing_and_the_consensus_of_three_axes(
    volume: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(capsys, boxed(volume, tmp_path / "plain"))
    asked(capsys, boxed(volume, tmp_path / "smooth", settings="volume: {smooth: 5}"))
    plain, spacing = labels_of(tmp_path / "plain"), read_image(volume[0]).geometry.spacing
    smooth = smooth_along_axis(plain, 0, 5.0, spacing)
    assert (smooth != plain).any()
    np.testing.assert_array_equal(labels_of(tmp_path / "smooth"), smooth)

    printed = asked(capsys, boxed(volume, tmp_path / "three", "--consensus"))
    found = printed["consensus"]
    labels = labels_of(tmp_path / "three")
    against = np.asarray(read_image(tmp_path / "three" / "disagreement.nii.gz").data)
    np.testing.assert_allclose(np.unique(against), [0, 1 / 3], atol=1e-6)  # two of three say it
    np.testing.assert_array_equal(labels[against == 0], plain[against == 0])
    assert found["axes"] == [0, 1, 2]
    assert found["dice"]["1"][0] == pytest.approx(dice(plain, labels))
    claimed = (against > 0) | (labels > 0)
    assert found["disagreement"] == pytest.approx(against[claimed].astype(bool).mean())
    assert (tmp_path / "three" / "disagreement.nii.gz").name in printed["files"]
    # A run without leaves none of another run's behind.
    asked(capsys, boxed(volume, tmp_path / "three"))
    assert not (tmp_path / "three" / "disagreement.nii.gz").exists()


def test_people_read_where_masks_are_from(
    volume: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = boxed(volume, tmp_path / "out", "--consensus")
    argv.remove("--json")
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "1 prompted, 5 propagated, 0 interpolated" in out
    assert "object 1 stops at slice 15: nothing is as bright as the object" in out
    assert "object 1: Dice with the consensus" in out
    assert "Slices 0 to 23 as one volume: iou" in out


def test_the_overview_shows_planes_that_only_propagation_reached(
    volume: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heights = []
    for planes in (0, 1):
        output = tmp_path / str(planes)
        argv = command(volume, output, "--classifier", "lesion", "--target", "lesion")
        i = argv.index("--truth")
        without_truth = [*argv[:i], *argv[i + 2 :]]
        asked(capsys, [*without_truth, *config(tmp_path, AT_MOST.format(planes))])
        heights.append(Pillow.open(output / "overview.png").height)
    assert heights[1] > 2 * heights[0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_leaves_nothing_half_written(volume: tuple[Path, Path], tmp_path: Path) -> None:
    cache = f"embeddings: {{folder: {tmp_path / 'cache'}}}"
    argv = boxed(volume, tmp_path / "deep" / "out", "--consensus", settings=cache)
    worker = subprocess.Popen(
        [sys.executable, "-m", "napari_cam_sam", *argv],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(tmp_path.rglob("*.zarr.zip"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.002)
    worker.send_signal(signal.SIGINT)
    out, err = worker.communicate()
    assert worker.returncode == 130
    assert out == ""
    assert err == "napari-cam-sam: stopped; nothing was written.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def refused(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    return str(err)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--mask-from", "heatmap"], "starts from prompts"),
        (["--mask-choice", "oracle"], "single, first or best"),
        (["--mask-choice", "bst"], "best"),
        (["--strategy", "s2-adaptive"], "other negatives"),
        ("volume: {propagation: {rule: boxx}}", "mask+box"),
        ("volume: {propagation: {min_contrast: 3}}", "from 0 to 1"),
        ("volume: {propagation: {min_contrast: much}}", "must be a number"),
        ("volume: {propagation: {max_planes: 1.5}}", "must be a whole number"),
        ("volume: {propagation: {mask_choice: best}}", "outside of 'volume'"),
        ("volume: {smooth: -1}", "0 mm or more"),
        ("volume: {smooth: .nan}", "0 mm or more"),
        ("volume: {min_trust: 2}", "0 to 1"),
        ("ranking: {rule: mean}", "mask_from: automatic"),
        ("automatic: {stability: .5}", "mask_from: automatic"),
        ("embeddings: {disk_mb: -1}", "0 or more"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    volume: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str] | str,
    expected: str,
) -> None:
    lesion = ["--classifier", "lesion", "--target", "lesion", "--propagate"]
    options = config(tmp_path, options) if isinstance(options, str) else options
    assert expected in refused(capsys, command(volume, tmp_path / "out", *lesion, *options))
    assert not (tmp_path / "out").exists()


def test_what_propagation_needs(
    volume: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = command(volume, tmp_path / "out", "--strategy", "truth-box", "--consensus")
    assert "--consensus needs --propagate" in refused(capsys, argv)
    argv = command(volume, tmp_path / "out", "--classifier", "lesion", "--propagate")
    assert "target" in refused(capsys, argv)
    evidence = "volume: {propagation: {min_evidence: 0.5}}"
    argv = boxed(volume, tmp_path / "out", settings=evidence)
    assert "heatmap" in refused(capsys, argv)

    Pillow.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "image.png")
    lesion = ["--classifier", "lesion", "--target", "lesion", "--output", str(tmp_path / "out")]
    picture = ["run", str(tmp_path / "image.png"), *lesion, "--propagate"]
    assert "needs a volume" in refused(capsys, picture)
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((6, 30, 30), np.uint8))
    smooth = config(tmp_path, "volume: {smooth: 1}")
    stack = ["run", str(tmp_path / "stack.tif"), *lesion, *smooth]
    assert "spacing in mm" in refused(capsys, stack)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_embedded_planes_are_not_encoded_again(
    volume: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from napari_cam_sam.sam.models.promptable import SamSegmenter

    encoded = 0
    encode_many = SamSegmenter.encode_many  # by which `encode` goes, too

    def counting(self: SamSegmenter, planes: Iterable[Any], **how: Any) -> Iterator[Any]:
        nonlocal encoded
        for embedding in encode_many(self, planes, **how):
            encoded += 1
            yield embedding

    monkeypatch.setattr(SamSegmenter, "encode_many", counting)
    folder = tmp_path / "embeddings"
    embed = ["embed", str(volume[0]), "--segmenter", "compact-sam", "--window", "ct-abdomen"]
    asked(capsys, [*embed, "--device", "cpu", "--folder", str(folder), "--json"])
    assert encoded == 24
    there, none = (f"embeddings: {{folder: {folder}{more}}}" for more in ("", ", disk_mb: 0"))
    planes = ("--strategy", "truth-box", "--planes", "8:15")
    asked(capsys, command(volume, tmp_path / "disk", *planes, settings=there))
    asked(capsys, boxed(volume, tmp_path / "disk-volume", settings=there))
    assert encoded == 24
    before = sorted(folder.rglob("*"))
    asked(capsys, command(volume, tmp_path / "none", *planes, settings=none))
    assert encoded == 24 + 7
    asked(capsys, boxed(volume, tmp_path / "none-volume", settings=none))
    assert encoded > 24 + 7
    assert sorted(folder.rglob("*")) == before
    for kind in ("", "-volume"):
        np.testing.assert_array_equal(
            labels_of(tmp_path / f"disk{kind}"), labels_of(tmp_path / f"none{kind}")
        )


def test_a_folder_that_fails_costs_one_line(
    volume: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("I am no folder")
    broken = f"embeddings: {{folder: {tmp_path / 'file'}}}"
    argv = boxed(volume, tmp_path / "out", settings=broken)
    assert main(argv) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("napari-cam-sam: note: Embeddings are kept in memory alone")
    assert len(printed.err.splitlines()) == 1
    assert json.loads(printed.out)["scores"]["volume"]["dice"] > 0.8


def test_everything_mode_chosen_by_the_heatmap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = make_sample("shapes")
    Pillow.fromarray(np.asarray(sample.image.data)).save(tmp_path / "image.png")
    Pillow.fromarray(np.asarray(sample.truth.data)).save(tmp_path / "truth.png")
    argv = ["run", tmp_path / "image.png", "--truth", tmp_path / "truth.png", "--json"]
    argv += ["--classifier", "shapes", "--target", sample.target, "--mask-from", "automatic"]
    argv += config(tmp_path, "automatic: {points_per_side: 6}\nranking: {rule: dice}")
    argv += ["--device", "cpu", "--output", tmp_path / "out", "--sam"]
    printed = asked(capsys, [str(a) for a in [*argv, "compact-sam"]])
    assert printed["scores"]["planes"][0]["iou"] > 0.9
    record = json.loads((tmp_path / "out" / "run.json").read_text())["parameters"]
    assert record["ranking"]["rule"] == "dice"
    settings = record["automatic"]
    assert (settings["points_per_side"], settings["predicted_iou"]) == (6, 0.5)
    assert "everything mode" in refused(capsys, [str(a) for a in [*argv, "seeded"]])
