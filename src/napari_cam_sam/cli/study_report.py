"""The report of a study: ``napari-cam-sam report``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cam_sam.cli.printing import cell, print_json, print_table, progress
from napari_cam_sam.cli.shared import add_shared, whole
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.text import shown

if TYPE_CHECKING:
    import pandas as pd

    from napari_cam_sam.studies.report.page import Render

__all__ = ["add_report_command"]


def add_report_command(commands: Any) -> None:
    """Add the command to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    report = commands.add_parser(
        "report",
        help="write tables, figures and pictures of a study as one HTML page",
        description="Write the report of a study, finished or still running, as one page that "
        "needs no network. The worst, median and best cases are run again for their pictures.",
    )
    report.add_argument("folder", type=Path, metavar="FOLDER", help="with the results of the study")
    report.add_argument(
        "--metric",
        metavar="NAME",
        help="to compare settings by (default dice if there are masks)",
    )
    report.add_argument(
        "--output", type=Path, metavar="FILE", help="HTML file (default FOLDER/report.html)"
    )
    report.add_argument(
        "--pictures",
        type=int,
        default=3,
        metavar="N",
        help="how many of the worst, median and best cases to show (%(default)s)",
    )
    report.add_argument(
        "--seed", type=whole(0), default=0, metavar="N", help="of the bootstrap (%(default)s)"
    )
    add_shared(report, "device", "allow-factory")
    report.add_argument("--open", action="store_true", help="open the page in the web browser")
    report.set_command(_report)


def _report(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.studies.report.page import findings_of, read_results, write_page

    results = read_results(arguments.folder)
    findings = findings_of(results, arguments.metric, arguments.seed)
    metric, differences = findings.metric, findings.differences
    rows = findings.counts.merge(findings.summary_of(metric), on="setting")
    render = _render(arguments, results.record)
    update, bar = progress(arguments, "pictures", "case")
    with bar:
        path = write_page(
            results,
            findings,
            output=arguments.output,
            render=render,
            pictures=arguments.pictures,
            progress=update,
        )
    if arguments.json:
        print_json(
            {
                "report": path,
                "finished": results.finished,
                "metric": metric,
                "settings": rows.to_dict("records"),
                "differences": differences.to_dict("records"),
            }
        )
    else:
        _print(rows, differences, metric)
        print(f"\nWritten to {shown(path)}")
    if arguments.open:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())


def _render(arguments: argparse.Namespace, record: dict[str, Any]) -> Render | None:
    """Make what runs cases again; say why where it cannot be made."""
    from napari_cam_sam.studies.report.cases import case_renderer

    if arguments.pictures <= 0:
        return None
    try:
        return case_renderer(record, arguments.device, arguments.allow_factory)
    except CamSamError as error:
        print(f"napari-cam-sam: The report has no pictures: {error}", file=sys.stderr)
        return None


def _print(rows: pd.DataFrame, differences: pd.DataFrame, metric: str) -> None:
    print_table(
        [
            {
                "setting": row["setting"],
                "cases": row["n_cases"],
                "no prompt": row["n_no_prompt"],
                "failed": row["n_failed"],
                f"{metric}, mean": row["mean"],
                "95 % interval": _interval(row),
                "median": row["median"],
                "% of truth": row["percent_of_truth"],
            }
            for row in rows.to_dict("records")
        ]
    )
    if len(differences):
        print()
        print_table(
            [
                {
                    "setting": row["a"],
                    "minus": row["b"],
                    "difference": row["mean"],
                    "95 % interval": _interval(row),
                    "p, Holm": row["p_holm"],
                    "cases": row["n_cases"],
                }
                for row in differences.to_dict("records")
            ]
        )


def _interval(row: Any) -> str:
    return f"{cell(row['ci_low'])} to {cell(row['ci_high'])}"
