"""The files that a folder, a DICOMDIR, a zip or a single path stands for."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from napari_cam_sam.errors import CamSamError, reason_of, refusal
from napari_cam_sam.images.dicom.opening import looks_like_dicom
from napari_cam_sam.images.dicom.silence import quiet
from napari_cam_sam.limits import EXPANSION, check_expansion, check_regular

__all__ = ["DicomFiles", "dicom_files", "is_dicom_path", "is_zip"]

_DIRECTORY = "1.2.840.10008.1.3.10"
_MOST_FILES = 200_000
_SUFFIXES = (".dcm", ".dicom", ".ima")

Update = Callable[[int, int], None]


@dataclass(frozen=True)
class DicomFiles:
    """What was found at a path.

    Attributes
    ----------
    files : tuple of Path
        Those that begin as DICOM does, in the order of their names.
    others : int
        Files that are none.
    missing : int
        Files that a DICOMDIR names and that are not there.
    broken : int
        Files whose names say that they are, and that are none.
    """

    files: tuple[Path, ...]
    others: int = 0
    missing: int = 0
    broken: int = 0


def is_zip(path: Path) -> bool:
    """Return whether a path names a zip.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool
    """
    return path.name.lower().endswith(".zip")


def is_dicom_path(path: Path) -> bool:
    """Return whether a path is read as DICOM: by its suffix, its beginning, or as a folder.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bool
    """
    name = path.name.lower()
    if name.endswith((*_SUFFIXES, ".zip")) or name == "dicomdir":
        return True
    try:
        if path.is_dir():
            return True
        return path.is_file() and looks_like_dicom(path)
    except CamSamError:
        return True  # an encrypted envelope, of which the reader says so
    except (OSError, ValueError):
        return False


def dicom_files(path: Path, update: Update | None = None) -> DicomFiles:
    """List the files of DICOM at a path; those of a zip are unpacked first.

    Parameters
    ----------
    path : Path
        A file, a folder with all below it, a DICOMDIR or a zip.
    update : callable, optional
        Is told how many files were looked at, and of how many.

    Returns
    -------
    DicomFiles

    Raises
    ------
    CamSamError
        If nothing is there, it is empty, or it cannot be read.
    """
    try:
        if path.is_dir():
            return _of_folder(path, update)
        check_regular(path, "a DICOM file")
        if is_zip(path):
            return _of_folder(_unpacked(path), update, path)
        if path.stat().st_size == 0:
            raise refusal("This file is empty: it holds 0 bytes", path)
        if not looks_like_dicom(path):
            raise refusal("This is not a DICOM file", path)
        listed = _of_directory(path)
        return DicomFiles((path,)) if listed is None else listed
    except FileNotFoundError:
        raise refusal("This file does not exist", path) from None
    except ValueError as error:  # a name with NUL or half a character
        raise refusal(f"This could not be read: {reason_of(error)}", path) from error
    except CamSamError as error:
        raise error if str(path) in str(error) else refusal(str(error), path) from None


def _of_folder(folder: Path, update: Update | None, where: Path | None = None) -> DicomFiles:
    where = folder if where is None else where
    paths = list(_walk(folder, where))
    if not paths:
        raise refusal("This folder is empty" if where == folder else "This zip is empty", where)
    found, others, broken = [], 0, 0
    for index, path in enumerate(paths):
        if update is not None and index % 64 == 0:
            update(index, len(paths))
        try:
            good = looks_like_dicom(path)
        except (OSError, CamSamError):
            good = False
        if good:
            found.append(path)
        elif where == folder and path.name.lower().endswith(_SUFFIXES):
            broken += 1
        else:
            others += 1
    return DicomFiles(tuple(found), others, broken=broken)


def _walk(folder: Path, where: Path) -> Iterator[Path]:
    count = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        for name in sorted(names):
            if name.startswith(".") or name.upper() == "DICOMDIR":
                continue
            count += 1
            if count > _MOST_FILES:
                raise refusal(f"This folder holds more than {_MOST_FILES:,} files", where)
            yield Path(place, name)


def _of_directory(path: Path) -> DicomFiles | None:
    """Return the files that a DICOMDIR names; None of any other file."""
    import pydicom

    try:
        with path.open("rb") as file:
            if _DIRECTORY.encode() not in file.read(1024):
                return None
        with quiet():
            data = pydicom.dcmread(path, specific_tags=["DirectoryRecordSequence"])
            names = [
                _parts(record.ReferencedFileID)
                for record in data.get("DirectoryRecordSequence") or ()
                if record.get("ReferencedFileID")
            ]
    except CamSamError:
        raise
    except RecursionError as error:
        raise CamSamError("This DICOMDIR is broken") from error
    except Exception as error:
        raise CamSamError("This DICOMDIR is truncated or damaged") from error
    found, missing = [], 0
    for name in dict.fromkeys(names):
        there = next((p for p in (path.parent / name, path.parent / name.lower()) if _is(p)), None)
        if there is None:
            missing += 1
        elif looks_like_dicom(there):
            found.append(there)
    if not found:
        raise CamSamError(
            f"None of the {len(names)} files that this DICOMDIR names lies beside it"
            if names
            else "This DICOMDIR names no file"
        )
    return DicomFiles(tuple(found), 0, missing)


def _parts(value: Any) -> str:
    parts = [value] if isinstance(value, str) else [str(part) for part in value]
    for part in parts:
        if part in ("", ".", "..") or "/" in part or "\\" in part or ":" in part:
            raise CamSamError("This DICOMDIR names files outside of its folder")
    return str(PurePosixPath(*parts))


def _is(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


# What was unpacked, by the zip's path and state; each folder goes with the process.
_UNPACKED: dict[tuple[str, int, int], tempfile.TemporaryDirectory[str]] = {}


def _unpacked(path: Path) -> Path:
    """Unpack what looks like DICOM in a zip, once for as long as the process lives."""
    status = path.stat()
    key = (str(path.resolve()), status.st_mtime_ns, status.st_size)
    if key not in _UNPACKED:
        folder = tempfile.TemporaryDirectory(prefix="napari-cam-sam-", ignore_cleanup_errors=True)
        try:
            _unpack(path, Path(folder.name))
        except BaseException:
            folder.cleanup()
            raise
        _UNPACKED[key] = folder
    return Path(_UNPACKED[key].name)


def _unpack(path: Path, target: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            if any(one.flag_bits & 1 for one in members):
                raise CamSamError("This zip is encrypted: unpack it with its password first")
            if len(members) > _MOST_FILES:
                raise CamSamError(f"This zip holds more than {_MOST_FILES:,} files")
            packed = sum(one.compress_size for one in members)
            check_expansion(packed, sum(one.file_size for one in members), path, most=EXPANSION)
            for index, member in enumerate(members):
                # Names of our own: those of a zip may lead anywhere, and name the patient.
                with (
                    archive.open(member) as source,
                    (target / f"{index:06d}.dcm").open("wb") as out,
                ):
                    shutil.copyfileobj(source, out, 1 << 20)
    except CamSamError:
        raise
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError) as error:
        raise CamSamError("This zip is truncated or damaged") from error
    except (NotImplementedError, RuntimeError) as error:
        raise CamSamError(f"This zip cannot be unpacked: {reason_of(error)}") from error
    except OSError as error:
        raise CamSamError(
            f"This cannot be unpacked to {tempfile.gettempdir()}: {error.strerror}; set TMPDIR to "
            "a folder with room"
        ) from error
    except Exception as error:  # zlib.error, lzma's and others of damaged members
        raise CamSamError("This zip is truncated or damaged") from error
