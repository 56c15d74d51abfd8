"""Many images with the same settings: ``napari-cam-sam study``."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari_cam_sam as ncs
from napari_cam_sam.cli.printing import print_json, print_table, progress
from napari_cam_sam.cli.shared import SHARED, add_fields, add_shared, changed, given, whole
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.records.folders import folder_lock
from napari_cam_sam.sam.cache.embeddings import CacheParameters
from napari_cam_sam.studies.config.preset_parameters import PRESET_NAMES, PresetParameters
from napari_cam_sam.text import shown

if TYPE_CHECKING:
    import pandas as pd

    from napari_cam_sam.studies.config.plan import DatasetSource, Study
    from napari_cam_sam.studies.run.runner import StudyResult

__all__ = ["add_study_command"]

_MOST_ROWS = 40
_MOST_REASONS = 5


def add_study_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    study = commands.add_parser(
        "study",
        help="run many images with every setting of a grid",
        description="Run the images of a study file with every setting of its grid, and gather "
        "the scores in one table. Finished images are kept: the same command goes on after a stop.",
    )
    study.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="study file (YAML); or, with --data, the protocol of a paper: "
        + ", ".join(PRESET_NAMES),
    )
    study.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="images for a paper's protocol; s2 and s3 draw phantoms there, so give them an "
        "empty folder",
    )
    study.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for results (default FILE-study)"
    )
    add_shared(study, "channel", help="channel of files that hold several, from 0")
    study.add_argument(
        "--dry-run", action="store_true", help="count the runs and time one image; keep nothing"
    )
    study.add_argument("--limit", type=whole(1), metavar="N", help="run the first N images only")
    study.add_argument("--yes", action="store_true", help="run even a very large study")
    study.add_argument(
        "--workers", type=whole(1), default=0, metavar="N", help="dask processes on this machine"
    )
    study.add_argument("--scheduler", metavar="ADDRESS", help="dask cluster, e.g. tcp://host:8786")
    add_shared(study, "device", help=f"{SHARED['device']['help']}; auto gives each worker a GPU")
    study.add_argument(
        "--no-cache", action="store_true", help="do not keep embeddings on disk, or look for them"
    )
    add_shared(study, "allow-factory")
    add_fields(study, "protocol of a paper", PresetParameters, "preset-")
    add_fields(study, "embeddings on disk and in memory", CacheParameters, "cache-")
    study.set_command(_study)


def _study(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.studies.config.plan import MANY_RUNS
    from napari_cam_sam.studies.run.runner import read_cases

    study = _read(arguments)
    folder = _folder(arguments)
    if arguments.dry_run:
        _dry_run(arguments, study, folder)
        return
    images = len(read_cases(study, arguments.limit).cases)
    runs = images * len(study.settings)
    if runs > MANY_RUNS and not arguments.yes:
        raise CamSamError(
            f"The study has {images:,} images × {len(study.settings):,} settings = {runs:,} runs: "
            "look at it with --dry-run, and say --yes if it is meant."
        )
    cache = changed(CacheParameters(), arguments, "cache-")
    if arguments.no_cache:
        cache = replace(cache, disk_mb=0)
    done = 0
    update, bar = progress(arguments, study.name, "image")

    def told(count: int, total: int) -> None:
        nonlocal done
        done = count
        update(count, total)

    try:
        with bar:
            result = ncs.run_study(
                study,
                folder,
                progress=told,
                scheduler=arguments.scheduler,
                workers=arguments.workers,
                limit=arguments.limit,
                device=arguments.device,
                cache=cache,
                command=arguments.argv,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{done} of {images} images are finished in {folder}, and the same command goes on"
        ) from None
    _report(arguments, study, result)


def _read(arguments: argparse.Namespace) -> Study:
    """Read the study file, or make the study of a paper's protocol."""
    from napari_cam_sam.studies.config.papers import preset_study

    name = str(arguments.file)
    chosen = given(PresetParameters, arguments, "preset-")
    if arguments.data is not None:
        parameters = PresetParameters(**chosen)
        study = preset_study(name, arguments.data, parameters)
        if name == "s0" and parameters.segmenters and not arguments.dry_run:
            with_channel = _with_channel(study, arguments.channel)
            listed = _box_masks(arguments, with_channel, parameters.segmenters[0])
            study = preset_study("s0", listed, parameters)
        return _with_channel(study, arguments.channel)
    if name in PRESET_NAMES:
        raise CamSamError(f"The protocol {name} needs images: name their folder with --data.")
    if chosen:
        raise CamSamError("The options --preset-… are for a paper's protocol, with --data.")
    study = ncs.read_study(arguments.file, many=arguments.yes, allowed=arguments.allow_factory)
    return _with_channel(study, arguments.channel)


def _with_channel(study: Study, channel: int | None) -> Study:
    """Return a study whose images are read at a channel; None for as they are."""
    if channel is None:
        return study
    options = {**study.dataset.options, "channel": channel}
    return replace(study, dataset=replace(study.dataset, options=options))


