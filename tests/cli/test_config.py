"""``run --config``: every setting has a key, is checked as in a study, and is printed again."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.cli import main
from napari_cam_sam.cli.commands import _parser
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.preprocessing import PreprocessingParameters
from napari_cam_sam.pipeline import RunParameters, VolumeParameters
from napari_cam_sam.prompts.parameters import PromptParameters
from napari_cam_sam.sam.cache.embeddings import CacheParameters
from napari_cam_sam.sam.everything.parameters import AutomaticParameters
from napari_cam_sam.sam.everything.ranking import RankingParameters
from napari_cam_sam.sam.volume.parameters import PropagationParameters
from napari_cam_sam.studies.config.run_settings import CARD_KEYS, read_run_settings, settings_text

# Where the fields of each group of parameters stand in the file.
GROUPS: dict[type[Any], str] = {
    RunParameters: "",
    CamParameters: "",
    OcclusionParameters: "occlusion",
    PixelSet: "pixel_set",
    PromptParameters: "prompts",
    PreprocessingParameters: "preprocessing",
    AutomaticParameters: "automatic",
    RankingParameters: "ranking",
    VolumeParameters: "volume",
    PropagationParameters: "volume.propagation",
    CacheParameters: "embeddings",
}

# The fields of CamParameters stand at the top, and the mask choice of the run is that of volumes.
ELSEWHERE = {"cam": "method", "volume.propagation.mask_choice": "mask_choice"}

EVERY_GROUP = """
method: occlusion
mask_from: automatic
pixel_set: {kind: whole}
volume: {}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def at(tree: Any, key: str) -> Any:
    """Give what stands under a dotted key."""
    for part in key.split("."):
        assert isinstance(tree, dict)
        assert part in tree, key
        tree = tree[part]
    return tree


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    assert main([str(a) for a in argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    return str(err)


def every_key(tmp_path: Path) -> dict[str, Any]:
    settings = read_run_settings(written(tmp_path, EVERY_GROUP), {})
    tree = yaml.safe_load(settings_text(settings))
    assert isinstance(tree, dict)
    return tree


def test_every_field_of_every_group_of_parameters_has_a_key(tmp_path: Path) -> None:
    tree = every_key(tmp_path)
    for group, prefix in GROUPS.items():
        for one in fields(group):
            key = f"{prefix}.{one.name}".lstrip(".")
            at(tree, ELSEWHERE.get(key, key))


def _other(value: Any, key: str) -> Any:
    """Give another value that the field may have."""
    special = {
        "kind": {"prompts": "point", "pixel_set": "predicted"}.get(key.split(".")[0]),
        "threshold_rule": "otsu", "components": "all", "point": "argmax", "negatives": "around",
        "rule": {"ranking": "dice", "volume": "points"}.get(key.split(".")[0]),
        "stride": 4, "grid": 3, "crop_overlap": 0.25, "blend_weight": 0.5,
        "colour_low": [1, 2, 3], "colour_high": [200, 200, 200], "folder": "elsewhere",
        "clusters": 4, "max_area_ratio": 2.5, "pixel": [3, 4], "fill": 12.0,
    }  # fmt: skip
    name = key.rpartition(".")[2]
    if special.get(name) is not None and not isinstance(value, bool):
        return special[name]
    if isinstance(value, bool):
        return not value
    if value is None:
        return 1
    return value + 1 if isinstance(value, int) else value / 2 + 0.125


def test_every_key_of_every_group_is_read_and_printed_again(tmp_path: Path) -> None:
    start = every_key(tmp_path)
    tried = 0
    for group, prefix in GROUPS.items():
        for one in fields(group):
            key = f"{prefix}.{one.name}"
            if prefix == "" or key in ELSEWHERE or is_dataclass(getattr(group(), one.name)):
                continue
            *above, last = key.split(".")
            change: Any = {last: _other(at(start, key), key)}
            if one.name == "pixel":
                change["kind"] = "pixel"
            if one.name == "blend_weight":
                change["clahe"] = True
            value = change[last]
            for part in reversed(above):
                change = {part: change}
            top = yaml.safe_load(EVERY_GROUP) | change
            read = read_run_settings(written(tmp_path, yaml.safe_dump(top)), {})
            text = settings_text(read)
            found = at(yaml.safe_load(text), key)
            if one.name == "folder":
                value = str(tmp_path / value)
            assert found == value != at(start, key), key
            again = read_run_settings(written(tmp_path, text), {})
            assert settings_text(again) == text
            tried += 1
    assert tried > 60


# Every option of `run` that became a key.
_FORMER = """
--odds --mirrored --batch-size --occlusion-patch --occlusion-stride --occlusion-fill --pixels
--pixel --region --pixels-threshold --pixels-component --kind --threshold-rule --threshold
--clusters --components --max-objects --one-object --no-one-object --min-area --point --grid
--grid-step --negatives --negative-threshold --margin --preprocess-colour-range
--no-preprocess-colour-range --preprocess-colour-low --preprocess-colour-high
--preprocess-morphology-radius --preprocess-clahe --no-preprocess-clahe --preprocess-clahe-clip
--preprocess-clahe-tiles --preprocess-blend-weight --preprocess-contrast
--preprocess-brightness --min-trust --smooth --propagate-rule --propagate-margin
--propagate-points --propagate-negatives --no-propagate-negatives --propagate-follow-brightness
--no-propagate-follow-brightness --propagate-min-contrast --propagate-min-score
--propagate-max-area-ratio --propagate-min-iou --propagate-min-evidence --propagate-max-planes
--propagate-max-distance-mm --propagate-fill-gaps --no-propagate-fill-gaps
--automatic-points-per-side --automatic-predicted-iou --automatic-stability --ranking-rule
--ranking-union --ranking-min-score --no-cache --cache-folder --cache-disk-mb --cache-memory-mb
--input-size --channels --mean --std --spatial-dims
"""
FORMER = _FORMER.split()


def test_the_card_of_a_files_classifier_is_not_that_of_another(tmp_path: Path) -> None:
    file = written(tmp_path, "classifier: lesion\ncard: {plane_order: columns-rows}")
    assert read_run_settings(file, {}).card == {"plane_order": "columns-rows"}
    other = read_run_settings(file, {"classifier": "shapes"})
    assert (other.classifier, other.card) == ("shapes", {})


@pytest.mark.parametrize("option", FORMER)
def test_a_former_option_is_refused_with_its_key(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "run", "image.png", option, "1")
    assert line.startswith(f"napari-cam-sam: {option} is no option any more: write ")
    snippet = yaml.safe_load(line.partition(": write ")[2].partition(" into a file")[0])
    key = []
    while isinstance(snippet, dict):
        ((name, snippet),) = snippet.items()
        key.append(name)
    tree = every_key(tmp_path) | {"card": dict.fromkeys(CARD_KEYS)}
    at(tree, ".".join(key))


def test_the_frame_of_a_checkpoint_is_named_before_it(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "run", "image.png", "--sam-frame", "medsam")
    assert "--segmenter medsam:FILE" in line


def test_few_options_are_left() -> None:
    commands = _parser()._subparsers
    assert commands is not None
    run = commands._group_actions[0].choices["run"]  # type: ignore[index,call-overload]
    options = [action for action in run._actions if action.option_strings]
    # --help among them, and three that say which series, spacing and segments of DICOM are read.
    assert len(options) <= 33


def test_what_is_printed_gives_the_same_run(
    picture: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, truth = picture
    settings = written(
        tmp_path,
        """
        prompts: {threshold: 0.45, max_objects: 2}
        preprocessing: {clahe: true}
        mirrored: true
        card: {plane_order: columns-rows}
        seed: 7
        """,
    )
    options = ["--classifier", "lesion", "--target", "lesion", "--cam", "grad-cam", "--layer",
               "stage2", "--prompts", "s1", "--segmenter", "seeded", "--window", "limits:5,200",
               "--device", "cpu", "--config", settings]  # fmt: skip
    argv = [str(one) for one in ["run", image, "--truth", truth, *options]]
    assert main([*argv, "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert main([*argv, "--output", str(tmp_path / "first")]) == 0
    again = written(tmp_path, printed)
    more = ["--config", again, "--truth", truth, "--output", tmp_path / "second"]
    assert main([str(one) for one in ["run", image, *more]]) == 0
    first, second = (
        json.loads((tmp_path / name / "run.json").read_text()) for name in ("first", "second")
    )
    assert first["parameters"]["prompts"]["threshold"] == 0.45
    assert first["parameters"]["cam"]["mirrored"] is True
    assert first["seed"] == 7
    for key in ("parameters", "classifier", "segmenter", "seed", "window"):
        assert first[key] == second[key], key
    labels = [np.asarray(Pillow.open(tmp_path / n / "labels.png")) for n in ("first", "second")]
    np.testing.assert_array_equal(*labels)


def test_an_option_wins_over_the_file(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        target: lesion
        strategy: ours
        prompts: {threshold: 0.9}
        classifier: not-there.pth
        mask_from: automatic
        ranking: {rule: dice}
        volume: {smooth: 2, consensus: true}
        """,
    )
    flags = {"target": "normal", "strategy": "s1", "classifier": "lesion"}
    found = read_run_settings(file, {**flags, "mask_from": "prompts", "volume": None})
    assert (found.run.cam.target, found.classifier) == ("normal", "lesion")
    assert found.run.mask_from == "prompts"
    assert found.run.volume is None
    # The threshold was that of another strategy, which the file names.
    assert found.run.prompt_parameters.threshold == 0.8
    file.write_text("prompts: {threshold: 0.9}")
    assert read_run_settings(file, flags).run.prompt_parameters.threshold == 0.9


def test_planes_need_no_quotes(tmp_path: Path) -> None:
    for text in ("planes: 3:50", "planes: '3:50'"):
        assert read_run_settings(written(tmp_path, text), {}).planes == "3:50"
    assert read_run_settings(written(tmp_path, "planes: 7"), {}).planes == "7"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "own.pth").write_bytes(b"")
    text = "classifier: own.pth\nsegmenter: medsam:own.pth\nregion: own.pth"
    found = read_run_settings(written(tmp_path, text), {})
    assert found.classifier == str(tmp_path / "own.pth")
    assert found.segmenter == f"medsam:{tmp_path / 'own.pth'}"
    assert found.region == tmp_path / "own.pth"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("thresold: 1", "thresold"),
        ("prompts: {thresold: 1}", "threshold"),
        ("prompts: {threshold: high}", "must be a number"),
        ("prompts: {max_objects: 1.5}", "must be a whole number, not 1.5"),
        ("prompts: 3", "'prompts' must be keys with values, not 3"),
        ("preprocessing: {colour_low: [1, 2]}", "'colour_low' must have 3 values, not 2"),
        ("preprocessing: {colour_low: [1, 2, x]}", "'colour_low' must be a whole number, not 'x'"),
        ("volume: {propagation: null}", "'propagation' must be keys with values, not nothing"),
        ("planes: true", "'planes' must be a text, not True"),
        ("axis: 3", "0, 1 or 2"),
        ("seed: -1", "seed"),
        ("seed: 4294967296", "4294967295"),
        ("method: gradcam", "grad-cam"),
        ("classifier: lesoin", "lesion"),
        ("classifier: my.module:build", "--classifier"),
        ("card: {architecture: 'my.module:build'}", "--architecture"),
        ("card: {channels: 2}", "channels"),
        ("segmenter: sam-vitb", "sam-vit-b"),
        ("segmenter: prediction", "segmenter"),
        ("occlusion: {patch: 8}", "method: occlusion"),
        ("- 1", "settings"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(CamSamError) as caught:
        read_run_settings(written(tmp_path, "# a comment\n" + text), {})
    assert expected in str(caught.value)
    assert "settings.yaml:2)" in str(caught.value)


def test_code_that_a_file_names_is_ignored_where_the_command_line_names_another(
    tmp_path: Path,
) -> None:
    file = written(tmp_path, "card: {architecture: 'my.module:build', channels: 1}")
    found = read_run_settings(file, {"card": {"architecture": "resnet18"}})
    assert found.card == {"architecture": "resnet18", "channels": 1}
    with pytest.raises(CamSamError, match="This is code"):
        read_run_settings(file, {"card": {"channels": 3}})


def test_printing_needs_no_image_and_a_run_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--print-config", "--axis", "1"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["axis"] == 1
    assert "image is missing" in refused(capsys, "run", "--classifier", "lesion")
