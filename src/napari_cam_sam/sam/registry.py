"""The checkpoints that are known by name: where they are, what they must hash to, and download."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_cam_sam.errors import CamSamError, refusal, unknown_name
from napari_cam_sam.records.folders import give_usual_mode

__all__ = [
    "CACHE_VARIABLE",
    "FRAMES",
    "REGISTRY",
    "Progress",
    "RegisteredCheckpoint",
    "cache_folder",
    "default_segmenter",
    "download",
    "installed_path",
    "is_installed",
    "knows_boxes_only",
    "registered",
    "segmenter_names",
    "split_frame",
    "verify",
    "with_frame",
]

CACHE_VARIABLE = "NAPARI_CAM_SAM_CACHE"

# The largest first. MedSAM knows boxes only, so it must be asked for.
_BEST_FIRST = ("sam-vit-h", "sam-vit-l", "sam-vit-b")

# Called with the bytes that have arrived and the bytes expected (0 where the server does not say).
Progress = Callable[[int, int], None]

_OFFICIAL = "https://dl.fbaipublicfiles.com/segment_anything/"


@dataclass(frozen=True)
class RegisteredCheckpoint:
    """A checkpoint known by name.

    Attributes
    ----------
    name : str
    architecture : str
        ``"vit-b"``, ``"vit-l"``, ``"vit-h"`` or ``"vit-t"``.
    url : str
        Its official address.
    known_hash : str
        What the file must hash to, as ``"md5:hexadecimal"`` or ``"sha256:hexadecimal"``.
    size : int
        Bytes.
    licence : str
    note : str
        What a user should know, in one sentence.
    """

    name: str
    architecture: str
    url: str
    known_hash: str
    size: int
    licence: str
    note: str

    @property
    def file_name(self) -> str:
        """Name of the file in the cache folder."""
        return self.url.rsplit("/", 1)[-1]

    def hash_of(self, path: Path) -> str:
        """Compute the hash of a file, to compare with ``known_hash``.

        Parameters
        ----------
        path : Path

        Returns
        -------
        str
            In the form of ``known_hash``, by the same algorithm.
        """
        algorithm = self.known_hash.partition(":")[0]
        with path.open("rb") as stream:
            return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


REGISTRY: dict[str, RegisteredCheckpoint] = {
    entry.name: entry
    for entry in (
        RegisteredCheckpoint(
            "sam-vit-b",
            "vit-b",
            _OFFICIAL + "sam_vit_b_01ec64.pth",
            "md5:01ec64d29a2fca3f0661936605ae66f8",
            375_042_383,
            "Apache-2.0",
            "Segment Anything, smallest encoder.",
        ),
        RegisteredCheckpoint(
            "sam-vit-l",
            "vit-l",
            _OFFICIAL + "sam_vit_l_0b3195.pth",
            "md5:0b3195507c641ddb6910d2bb5adee89c",
            1_249_524_607,
            "Apache-2.0",
            "Segment Anything, middle encoder.",
        ),
        RegisteredCheckpoint(
            "sam-vit-h",
            "vit-h",
            _OFFICIAL + "sam_vit_h_4b8939.pth",
            "md5:4b8939a88964f0f4ff5f5b2642c598a6",
            2_564_550_879,
            "Apache-2.0",
            "Segment Anything, largest encoder.",
        ),
        # The authors publish no hash in their repository. This one is what several public
        # programs independently ask of the file of this Zenodo record.
        RegisteredCheckpoint(
            "medsam",
            "vit-b",
            "https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
            "md5:3bb6db55bd0c9ca30b61248bca72f8d6",
            375_049_145,
            "Apache-2.0 (code), CC-BY-4.0 (Zenodo record)",
            "Segment Anything ViT-B tuned on medical images, for boxes only.",
        ),
        # As for MedSAM: what several public programs ask of the file at this very address.
        RegisteredCheckpoint(
            "mobile-sam",
            "vit-t",
            "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/"
            "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt",
            "sha256:6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            40_728_226,
            "Apache-2.0",
            "MobileSAM, a light encoder that needs timm (the extra mobile).",
        ),
    )
}


FRAMES = ("sam", "medsam")
"""How a plane is brought before a SAM: as segment-anything does it, or as MedSAM (sam.frames).

