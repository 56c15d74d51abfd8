"""Study files: what they become, and the line that each mistake is on."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from napari_cam_sam.cam.heatmaps import CamParameters
from napari_cam_sam.cam.pixel_sets import PixelSet
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.preprocessing import PreprocessingParameters
from napari_cam_sam.pipeline import RunParameters
from napari_cam_sam.prompts.annotator import AnnotatorParameters
from napari_cam_sam.prompts.parameters import strategy_parameters
from napari_cam_sam.studies.config.plan import plan_data, plan_differences, read_study
from napari_cam_sam.studies.config.settings import Grid, Setting, Variants, expand_grids
from napari_cam_sam.studies.run.models import Models

WHOLE = """\
name: everything
seed: 3
threads: 2
dataset:
  layout: folders
  path: data
  masks: truth
run:
  axis: 1
  window: percentiles:1,99
  min_probability: 0.25
  truth_label: 2
grid:
  - classifiers: [lesion, shapes]
    methods: [layer-cam, full-grad]
    layers: [default, [stage1, stage2]]
    targets: [0, predicted]
    strategies: [tight, truth-box]
    segmenters: [seeded, compact-sam]
    mask_choices: [single, best]
    mask_from: [prompts, heatmap, automatic]
    preprocessing: [none, clahe]
  - annotators: clicks
    segmenters: seeded
strategies:
  tight: {base: s1, threshold: 0.5, negatives: around}
preprocessing:
  clahe: {clahe: true, clahe_clip: 0.02}
annotators:
  clicks: {points: 4}
compare:
  - [clicks/seeded/best/prompts/none, truth-box/seeded/best/prompts/none]
