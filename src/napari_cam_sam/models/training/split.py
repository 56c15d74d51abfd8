"""Training, validation and reported part: whole groups, classes in proportion, by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.training.samples import Sample

__all__ = ["PARTS", "Copies", "class_indices", "describe_copies", "join_groups", "split_groups"]

PARTS = ("train", "validation", "test")


def class_indices(
    samples: Sequence[Sample], classes: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Assign numbers to the classes.

    Parameters
    ----------
    samples : sequence of Sample
    classes : sequence of str
        Their order; empty for all labels, sorted.

    Returns
    -------
    tuple of str
        The classes.
    ndarray of int, shape (n,)
        The class of each sample.

    Raises
    ------
    CamSamError
        If there are no samples, one label alone, a label that is none of the classes, or a class
        without samples.
    """
    if not samples:
        raise CamSamError("There are no images to train on.")
    labels = sorted({sample.label for sample in samples})
    names = tuple(classes) or tuple(labels)
    for label in labels:
        if label not in names:
            one = next(sample for sample in samples if sample.label == label)
            raise CamSamError(
                f"{one.name} has the label {label!r}, which is none of the classes: "
                f"{', '.join(names)}."
            )
    for name in names:
        if name not in labels:
            raise CamSamError(
                f"No image has the class {name!r}; the labels are: {', '.join(labels)}."
            )
    if len(names) < 2:
        raise CamSamError(
            f"All {len(samples)} images have the label {names[0]!r}: training needs two classes "
            "or more."
        )
    return names, np.array([names.index(sample.label) for sample in samples], dtype=np.intp)


def join_groups(groups: Sequence[str], copies: NDArray[np.intp] | None) -> NDArray[np.intp]:
    """Assign numbers to groups that must stay together: own groups, joined by shared copies.

    Parameters
    ----------
    groups : sequence of str
        Of each image; empty for one that stands alone.
    copies : ndarray of int, shape (n,), or None
        From :func:`find_copies`.

    Returns
    -------
    ndarray of int, shape (n,)
        From 0, in the order of their first images.
    """
    from scipy.cluster.hierarchy import DisjointSet

    joined = DisjointSet(range(len(groups)))
    first: dict[str | int, int] = {}  # image of each group, and of each lot of copies
    for i, group in enumerate(groups):
        if group:
            joined.merge(i, first.setdefault(group, i))
        if copies is not None:
            joined.merge(i, first.setdefault(int(copies[i]), i))
    numbers: dict[int, int] = {}
    every = [numbers.setdefault(joined[i], len(numbers)) for i in range(len(groups))]
    return np.array(every, dtype=np.intp)


@dataclass(frozen=True)
class Copies:
    """Near-duplicates among the images.

    Attributes
    ----------
    images : int
        How many have at least one copy.
    surplus : int
        How many would go if each picture were kept once.
    contradictions : tuple of (str, ...)
        Names of the images of each lot of copies that bear several labels.
    """

    images: int = 0
    surplus: int = 0
    contradictions: tuple[tuple[str, ...], ...] = ()


def describe_copies(samples: Sequence[Sample], copies: NDArray[np.intp]) -> Copies:
    """Count near-duplicates between samples of different groups, or of none.

    Neighbouring planes of one volume look alike, and are one group already: they are not counted.

    Parameters
    ----------
    samples : sequence of Sample
    copies : ndarray of int, shape (n,)
        From :func:`find_copies`.

    Returns
    -------
    Copies
    """
    members: dict[int, list[Sample]] = {}
    for sample, number in zip(samples, copies, strict=True):
        members.setdefault(int(number), []).append(sample)
    lots = [
        lot for lot in members.values()
        if len(lot) > 1 and (lot[0].group == "" or len({s.group for s in lot}) > 1)
    ]  # fmt: skip
    return Copies(
        sum(len(lot) for lot in lots),
        sum(len(lot) - 1 for lot in lots),
        tuple(tuple(s.name for s in lot) for lot in lots if len({s.label for s in lot}) > 1),
    )


def split_groups(
    classes: NDArray[np.intp],
    groups: NDArray[np.intp],
    names: Sequence[str],
    *,
    validation_part: float,
    test_part: float,
    seed: int,
) -> NDArray[np.intp]:
    """Assign every sample to a part.

    Groups are taken in random order, large ones first, each into the part that most lacks its
    classes; so each class is shared out as near to the wanted parts as whole groups allow.

    Parameters
    ----------
    classes, groups : ndarray of int, shape (n,)
    names : sequence of str
        Of the classes, for errors.
    validation_part, test_part : float
        Of the samples; 0 for none.
    seed : int

    Returns
    -------
    ndarray of int, shape (n,)
        Index into `PARTS`.

    Raises
    ------
    CamSamError
        If a class has fewer groups than there are parts, or a part lacks a class.
    """
    wanted = np.array([1 - validation_part - test_part, validation_part, test_part])
    used = np.flatnonzero(wanted > 0)
    for index, name in enumerate(names):
        n_groups = len(np.unique(groups[classes == index]))
        if n_groups < len(used):
            n = int((classes == index).sum())
            raise CamSamError(
                f"The class {name!r} has {n} image{'s' * (n > 1)}"
                + (f" in {n_groups} group{'s' * (n_groups > 1)}" if n_groups < n else "")
                + f", and each of {len(used)} parts ({', '.join(PARTS[i] for i in used)}) needs "
                "one: add images, or set the validation or test part to 0."
            )
    counts = np.zeros((groups.max() + 1, len(names)))
    np.add.at(counts, (groups, classes), 1)
    lacking = wanted[:, None] * counts.sum(axis=0)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    parts = np.empty(len(counts), dtype=np.intp)
    for group in order:
        # What is lacking, relative to what the part is to have, of the group's rarest class most.
        weight = counts[group] / counts.sum(axis=0)
        need = (lacking[used] / wanted[used, None] * weight).sum(axis=1)
        part = used[int(np.argmax(need))]
        parts[group] = part
        lacking[part] -= counts[group]
    chosen: NDArray[np.intp] = parts[groups]
    for part in used:
        for index, name in enumerate(names):
            if not ((chosen == part) & (classes == index)).any():
                raise CamSamError(
                    f"The {PARTS[part]} part has no image of the class {name!r}, since groups are "
                    "kept whole: give another seed, or smaller groups."
                )
    return chosen