def _box_masks(arguments: argparse.Namespace, study: Study, name: str) -> DatasetSource:
    """Let a segmenter make masks of a data set's boxes, beside the study's results."""
    from napari_cam_sam.studies.config.plan import DatasetSource
    from napari_cam_sam.studies.data.box_masks import write_box_masks
    from napari_cam_sam.studies.data.datasets import read_dataset

    source = study.dataset
    dataset = read_dataset(source.layout, source.path, **source.options)
    update, bar = progress(arguments, "masks of boxes", "image")
    with bar:
        folder = _folder(arguments) / "box-masks"
        with folder_lock(_folder(arguments), "study"):
            listed = write_box_masks(
                dataset, ncs.load_segmenter(name, arguments.device), folder, update
            )
    return DatasetSource("csv", listed.resolve())


def _folder(arguments: argparse.Namespace) -> Path:
    folder: Path | None = arguments.output
    return folder or arguments.file.with_name(f"{arguments.file.stem}-study")


def _dry_run(arguments: argparse.Namespace, study: Study, folder: Path) -> None:
    from napari_cam_sam.studies.run.runner import estimate_study

    estimate = estimate_study(study, folder, limit=arguments.limit, device=arguments.device)
    seconds = estimate.seconds / max(1, arguments.workers)
    runs = estimate.cases * estimate.settings
    if arguments.json:
        print_json(
            {
                "images": estimate.cases,
                "settings": [setting.name for setting in study.settings],
                "runs": runs,
                "left_out": study.left_out,
                "done": estimate.done,
                "image_seconds": estimate.case_seconds,
                "seconds": seconds,
            }
        )
        return
    print_table([setting.columns() for setting in study.settings[:_MOST_ROWS]])
    if len(study.settings) > _MOST_ROWS:
        print(f"… and {len(study.settings) - _MOST_ROWS} more")
    print()
    _print_left_out(study)
    print(f"Images      {estimate.cases}, of which {estimate.done} are finished in {shown(folder)}")
    print(f"Runs        {estimate.cases:,} images × {estimate.settings:,} settings = {runs:,}")
    where = f" on {arguments.workers} workers" if arguments.workers > 1 else ""
    print(
        f"Time        {estimate.case_seconds:.3g} s for the image that was measured, so about "
        f"{_duration(seconds)}{where}"
    )


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} seconds"


def _print_left_out(study: Study) -> None:
    for reason in study.left_out:
        print(f"Grid        {reason}")


def _report(arguments: argparse.Namespace, study: Study, result: StudyResult) -> None:
    record, table = result.record, result.table
    means = _means(table)
    failures = Counter(
        table[table["status"] == "failed"].drop_duplicates(["case", "reason"])["reason"]
    )
    paper = _paper_rows(arguments, study, table)
    if arguments.json:
        print_json(
            {
                "output": str(result.folder),
                "paper": paper,
                "cases": record["cases"],
                "encodes": record["encodes"],
                "seconds": record["seconds"],
                "dice": {row["setting"]: row["Dice"] for row in means},
                "failures": dict(failures),
                "problems": record["problems"],
                "again": record["again"],
            }
        )
        return
    print_table(means[:_MOST_ROWS])
    if len(means) > _MOST_ROWS:
        print(f"… and {len(means) - _MOST_ROWS} more settings")
    if paper:
        print()
        print_table(paper)
    print()
    _print_left_out(study)
    for problem in record["problems"][:_MOST_REASONS]:
        print(f"Data set    {problem}")
    for reason, count in record["again"].items():
        print(f"Run again   {count} images: {reason}")
    cases, encodes = record["cases"], record["encodes"]
    print(f"Images      {cases['done']} of {cases['all']} finished, {cases['failed']} failed")
    for reason, count in failures.most_common(_MOST_REASONS):
        print(f"            {count} failed: {reason}")
    print(f"Encoded     {encodes['done']} slices; {encodes['found']} were found on disk")
    print(f"\nWritten to {shown(result.folder)}: results.parquet, results.csv, study.json")


def _paper_rows(
    arguments: argparse.Namespace, study: Study, table: pd.DataFrame
) -> list[dict[str, Any]]:
    """Give the rows of a paper's table, where the study is its protocol."""
    from napari_cam_sam.studies.config.papers import paper_table

    if arguments.data is None:
        return []
    try:
        found = paper_table(study.name, table, arguments.data.parent).astype(object)
    except CamSamError:  # every image failed, which is what is to be read
        return []
    return [
        {str(name): value for name, value in row.items()}
        for row in found.where(found.notna(), None).to_dict("records")
    ]


def _means(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Mean Dice of each setting over the images, as a report has it, the highest first."""
    from napari_cam_sam.studies.report.statistics import case_counts, case_values

    try:
        values = case_values(table, "dice").dropna(subset=["value"])
    except CamSamError:  # a study of heatmaps, or one of which every image failed
        return []
    counts = case_counts(table)
    without = dict(zip(counts["setting"], counts["n_no_prompt"], strict=True))
    rows = [
        {
            "setting": setting
            if not step
            else f"{setting}, {step} point{'s' if step != 1 else ''}",
            "Dice": float(one["value"].mean()),
            "images": len(one),
            "without prompts": int(without[setting]),
        }
        for (setting, step), one in values.groupby(["setting", "step"])
    ]
    return sorted(rows, key=lambda row: -row["Dice"])
