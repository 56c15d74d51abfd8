"""Models that there are, and what they are: ``napari-cam-sam models``."""

from __future__ import annotations

import argparse
from typing import Any

from napari_cam_sam.cli.printing import print_json, print_table
from napari_cam_sam.cli.shared import Parser, add_card, load_model_of
from napari_cam_sam.cli.train import print_figures
from napari_cam_sam.demo import shipped_models
from napari_cam_sam.models.names import classifier_names, shipped_networks
from napari_cam_sam.sam.registry import REGISTRY, cache_folder, default_segmenter, is_installed
from napari_cam_sam.text import shown

__all__ = ["add_models_command"]


def add_models_command(commands: Any) -> None:
    """Add the commands to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    models = commands.add_parser("models", help="list, download or describe models")
    actions = models.add_subparsers(
        required=True, metavar="ACTION", title="actions", parser_class=Parser
    )
    listing = actions.add_parser("list", help="list models, and which are installed")
    listing.set_command(_models_list)
    download = actions.add_parser("download", help="download a checkpoint and check its hash")
    download.add_argument("name", metavar="NAME", help="from models list")
    download.set_command(_models_download)
    info = actions.add_parser("info", help="show the card and layers of a model")
    info.add_argument(
        "file", metavar="FILE", help="name, checkpoint, bundle folder or package.module:function"
    )
    add_card(info)
    info.set_command(_models_info)


def _models_list(arguments: argparse.Namespace) -> None:

    rows: list[dict[str, Any]] = []
    for name in classifier_names():
        state, note = ("shipped", "demo model, for phantoms") if name in shipped_models() else (
            "by name", "ImageNet weights, downloaded at first use"
        )  # fmt: skip
        rows.append({"name": name, "kind": "classifier", "state": state, "note": note})
    for name in shipped_networks():
        note = "demo model, for phantoms"
        rows.append({"name": name, "kind": "network", "state": "shipped", "note": note})
    rows.append({"name": "seeded", "kind": "segmenter", "state": "ready", "note": "no weights"})
    rows.append(
        {"name": "compact-sam", "kind": "segmenter", "state": "shipped", "note": "demo model"}
    )
    for entry in REGISTRY.values():
        state = (
            "installed" if is_installed(entry.name) else f"{entry.size / 1e6:.0f} MB to download"
        )
        note = f"{entry.licence}. {entry.note}"
        rows.append({"name": entry.name, "kind": "segmenter", "state": state, "note": note})
    if arguments.json:
        for row in rows:
            known = REGISTRY.get(row["name"])
            row["hash"] = None if known is None else known.known_hash
        print_json({"models": rows, "default": default_segmenter(), "folder": str(cache_folder())})
        return
    print_table(rows)
    print(f"\nSegmenter taken where none is named: {default_segmenter()}")
    print(f"Checkpoints are kept in {shown(cache_folder())}")


def _models_download(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.sam.registry import download, registered

    entry = registered(arguments.name)
    path = download(arguments.name)
    if arguments.json:
        print_json({"name": entry.name, "path": str(path), "hash": entry.known_hash})
    else:
        print(f"{entry.name} is at {shown(path)}. Licence: {entry.licence}. {entry.note}")


def _models_info(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.models.inspection import describe
    from napari_cam_sam.sam.loading import describe_segmenter

    name = arguments.file
    data: dict[str, Any] | None = describe_segmenter(name)
    layers: list[dict[str, Any]] = []
    if data is None:
        found = describe(load_model_of(arguments, name, "cpu"))
        data = {"kind": found.pop("kind"), **found.pop("card"), **found}
        layers = data.pop("layers")
    if arguments.json:
        print_json(data | {"layers": layers})
        return
    training = data.pop("training", None)
    for key, value in data.items():
        print(f"{key:<16}{shown(str(value))}")
    if training is not None:
        print_figures(training)
    if layers:
        print()
        print_table(layers)
