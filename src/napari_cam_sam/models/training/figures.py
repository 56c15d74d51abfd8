"""How good a classifier is on images that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ClassFigures",
    "Figures",
    "ReliabilityBin",
    "balanced_accuracy_interval",
    "figures_of",
    "warning_of",
]

_BINS = 10
_LEVEL = 0.95


@dataclass(frozen=True)
class ClassFigures:
    """One class against all others.

    Attributes
    ----------
    name : str
    n : int
        Images of the class.
    precision, recall, f1 : float
        Of the predicted class; 0 where nothing was predicted so.
    auroc : float
        Area under the ROC curve of the class's probability; NaN where it is not defined.
    """

    name: str
    n: int
    precision: float
    recall: float
    f1: float
    auroc: float


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose highest probability lies in one tenth of its range.

    Attributes
    ----------
    low, high : float
        The probability is above the first, and not above the second.
    n : int
        Images.
    confidence, accuracy : float
        Mean of their highest probability, and part of them that is right.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Figures:
    """All classes together.

    Attributes
    ----------
    part : str
        The images: ``"test"`` or ``"validation"``.
    n : int
        How many.
    accuracy, balanced_accuracy : float
        Part of the images that is right, and the mean of the classes' recalls.
    f1, auroc : float
        Means of the figures of the classes that have images.
    ece : float
        Expected calibration error: the mean distance of confidence and accuracy over ten bins,
        weighed by their images (Guo et al., "On calibration of modern neural networks").
    classes : tuple of ClassFigures
    confusion : tuple of tuple of int
        Rows are labels, columns predictions.
    reliability : tuple of ReliabilityBin
        Those with images.
    """

    part: str
    n: int
    accuracy: float
    balanced_accuracy: float
    f1: float
    auroc: float
    ece: float
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]


def figures_of(
    part: str,
    probabilities: NDArray[np.floating],
    labels: NDArray[np.intp],
    names: Sequence[str],
) -> Figures:
    """Compare probabilities with labels.

    Parameters
    ----------
    part : str
        What the images are called.
    probabilities : ndarray of float, shape (n, classes)
        n is 1 or more.
    labels : ndarray of int, shape (n,)
    names : sequence of str
        Of the classes.

    Returns
    -------
    Figures
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

    every = np.arange(len(names))
    values = probabilities.astype(np.float64)
    predicted = values.argmax(axis=1)
    by_class = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    rows = []
    for index, (name, precision, recall, f1, n) in enumerate(zip(names, *by_class, strict=True)):
        defined = 0 < n < len(labels)
        area = roc_auc_score(labels == index, values[:, index]) if defined else np.nan
        rows.append(
            ClassFigures(name, int(n), float(precision), float(recall), float(f1), float(area))
        )
    there = [row for row in rows if row.n]
    reliability = _reliability(values.max(axis=1), predicted == labels)
    return Figures(
        part=part,
        n=len(labels),
        accuracy=float((predicted == labels).mean()),
        balanced_accuracy=float(np.mean([row.recall for row in there])),
        f1=float(np.mean([row.f1 for row in there])),
        auroc=float(np.mean([row.auroc for row in there])),
        ece=sum(b.n * abs(b.confidence - b.accuracy) for b in reliability) / len(labels),
        classes=tuple(rows),
        confusion=tuple(map(tuple, confusion_matrix(labels, predicted, labels=every).tolist())),
        reliability=reliability,
    )


def balanced_accuracy_interval(confusion: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Compute the 95 % interval of the balanced accuracy.

    The exact interval of each class's recall, put together by the method of variance estimates
    recovery (Newcombe, "Interval estimation for the difference between independent proportions").
    It holds its level for a few images a class, where a bootstrap of none that is wrong would
    have no width.

    Parameters
    ----------
    confusion : sequence of sequence of int
        Rows are labels, columns predictions. Classes without images do not count.

    Returns
    -------
    low, high : float

    Examples
    --------
    >>> from napari_cam_sam.models.training.figures import balanced_accuracy_interval
    >>> low, high = balanced_accuracy_interval([[3, 0], [0, 3]])
    >>> round(low, 2), high  # three of three, twice: it may still be a guess
    (0.5, 1.0)
    """
    from scipy.stats import binomtest

    below, above, recalls = [], [], []
    for index, counts in enumerate(confusion):
        if not sum(counts):
            continue
        found = binomtest(counts[index], sum(counts)).proportion_ci(_LEVEL, method="exact")
        recall = counts[index] / sum(counts)
        recalls.append(recall)
        below.append(recall - found.low)
        above.append(found.high - recall)
    mean, n = np.mean(recalls), len(recalls)
    return float(mean - np.hypot.reduce(below) / n), float(mean + np.hypot.reduce(above) / n)


def warning_of(figures: Figures | None) -> str:
    """Return what must be said of a classifier that may be no better than guessing.

    Guessing, and giving all images the same class, have a balanced accuracy of one over the number
    of classes, however many images each class has. A classifier is better if the whole interval
    of its balanced accuracy lies above that.

    Parameters
    ----------
    figures : Figures or None
        Of images that it did not learn from.

    Returns
    -------
    str
        Empty where it is better, or where nothing is known.
    """
    if figures is None:
        return ""
    low, high = balanced_accuracy_interval(figures.confusion)
    chance = 1 / sum(any(counts) for counts in figures.confusion)
    if low > chance:
        return ""
    return (
        f"It may be no better than guessing: on {figures.n} images its balanced accuracy is "
        f"{figures.balanced_accuracy:.2f} (95 % interval {low:.2f} to {high:.2f}), and giving all "
        f"of them the same class has {chance:.2f}. Its heatmaps may mean nothing: train on more "
        "images, check their labels, or choose another task."
    )


def _reliability(
    confidence: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[ReliabilityBin, ...]:
    edges = np.linspace(0, 1, _BINS + 1).tolist()
    bins = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
    return tuple(
        ReliabilityBin(
            edges[i],
            edges[i + 1],
            int((bins == i).sum()),
            float(confidence[bins == i].mean()),
            float(right[bins == i].mean()),
        )
        for i in range(_BINS)
        if (bins == i).any()
    )
