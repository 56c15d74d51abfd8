"""How good a classifier is on images that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClassFigures", "Figures", "ReliabilityBin", "figures_of"]

_BINS = 10


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