"""


def written(folder: Path, text: str, name: str = "study.yaml") -> Path:
    (folder / "data").mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def test_every_possible_combination_becomes_one_setting(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, WHOLE))
    by_name = {setting.name: setting for setting in study.settings}
    assert len(by_name) == len(study.settings)
    # Full-Grad has no layers, so a classifier and a target have three heatmaps: 12 in all. Each of
    # two preprocessings goes with seeded from prompts and from the heatmap, of two mask choices,
    # and with compact-sam from prompts, and from everything, which has no choice.
    heatmaps, prepared = 2 * 2 * (2 + 1), 2
    cam = heatmaps * prepared * (2 + 2 + 2 + 1)
    truth = 2 * prepared * 2
    assert len(study.settings) == cam + truth + 1
    assert study.dataset.path == tmp_path / "data"
    assert dict(study.dataset.options) == {"masks": "truth"}
    assert (study.seed, study.threads) == (3, 2)
    name = "shapes/layer-cam/stage1+stage2/0/tight/seeded/single/heatmap/clahe"
    setting = by_name[name]
    assert setting.run.cam.layers == ("stage1", "stage2")
    assert setting.run.cam.target == 0
    assert setting.run.cam.min_probability == 0.25
    tight = replace(strategy_parameters("s1"), threshold=0.5, negatives="around")
    assert setting.run.prompt_parameters == tight
    assert setting.run.preprocessing == PreprocessingParameters(clahe=True, clahe_clip=0.02)
    assert (setting.run.axis, setting.run.truth_label) == (1, 2)
    assert (setting.run.window.kind, setting.run.window.low) == ("percentiles", 1)
    assert setting.columns() == {
        "setting": name, "classifier": "shapes", "method": "layer-cam",
        "layers": "stage1+stage2", "target": "0", "source": "cam", "strategy": "tight",
        "segmenter": "seeded", "mask_choice": "single", "mask_from": "heatmap",
        "preprocessing": "clahe clahe_clip=0.02",
    }  # fmt: skip
    truth_box = by_name["truth-box/seeded/best/prompts/none"]
    assert truth_box.classifier is None
    assert truth_box.columns()["source"] == "truth"
    clicks = by_name["clicks/seeded/best/prompts/none"]
    assert clicks.annotator == AnnotatorParameters(points=4)
    assert study.compare == ((clicks.name, truth_box.name),)


def test_what_a_heatmap_explains_is_in_its_target(tmp_path: Path) -> None:
    text = (
        "dataset: {layout: folders, path: data}\n"
        "run: {odds: true, mirrored: true}\n"
        "grid: {classifiers: own.pth, targets: benign+malignant, segmenters: seeded}\n"
    )
    (tmp_path / "own.pth").touch()
    (setting,) = read_study(written(tmp_path, text)).settings
    assert setting.run.cam.odds
    assert setting.run.cam.mirrored
    assert setting.columns()["target"] == "benign+malignant, odds, mirrored"
    cam = CamParameters(pixel_set=PixelSet("truth", component=2))
    network = Setting("one", "net", "", RunParameters(cam=cam))
    assert network.columns()["target"] == "predicted on truth, component 2"


def test_what_is_left_out_of_a_grid_is_said(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, WHOLE))
    said = " ".join(study.left_out)
    assert "compact-sam cannot start from a heatmap" in said
    assert "seeded has no everything mode" in said
    assert "'automatic' need a heatmap" in said
    grid = Grid(strategies=("truth-point", "truth-box"), segmenters=("medsam",))
    settings, left_out = expand_grids((grid,), Variants())
    assert [setting.run.strategy for setting in settings] == ["truth-box"]
    assert left_out == ("1 left out: medsam knows boxes only, and truth-point gives points",)


def test_the_example_of_the_manual_can_be_read(tmp_path: Path) -> None:
    manual = Path(__file__).resolve().parents[3] / "docs" / "studies.md"
    example = re.findall(r"```yaml\n(.*?)```", manual.read_text(encoding="utf-8"), re.DOTALL)[0]
    study = read_study(written(tmp_path, example.replace("../data/busi", "data")))
    # Two methods at three layers, two strategies: from prompts with both segmenters, from the
    # heatmap with seeded; two mask choices, two preprocessings. And the truth with both segmenters.
    assert len(study.settings) == 2 * 3 * 2 * (2 + 1) * 2 * 2 + 2 * 2 * 2
    Models("cpu").check(study.settings)
    assert len(study.compare) == len(study.settings) - 1


def test_names_hold_only_what_differs_and_a_reference_is_compared_with_all(
    tmp_path: Path,
) -> None:
    text = (
        "dataset: {layout: folders, path: data}\n"
        "grid: {classifiers: lesion, strategies: [ours, s1, truth-box]}\n"
        "compare: truth-box/compact-sam\n"
    )
    study = read_study(written(tmp_path, text))
    names = ["ours/compact-sam", "s1/compact-sam", "truth-box/compact-sam"]
    assert [setting.name for setting in study.settings] == names
    assert study.compare == ((names[0], names[2]), (names[1], names[2]))


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("    methods:", "    metods:"), 15, "Unknown key 'metods'. Did you mean methods?"),
        (("name: everything", "nmae: everything"), 1, "Unknown section 'nmae'. Did you mean name?"),
        (("layer-cam,", "layr-cam,"), 15, "Unknown method 'layr-cam'. Did you mean layer-cam"),
        (("layout: folders", "layout: foldrs"), 5, "Unknown layout 'foldrs'. Did you mean folders"),
        (("  masks: truth", "  maks: truth"), 7, "Did you mean masks"),
        (("  masks: truth", "  1.5: truth"), 4, "Unknown option of the layout folders 1.5"),
        (("  masks: truth", "  null: truth"), 4, "Unknown option of the layout folders None"),
        (("path: data", "path: dta"), 6, "There is no .*dta: name the folder"),
        (("seed: 3", "seed: three"), 2, "'seed' must be a whole number of 0 or more, not 'three'"),
        (("threads: 2", "threads: 0"), 3, "'threads' must be a whole number of 1 or more, not 0"),
        (("axis: 1", "axis: 3"), 9, "'axis' must be 0, 1 or 2, not 3"),
        (("percentiles:1,99", "percentiles:99,1"), 10, "low must be below high"),
        (("bility: 0.25", "bility: 2"), 11, "The least probability is 2.0"),
        (("base: s1", "base: s9"), 26, "Unknown strategy 's9'"),
        (("threshold: 0.5", "threshold: 5"), 26, "threshold must be in 0 to 1, not 5.0"),
        (("threshold: 0.5", "threshold: half"), 26, "'threshold' must be a number, not 'half'"),
        (("negatives: around", "negatives: arond"), 26, "Did you mean around"),
        (("clahe: true,", "clahe: 1,"), 28, "'clahe' must be true or false, not 1"),
        (("clahe_clip: 0.02", "clahe_clip: 0"), 28, "clahe_clip must lie above 0"),
        (("{points: 4}", "{points: 0}"), 30, "points must be a whole number of 1 or more"),
        (
            ("masks: truth", "masks: [truth]"),
            7,
            "'masks' of the layout folders must be a text, not",
        ),
        (("segmenters: [seeded,", "segmenters: [sedded,"), 19, "Did you mean seeded"),
        (("segmenters: [seeded,", "segmenters: [no/sam.pth,"), 19, "There is no .*sam.pth"),
        (("classifiers: [lesion, shapes]", "classifiers: []"), 14, "is an empty list"),
        (("  - [clicks/seeded", "  - [click/seeded"), 32, "Unknown setting 'click/seeded"),
        (("seed: 3", "seed: 3\ntrust: {drows: 2}"), 3, "Unknown key 'drows'. Did you mean draws"),
        (("seed: 3", "seed: 3\nseed: 4"), 3, "The key 'seed' is there twice, first on line 2"),
        (("seed: 3", "seed: [3"), 3, "This is no YAML"),
        (("  layout: folders\n", ""), 4, "has no 'layout'"),
        (("classifiers: [lesion, shapes]\n    methods", "methods"), 17, "prompts from heatmaps"),
        (("[tight, truth-box]", "[tight, truth-bx]"), 18, "Unknown strategy 'truth-bx'. Did you"),
        (("clahe: true,", "clah: true,"), 28, "Did you mean clahe"),
        (("seed: 3", "seed: -3"), 2, "must be a whole number"),
        (("  tight: {base", "  ours: {base"), 26, "known already"),
        (("  tight: {base: s1", "  tight: {base: truth-box"), 26, "names that begin with truth-"),
    ],
)
def test_each_mistake_is_named_with_its_line(
    tmp_path: Path, change: tuple[str, str], line: int, message: str
) -> None:
    assert change[0] in WHOLE
    path = written(tmp_path, WHOLE.replace(*change, 1))
    with pytest.raises(CamSamError, match=rf"{message}.*\(.*study\.yaml:{line}\)") as caught:
        read_study(path)
    assert str(caught.value).count("study.yaml") == 1


def test_missing_sections_and_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CamSamError, match=r"The file has no 'dataset'.*study\.yaml:1\)"):
        read_study(written(tmp_path, "name: empty\n"))
    with pytest.raises(CamSamError, match="The file has no 'grid'"):
        read_study(written(tmp_path, "dataset: {layout: folders, path: data}\n"))
    for text in ("", "- a list\n", "just text\n"):
        with pytest.raises(CamSamError, match="holds keys with values"):
            read_study(written(tmp_path, text))
    with pytest.raises(CamSamError, match="could not be read"):
        read_study(tmp_path / "none.yaml")
    for name in ("study.txt", "study.toml"):
        with pytest.raises(CamSamError, match=r"must end in \.yaml or \.yml"):
            read_study(written(tmp_path, "", name))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CamSamError, match="UTF-8"):
        read_study(tmp_path / "bytes.yaml")


def test_models_that_the_results_could_not_tell_apart_are_refused(tmp_path: Path) -> None:
    for fold in ("one", "two"):
        (tmp_path / fold).mkdir()
        (tmp_path / fold / "best.safetensors").touch()
    grid = "classifiers: [one/best.safetensors, two/best.safetensors]"
    with pytest.raises(CamSamError, match="would both be 'best' in the results"):
        read_study(written(tmp_path, f"dataset: {{layout: phantoms, path: x}}\ngrid: {{{grid}}}"))


def test_a_network_that_ships_is_a_classifier_of_a_study(tmp_path: Path) -> None:
    text = "dataset: {layout: phantoms, path: x}\ngrid: {classifiers: phantom-unet}"
    (setting,) = read_study(written(tmp_path, text)).settings
    assert setting.classifier == "phantom-unet"


def test_a_grid_of_a_million_runs_asks(tmp_path: Path) -> None:
    layers = ", ".join(f"layer{i}" for i in range(1000))
    targets = ", ".join(str(i) for i in range(1000))
    text = (
        "dataset: {layout: folders, path: data}\n"
        f"grid:\n  classifiers: lesion\n  layers: [{layers}]\n  targets: [{targets}]\n"
    )
    with pytest.raises(CamSamError, match=r"1,000,000 combinations.*--yes.*study.yaml:2\)"):
        read_study(written(tmp_path, text))


def test_differences_of_two_studies_are_named(tmp_path: Path) -> None:
    study = read_study(written(tmp_path, WHOLE))
    old = plan_data(study)
    assert plan_differences(old, plan_data(replace(study, compare=()))) == []
    assert plan_differences(old, plan_data(replace(study, seed=4))) == ["seed was 3 and is 4"]
    fewer = plan_data(replace(study, settings=study.settings[:-1], compare=()))
    (said,) = plan_differences(old, fewer)
    assert said == f"1 setting(s) are gone, e.g. {study.settings[-1].name!r}"
    first = study.settings[0]
    other = replace(first, run=replace(first.run, axis=2))
    changed = plan_data(replace(study, settings=(other, *study.settings[1:])))
    assert plan_differences(old, changed) == [f"the setting {first.name!r}.run.axis was 1 and is 2"]


def test_a_segmenter_of_ones_own_keeps_the_frame_before_its_path(tmp_path: Path) -> None:
    (tmp_path / "own.pth").write_bytes(b"0")
    text = (
        "name: s\ndataset: {layout: folders, path: data}\n"
        "grid: {strategies: [truth-box, truth-point], segmenters: ['medsam:own.pth', own.pth]}\n"
    )
    (tmp_path / "data").mkdir()
    study = read_study(written(tmp_path, text))
    assert {setting.segmenter for setting in study.settings} == {
        f"medsam:{tmp_path / 'own.pth'}", str(tmp_path / "own.pth"),
    }  # fmt: skip
    assert {setting.columns()["segmenter"] for setting in study.settings} == {"own (medsam)", "own"}
    assert study.left_out == (
        "1 left out: own (medsam) knows boxes only, and truth-point gives points",
    )
