"""Many scores in a few numbers: mean, median, quartiles and a bootstrap interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.metrics.masks import BOTH_EMPTY
from napari_cam_sam.metrics.scoring import Scores

__all__ = [
    "Summary", "bootstrap_means", "percent_of_reference", "summarise", "summarise_scores",
]  # fmt: skip

# Numbers that are drawn at one time: 32 MB.
_DRAWS = 1 << 22


@dataclass(frozen=True)
class Summary:
    """Distribution of one score.

    Attributes
    ----------
    mean, median, q25, q75 : float
        NaN where no value counts; quartiles are numpy's linear ones.
    ci_low, ci_high : float
        95 % interval of the mean: the 2.5th and 97.5th percentile over bootstrap samples.
    n : int
        Values that count.
    n_left_out : int
        Values that do not: not finite, or flagged.
    """

    mean: float
    median: float
    q25: float
    q75: float
    ci_low: float
    ci_high: float
    n: int
    n_left_out: int


def summarise(
    values: ArrayLike,
    left_out: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Summary:
    """Summarise values of one score.

    Parameters
    ----------
    values : array of float, shape (n,)
        NaN and infinite ones are left out and counted.
    left_out : array of bool, shape (n,), optional
        True where a value is to be left out and counted for another reason.
    groups : array, shape (n,), optional
        What belongs together, e.g. the patient of each image: the bootstrap draws whole groups.
    resamples : int
        Bootstrap samples, 1 or more.
    seed : int
        Of the bootstrap: the same values give the same interval.

    Returns
    -------
    Summary

    Raises
    ------
    CamSamError
        Where ``left_out`` or ``groups`` is not as long as ``values``, or ``resamples`` is below
        1.
    """
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    kept = np.isfinite(array)
    if left_out is not None:
        flags = np.asarray(left_out, dtype=bool).reshape(-1)
        if flags.shape != array.shape:
            raise CamSamError(
                f"There are {array.size} values but {flags.size} flags; there must be as many."
            )
        kept &= ~flags
    together = None if groups is None else np.asarray(groups).reshape(-1)
    if together is not None and together.shape != array.shape:
        raise CamSamError(
            f"There are {array.size} values but {together.size} groups; there must be as many."
        )
    if resamples < 1:
        raise CamSamError(f"The bootstrap needs 1 sample or more, not {resamples}.")
    counted = array[kept]
    n = int(counted.size)
    if n == 0:
        nan = math.nan
        return Summary(nan, nan, nan, nan, nan, nan, 0, array.size)
    q25, median, q75 = np.percentile(counted, [25, 50, 75])
    means = bootstrap_means(
        counted, None if together is None else together[kept], resamples=resamples, seed=seed
    )
    low, high = np.percentile(means, [2.5, 97.5])
    mean, low, high = float(counted.mean()), float(low), float(high)
    return Summary(mean, float(median), float(q25), float(q75), low, high, n, array.size - n)


def bootstrap_means(
    values: NDArray[np.float64],
    groups: NDArray[Any] | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Draw means of values, with replacement.

    Parameters
    ----------
    values : ndarray of float64, shape (n,)
        One or more, all finite.
    groups : ndarray, shape (n,), optional
        With them as many groups as there are are drawn, each with all of its values, and the
        mean is over the values (the cluster bootstrap of Davison and Hinkley, "Bootstrap
        Methods and their Application", 3.8): copies of one image, or images of one patient, do
        not narrow an interval as independent ones would. Groups of one value each draw what no
        groups draw.
    resamples : int
    seed : int

    Returns
    -------
    ndarray of float64, shape (resamples,)
    """
    sums: NDArray[np.float64] = values
    sizes: NDArray[np.intp] | None = None
    if groups is not None:
        # Numbered in the order of the values, so that groups of one draw as values do.
        _, first, number = np.unique(groups, return_index=True, return_inverse=True)
        number = np.argsort(np.argsort(first))[number]
        if first.size < values.size:
            sums = np.bincount(number, values).astype(np.float64, copy=False)
            sizes = np.bincount(number)
    rng = np.random.default_rng(seed)
    means: list[NDArray[np.float64]] = []
    step = max(1, _DRAWS // sums.size)
    for start in range(0, resamples, step):
        drawn = rng.integers(0, sums.size, (min(step, resamples - start), sums.size))
        if sizes is None:
            means.append(sums[drawn].mean(axis=1))
        else:
            means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(means)


def summarise_scores(
    scores: Iterable[Scores], *, resamples: int = 2000, seed: int = 0
) -> dict[str, Summary]:
    """Summarise each metric over many scores.

    Scores of two empty masks are left out and counted: their IoU of 1 would raise the mean of
    lesions that are not there. A missed or an invented object stays in, with its overlap of 0;
    its infinite distances are left out and counted.

    Parameters
    ----------
    scores : iterable of Scores
    resamples, seed : int
        As for `summarise`.

    Returns
    -------
    dict of str to Summary
        One entry for each metric that occurs, in the order of the first occurrence.
    """
    collected: dict[str, tuple[list[float], list[bool]]] = {}
    for one in scores:
        empty = BOTH_EMPTY in one.flags
        for name, value in one.values.items():
            values, left_out = collected.setdefault(name, ([], []))
            values.append(value)
            left_out.append(empty)
    return {
        name: summarise(values, left_out, resamples=resamples, seed=seed)
        for name, (values, left_out) in collected.items()
    }


def percent_of_reference(values: Sequence[float], reference: Sequence[float]) -> float:
    """Mean score as a percentage of the mean of reference scores of the same images.

    With truth prompts as the reference it says how much of what better prompts would reach is
    reached (Dhamale and Pawar, "Weakly supervised automated extraction of optimal visual
    prompts").

    Parameters
    ----------
    values, reference : sequence of float, of one length
        Pairs; one with a value that is not finite is left out.

    Returns
    -------
    float
        In percent; NaN without a pair, or where the reference's mean is 0.

    Raises
    ------
    CamSamError
        For sequences of different lengths.
    """
    ours = np.asarray(values, dtype=np.float64)
    theirs = np.asarray(reference, dtype=np.float64)
    if ours.shape != theirs.shape:
        raise CamSamError(
            f"There are {ours.size} scores but {theirs.size} reference scores; they must pair up."
        )
    kept = np.isfinite(ours) & np.isfinite(theirs)
    total = float(theirs[kept].sum())
    return 100 * float(ours[kept].sum()) / total if total else math.nan
