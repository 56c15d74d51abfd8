"""Embeddings on disk: ``napari-cam-sam cache`` and ``napari-cam-sam embed``."""

from __future__ import annotations

import argparse
import math
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from napari_cam_sam.cli.shared import (
    AXIS_HELP,
    DEVICE_HELP,
    Parser,
    add_frame,
    add_image,
    changed,
    print_json,
    print_table,
    progress,
    read_given,
    window_help,
)
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.text import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_cam_sam.sam.cache.store import EmbeddingStore
    from napari_cam_sam.sam.segmenter import Segmenter

__all__ = ["add_cache_commands"]


def add_cache_commands(commands: Any) -> tuple[argparse.ArgumentParser, ...]:
    """Add the commands to the subparsers of the command line, and give their parsers."""
    embed = commands.add_parser(
        "embed",
        help="encode the planes of an image ahead of their use",
        description="Encode planes and keep them on disk, where the viewer and other commands "
        "find them by their pixels: give the window that the planes will be seen with. What is "
        "there already is not encoded again, so a command that was stopped goes on.",
    )
    add_image(embed)
    embed.add_argument(
        "--segmenter", help="segmenter or checkpoint; by default the best one installed"
    )
    add_frame(embed)
    embed.add_argument("--axis", type=int, default=0, help=AXIS_HELP)
    embed.add_argument("--planes", help="A:B (B not included) or one index; by default all")
    embed.add_argument("--window", default="auto", help=window_help())
    embed.add_argument("--device", default="auto", help=DEVICE_HELP)
    embed.set_defaults(command=_embed)

    cache = commands.add_parser("cache", help="embeddings on disk: count or delete them")
    actions = cache.add_subparsers(required=True, metavar="ACTION", parser_class=Parser)
    info = actions.add_parser("info", help="where they are, how many, and of which models")
    info.set_defaults(command=_info)
    clear = actions.add_parser("clear", help="delete them")
    clear.add_argument(
        "--model", help="of a model alone: its name, or 6 or more digits of its hash"
    )
    clear.add_argument(
        "--older-than", type=float, metavar="DAYS", help="only those not used for as many days"
    )
    clear.set_defaults(command=_clear)
    for parser in (embed, info, clear):
        _add_store(parser)
    return embed, info, clear


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder", help="where embeddings are; by default 'embeddings' in the cache folder"
    )
    parser.add_argument("--disk-mb", type=int, help="most MiB there (default 10240)")


def _store(arguments: argparse.Namespace) -> EmbeddingStore:
    from napari_cam_sam.sam.cache.embeddings import CacheParameters, open_store

    store = open_store(changed(CacheParameters(), arguments))
    if store is None:
        raise CamSamError("With --disk-mb 0 nothing is kept on disk: give 1 or more.")
    return store


def _embed(arguments: argparse.Namespace) -> None:
    from napari_cam_sam.images.planes import parse_planes
    from napari_cam_sam.images.windows import parse_window, resolve_window
    from napari_cam_sam.pipeline.planes import window_plane
    from napari_cam_sam.sam.cache.embeddings import embed_planes
    from napari_cam_sam.sam.loading import load_segmenter
    from napari_cam_sam.sam.registry import default_segmenter

    store = _store(arguments)
    image = read_given(arguments)
    indices = parse_planes(arguments.planes, image.n_planes(arguments.axis))
    window = resolve_window(image, parse_window(arguments.window))
    name = arguments.segmenter or default_segmenter()
    segmenter = load_segmenter(name, arguments.device, frame=arguments.sam_frame)

    def windowed() -> Iterator[NDArray[np.uint8]]:
        for index in indices:
            yield window_plane(image, arguments.axis, index, window)

    counts: Counter[str] = Counter()
    begin = time.monotonic()
    update, bar = progress(arguments, image.name)
    try:
        with bar, warnings.catch_warnings():
            # What the store warns of ends this command with the same sentence.
            warnings.simplefilter("ignore", UserWarning)
            for outcome in embed_planes(store, segmenter, windowed()):
                counts[outcome] += 1
                update(counts.total(), len(indices))
                if counts.total() == 1:
                    _check_room(store, segmenter, len(indices))
    except KeyboardInterrupt:
        kept = counts["found"] + counts["encoded"]
        raise KeyboardInterrupt(
            f"{kept} of {len(indices)} planes are on disk, and the same command goes on from there"
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
    print(f"Planes      {counts['encoded']} encoded, {counts['found']} were there, {seconds:.1f} s")
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
                    f"The {n_planes} planes need some {math.ceil(needed / (1 << 20))} MiB on disk, "
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
    print(f"Planes      {entries}, {_mib(n_bytes)} of at most {_mib(store.max_bytes)}")
    if models:
        print()
    print_table(
        [
            {
                "model": model.name,
                "hash": model.model_hash,
                "planes": model.entries,
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
        print(f"{entries} planes deleted from {shown(store.folder)}, {_mib(n_bytes)}")


def _when(seconds: float) -> datetime:
    """Return a time; of a file whose date is none, the nearest that there is."""
    try:
        return datetime.fromtimestamp(seconds)
    except (OverflowError, ValueError, OSError):
        return datetime.min if seconds < 0 else datetime.max.replace(microsecond=0)


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / (1 << 20):.1f} MiB"
