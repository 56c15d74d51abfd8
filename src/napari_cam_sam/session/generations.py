"""Generations of a session: what it takes the place of is kept beside it for a while.

The newest is the folder's ``session.json``; those that it replaced are ``session-0007.json`` and
the like, the highest number the last. Labels are named after what they hold, so that generations
share them. Whenever a write is killed, every generation is whole or not there.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import Image
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.session.data import Session
from napari_cam_sam.session.storage import FILE, read_session, write_session

__all__ = ["KEPT", "drop_generations", "generations", "holdings", "write_generation"]

KEPT = 3
"""So many generations are kept beside the newest."""

_OLDER = re.compile(r"session-(\d{4,})\.json")


def generations(folder: Path) -> list[str]:
    """List the files of the generations in a folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of str
        Their names, the newest first.
    """
    newest = [FILE] if (folder / FILE).exists() else []
    return newest + [_older_name(number) for number in reversed(_older(folder))]


def _older_name(number: int) -> str:
    """Return the name of the file of a generation that was replaced."""
    return f"session-{number:04d}.json"


def write_generation(folder: Path, session: Session, image: Image) -> None:
    """Save a session as `write_session` does, and keep what it takes the place of.

    Of more than `KEPT` older generations those go first, the oldest before the others, of which
    the next newer one holds all. So work that was replaced by less stays while later saves come.

    Parameters
    ----------
    folder, session, image
        As for `write_session`.

    Raises
    ------
    CamSamError
        As `write_session`.
    """
    standing = folder / FILE
    if standing.exists():
        number = 1 + max(_older(folder), default=0)
        text = standing.read_bytes()
        write_atomically(folder / _older_name(number), lambda hidden: hidden.write_bytes(text))
    write_session(folder, session, image)
    _thin(folder, session)


def holdings(session: Session) -> frozenset[tuple[Any, ...]]:
    """List what of a session would be missed: prompts, acceptances, labels, masks, tags, scores.

    One session holds less than another where something of the other's is not among its own.

    Parameters
    ----------
    session : Session

    Returns
    -------
    frozenset of tuple
        What each is, then what it is of, e.g. ``("masks", axis, index)``.
    """
    held: set[tuple[Any, ...]] = set()
    for plane in session.prompts:
        held.update(("prompts", plane.axis, plane.index, one.object_id) for one in plane.objects)
    for one in session.accepted:
        at = one.prompts.axis, one.prompts.index
        # What is accepted is no mask that waits any more, and nothing that is missed.
        held.update((("accepted", *at), ("masks", *at)))
    choices = session.choices
    if "labelled" in choices:
        held.update(("labels", *one) for one in _pairs(choices["labelled"]))
    elif session.labels is not None and session.labels.any():
        held.add(("labels",))
    for masks in _dicts(choices.get("masks")):
        held.add(("masks", masks.get("axis"), masks.get("index")))
    tags = _dict(_dict(choices.get("docks")).get("plane tags")).get("planes")
    held.update(("tag", *one[:2]) for one in _pairs(tags))
    if session.scores:
        held.add(("scores",))
    return frozenset(held)


def drop_generations(folder: Path, names: list[str]) -> None:
    """Delete generations; labels that no other names go with the next write.

    Parameters
    ----------
    folder : Path
    names : list of str
        From `generations`; files that are not there are passed over.
    """
    for name in names:
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def _older(folder: Path) -> list[int]:
    """Return the numbers of the generations that were replaced, in rising order."""
    try:
        found = [_OLDER.fullmatch(path.name) for path in folder.iterdir()]
    except OSError:
        return []
    return sorted(int(match[1]) for match in found if match is not None)


def _thin(folder: Path, newest: Session) -> None:
    """Drop older generations beyond those that are kept."""
    older = _older(folder)
    if len(older) <= KEPT:
        return
    held: dict[int, frozenset[tuple[Any, ...]]] = {}
    for number in older:
        try:
            session = read_session(folder, _older_name(number), labels=False)
        except CamSamError:
            drop_generations(folder, [_older_name(number)])  # damaged: it brings nothing back
        else:
            held[number] = holdings(session)
    while len(held) > KEPT:
        numbers = sorted(held)
        newer = [*(held[n] for n in numbers[1:]), holdings(newest)]
        covered = [n for n, next_one in zip(numbers, newer, strict=True) if held[n] <= next_one]
        gone = covered[0] if covered else numbers[0]
        del held[gone]
        drop_generations(folder, [_older_name(gone)])


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _pairs(value: Any) -> list[tuple[Any, ...]]:
    """Return the lists of plain values in a list, as one finds it in choices of any kind."""
    if not isinstance(value, list | tuple):
        return []
    rows = [one for one in value if isinstance(one, list | tuple)]
    plain = str | int | float | bool | None
    return [tuple(one) for one in rows if all(isinstance(v, plain) for v in one)]
