"""Embeddings on disk: ``napari-cam-sam cache`` and ``napari-cam-sam embed``."""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections import Counter
from datetime import datetime
from typing import Any

import napari_cam_sam as ncs
from napari_cam_sam.cli.printing import print_json, print_table, progress
from napari_cam_sam.cli.shared import Parser, add_image, add_shared, changed, read_given
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.planes import parse_planes
from napari_cam_sam.images.windows import parse_window
from napari_cam_sam.sam.cache.embeddings import embed_planes, open_store
from napari_cam_sam.sam.cache.store import EmbeddingStore
from napari_cam_sam.sam.registry import default_segmenter
from napari_cam_sam.sam.segmenter import Segmenter
from napari_cam_sam.text import shown

__all__ = ["add_cache_commands"]


def add_cache_commands(commands: Any) -> None:
    """Add the commands to the subparsers of the command line.

    Parameters
    ----------
    commands : argparse subparsers action
    """
    embed = commands.add_parser(
        "embed",
        help="encode the slices of an image in advance",
        description="Encode slices and keep the embeddings on disk, for the viewer and for other "
        "commands. Give the window that you will work with: another window makes other pixels. "
        "What is there is not encoded again, so a command that was stopped goes on.",
    )
    add_image(embed)
    add_shared(embed, "segmenter", "axis", "planes", "window", "device")

    cache = commands.add_parser("cache", help="count or delete the embeddings on disk")
    actions = cache.add_subparsers(required=True, metavar="ACTION", parser_class=Parser)
    info = actions.add_parser("info", help="show where they are, how many, and of which models")
    clear = actions.add_parser("clear", help="delete embeddings")
    clear.add_argument(
        "--model", help="only those of this model: its name, or 6 or more digits of its hash"
    )
    clear.add_argument(
        "--older-than", type=float, metavar="DAYS", help="only those not used for this many days"
    )
    for parser, command in ((embed, _embed), (info, _info), (clear, _clear)):
        parser.add_argument(
            "--folder",
            metavar="DIR",
            help="of embeddings (default: 'embeddings' in the cache folder)",
        )
        parser.add_argument(
            "--disk-mb", type=int, metavar="N", help="limit of the folder in MiB (default 10240)"
        )
        parser.set_command(command)


def _store(arguments: argparse.Namespace) -> EmbeddingStore:

    store = open_store(changed(ncs.CacheParameters(), arguments))
    if store is None:
        raise CamSamError("With --disk-mb 0 nothing is kept on disk: give 1 or more.")
    return store


def _embed(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.pipeline.heatmaps import window_plane

    store = _store(arguments)
    image = read_given(arguments)
    indices = parse_planes(arguments.planes, image.n_planes(arguments.axis))
    window = ncs.resolve_window(image, parse_window(arguments.window))
    name = arguments.segmenter or default_segmenter()
    segmenter = ncs.load_segmenter(name, arguments.device)
    planes = (window_plane(image, arguments.axis, index, window) for index in indices)
    counts: Counter[str] = Counter()
    begin = time.monotonic()
    update, bar = progress(arguments, image.name)
    try:
        with bar, warnings.catch_warnings():
            # What the store warns of ends this command with the same sentence.
            warnings.simplefilter("ignore", UserWarning)
            for outcome in embed_planes(store, segmenter, planes):
                counts[outcome] += 1
                update(counts.total(), len(indices))
                if counts.total() == 1:
                    _check_room(store, segmenter, len(indices))
    except KeyboardInterrupt:
        kept = counts["found"] + counts["encoded"]
        raise KeyboardInterrupt(
            f"{kept} of {len(indices)} slices are on disk, and the same command goes on from there"
        ) from None
    seconds = time.monotonic() - begin
    if arguments.json:
        print_json(
            {
                "image": image.name,
                "window": window.description,
                "axis": arguments.axis,
                "planes": len(indices),
                "encoded": counts["encoded"],
                "found": counts["found"],
                "not_kept": counts["not kept"],
                "segmenter": segmenter.name,
                "model_hash": segmenter.model_hash,
                "precision": segmenter.precision,
                "device": segmenter.device,
                "folder": str(store.folder),
                "seconds": seconds,
            }
        )
        return
    size = " × ".join(str(n) for n in image.spatial_shape)
    print(f"Image       {image.name}, {size}; window {window.description}")
    print(f"Segmenter   {segmenter.name} on {segmenter.device}, {segmenter.precision}")
    print(f"Slices      {counts['encoded']} encoded, {counts['found']} were there, {seconds:.1f} s")
    if counts["not kept"]:
        print(f"            {counts['not kept']} not kept: float16 cannot hold their features")
    print(f"\nKept in {shown(store.folder)}")


def _check_room(store: EmbeddingStore, segmenter: Segmenter, n_planes: int) -> None:
    """Refuse to fill a store that would delete the first planes while it takes the last."""
    for model in store.models():
        if model.model_hash == segmenter.model_hash[:16]:
            needed = model.n_bytes / model.entries * n_planes
            if needed > store.max_bytes:
                raise CamSamError(
                    f"The {n_planes} slices need some {math.ceil(needed / (1 << 20))} MiB on disk, "
                    f"the limit is {store.max_bytes >> 20}: choose fewer by --planes, or raise it "
                    "by --disk-mb."
                )


def _info(arguments: argparse.Namespace) -> None:
    store = _store(arguments)
    models = store.models()
    entries, n_bytes = sum(m.entries for m in models), sum(m.n_bytes for m in models)
    if arguments.json:
        print_json(
            {
                "folder": str(store.folder),
                "entries": entries,
                "bytes": n_bytes,
                "limit": store.max_bytes,
                "models": [
                    {
                        "name": model.name,
                        "model_hash": model.model_hash,
                        "entries": model.entries,
                        "bytes": model.n_bytes,
                        "last_used": _when(model.last_used).isoformat("T"),
                    }
                    for model in models
                ],
            }
        )
        return
    print(f"Folder      {shown(store.folder)}")
    print(f"Slices      {entries}, {_mib(n_bytes)} of at most {_mib(store.max_bytes)}")
    if models:
        print()
    print_table(
        [
            {
                "model": model.name,
                "hash": model.model_hash,
                "slices": model.entries,
                "size": _mib(model.n_bytes),
                "last used": f"{_when(model.last_used):%Y-%m-%d %H:%M}",
            }
            for model in models
        ]
    )


def _clear(arguments: argparse.Namespace) -> None:
    store = _store(arguments)
    days = arguments.older_than
    if days is not None and not (math.isfinite(days) and days >= 0):
        raise CamSamError(f"--older-than is a number of days, 0 or more, not {days:g}.")
    entries, n_bytes = store.clear(arguments.model, days or 0.0)
    if arguments.json:
        print_json({"folder": str(store.folder), "entries": entries, "bytes": n_bytes})
    else:
        slices = "1 slice" if entries == 1 else f"{entries} slices"
        print(f"{slices} deleted from {shown(store.folder)}, {_mib(n_bytes)}")


def _when(seconds: float) -> datetime:
    """Return a time; of a file whose date is none, the nearest that there is."""
    try:
        return datetime.fromtimestamp(seconds)
    except (OverflowError, ValueError, OSError):
        return datetime.min if seconds < 0 else datetime.max.replace(microsecond=0)


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / (1 << 20):.1f} MiB"