Weights do not tell which of them they were trained with.
"""


def split_frame(name: str) -> tuple[str | None, str]:
    """Split ``medsam:PATH``, a checkpoint with the frame it was trained with, into the two.

    Parameters
    ----------
    name : str
        A segmenter's name or a path, with a frame before it or without.

    Returns
    -------
    frame : str or None
        One of `FRAMES`; None where the name has none.
    name : str
        The rest.
    """
    frame, colon, rest = name.partition(":")
    return (frame, rest) if colon and rest and frame in FRAMES else (None, name)


def with_frame(path: str, frame: str | None) -> str:
    """Write a checkpoint's path with its frame, as :func:`split_frame` reads it.

    Parameters
    ----------
    path : str
    frame : str or None
        One of `FRAMES`; None leaves the path as it is.

    Returns
    -------
    str
    """
    return path if frame is None else f"{frame}:{path}"


def knows_boxes_only(name: str) -> bool:
    """Return whether a segmenter of this name learned from boxes alone, as MedSAM did.

    Parameters
    ----------
    name : str
        As :func:`split_frame` takes it.

    Returns
    -------
    bool
    """
    return name == "medsam" or split_frame(name)[0] == "medsam"


def segmenter_names() -> tuple[str, ...]:
    """Return the names that ``sam.loading.load_segmenter`` knows, weights installed or not.

    Returns
    -------
    tuple of str
    """
    return ("seeded", "compact-sam", *REGISTRY)


def default_segmenter(cache_folder: str | Path | None = None) -> str:
    """Return the name of the segmenter to use where none was asked for.

    Parameters
    ----------
    cache_folder : str or Path, optional
        See :func:`cache_folder`.

    Returns
    -------
    str
        The largest SAM whose checkpoint lies in the cache folder, else ``"seeded"``, which needs
        no weights. It is a name, so that what is used can be said before it loads.
    """
    return next((name for name in _BEST_FIRST if is_installed(name, cache_folder)), "seeded")


def registered(name: str) -> RegisteredCheckpoint:
    """Return a checkpoint by its name.

    Parameters
    ----------
    name : str
        A name of ``REGISTRY``.

    Returns
    -------
    RegisteredCheckpoint

    Raises
    ------
    CamSamError
        For an unknown name, with the nearest ones.
    """
    if name not in REGISTRY:
        raise unknown_name("checkpoint", name, REGISTRY)
    return REGISTRY[name]


def cache_folder(folder: str | Path | None = None) -> Path:
    """Return the folder of checkpoints; also the one to fill by hand on an offline machine.

    Parameters
    ----------
    folder : str or Path, optional
        Taken where given; else the environment variable ``NAPARI_CAM_SAM_CACHE``; else the
        user's cache folder of the operating system.

    Returns
    -------
    Path
        Which need not exist.
    """
    chosen = os.environ.get(CACHE_VARIABLE) or None if folder is None else folder
    if chosen is not None:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("napari-cam-sam"))


def installed_path(name: str, folder: str | Path | None = None) -> Path:
    """Return the path that a registered checkpoint has, or would have, in the cache folder.

    Parameters
    ----------
    name : str
        A name of ``REGISTRY``.
    folder : str or Path, optional
        See :func:`cache_folder`.

    Returns
    -------
    Path
    """
    return cache_folder(folder) / registered(name).file_name


def is_installed(name: str, folder: str | Path | None = None) -> bool:
    """Return whether the file is there with its right size; :func:`verify` reads it whole.

    Parameters
    ----------
    name : str
        A name of ``REGISTRY``.
    folder : str or Path, optional
        See :func:`cache_folder`.

    Returns
    -------
    bool
    """
    path = installed_path(name, folder)
    return path.is_file() and path.stat().st_size == registered(name).size


def verify(name: str, folder: str | Path | None = None) -> Path:
    """Check a registered checkpoint's file in the cache folder against its hash.

    Parameters
    ----------
    name : str
        A name of ``REGISTRY``.
    folder : str or Path, optional
        See :func:`cache_folder`.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    CamSamError
        If it is missing, truncated, or not the published file.
    """
    entry, path = registered(name), installed_path(name, folder)
    if not path.is_file():
        raise CamSamError(
            f"{name} is not installed: download it with 'napari-cam-sam models download {name}', "
            f"or put {entry.file_name} from {entry.url} into {path.parent}."
        )
    remedy = f"replace it with 'napari-cam-sam models download {name}'."
    size = path.stat().st_size
    if size != entry.size:
        raise refusal(
            f"This is not the published {name}, or only a part of it: it has {size} bytes, "
            f"expected {entry.size}; {remedy}",
            path,
        )
    algorithm, expected = entry.known_hash.split(":")
    found = entry.hash_of(path).removeprefix(f"{algorithm}:")
    if found != expected:
        raise refusal(
            f"This is not the published {name}: its {algorithm} is {found}, expected {expected}; "
            f"{remedy}",
            path,
        )
    return path


def download(name: str, folder: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Download a registered checkpoint into the cache folder, unless it is there already.

    Only a file with the known hash is kept; one of that name with another hash is replaced.

    Parameters
    ----------
    name : str
        A name of ``REGISTRY``.
    folder : str or Path, optional
        See :func:`cache_folder`.
    progress : callable, optional
        Called with (bytes arrived, bytes expected); None for a bar on standard error.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    CamSamError
        If the address cannot be reached, the folder cannot be written, or what arrives is not
        the published file.
    """
    import pooch
    import requests

    entry, path = registered(name), installed_path(name, folder)
    bar: Any = True if progress is None else _Bar(progress)
    before = path.stat().st_ino if path.exists() else None
    by_hand = f"or put {entry.file_name} into {path.parent} by hand."
    try:
        pooch.retrieve(
            entry.url,
            known_hash=entry.known_hash,
            fname=entry.file_name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(progressbar=bar),
        )
    except ValueError as error:
        raise CamSamError(
            f"What {entry.url} sent is not the published {name} (not {entry.known_hash}) "
            f"and was not kept: try again, {by_hand}"
        ) from error
    # Before OSError, which requests' errors are too.
    except requests.exceptions.RequestException as error:
        raise CamSamError(
            f"{entry.url} could not be downloaded ({type(error).__name__}): "
            f"check the connection, {by_hand}"
        ) from error
    except OSError as error:
        raise refusal(
            f"The cache cannot be written, {error.strerror or error}: give another folder, with "
            f"{CACHE_VARIABLE} for instance",
            path.parent,
        ) from error
    if path.stat().st_ino != before:
        give_usual_mode(path)  # others may share the folder
    return path


class _Bar:
    """What pooch asks of a progress bar, handing the sums on to a callable."""

    def __init__(self, progress: Progress) -> None:
        self.total = 0
        self._done = 0
        self._progress = progress

    def update(self, n: int) -> None:
        # The last chunk is counted whole, however short it is.
        self._done = min(self._done + n, self.total) if self.total else self._done + n
        self._progress(self._done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass
