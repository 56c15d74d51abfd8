from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.training.figures import (
    Figures,
    balanced_accuracy_interval,
    figures_of,
    warning_of,
)
from napari_cam_sam.models.training.record import figures_in
from napari_cam_sam.records.values import plain


def test_figures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 200)
    logits = rng.normal(size=(200, 3)) + 1.5 * np.eye(3)[labels]
    values = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = figures_of("test", values, labels, ("a", "b", "c"))
    predicted = values.argmax(axis=1)
    precision, recall, f1, n = precision_recall_fscore_support(labels, predicted)
    assert [c.precision for c in found.classes] == pytest.approx(precision)
    assert [c.recall for c in found.classes] == pytest.approx(recall)
    assert [c.f1 for c in found.classes] == pytest.approx(f1)
    assert [c.n for c in found.classes] == n.tolist()
    assert np.array_equal(found.confusion, confusion_matrix(labels, predicted))
    assert found.accuracy == pytest.approx((labels == predicted).mean())
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found.auroc == pytest.approx(roc_auc_score(labels, values, multi_class="ovr"))
    assert found.f1 == pytest.approx(f1.mean())


def test_calibration_in_closed_form() -> None:
    # Four images at .8, three right; two at .6, none right; one at 1.0, right.
    values = np.array([[0.8, 0.2]] * 4 + [[0.4, 0.6]] * 2 + [[1.0, 0.0]])
    labels = np.array([0, 0, 0, 1, 0, 0, 0])
    found = figures_of("test", values, labels, ("a", "b"))
    assert [(b.n, b.accuracy) for b in found.reliability] == [(2, 0.0), (4, 0.75), (1, 1.0)]
    assert [b.confidence for b in found.reliability] == pytest.approx([0.6, 0.8, 1.0])
    assert [(b.low, b.high) for b in found.reliability] == [
        pytest.approx(pair) for pair in ((0.5, 0.6), (0.7, 0.8), (0.9, 1.0))
    ]
    assert found.ece == pytest.approx((2 * 0.6 + 4 * 0.05 + 0) / 7)


def test_a_class_that_is_absent_or_never_predicted() -> None:
    values = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0]])
    found = figures_of("test", values, np.array([0, 1]), ("a", "b", "c"))
    assert [c.n for c in found.classes] == [1, 1, 0]
    assert found.classes[1].precision == 0
    assert np.isnan(found.classes[2].auroc)
    assert found.f1 == pytest.approx((2 / 3 + 0) / 2)
    assert found.auroc == pytest.approx(1.0)


def figures_with(confusion: list[list[int]]) -> Figures:
    """Return figures of images with this confusion, all as sure as can be."""
    pairs = [(a, b) for a, row in enumerate(confusion) for b, n in enumerate(row) for _ in range(n)]
    labels, predicted = np.array(pairs).T
    names = tuple(map(str, range(len(confusion))))
    return figures_of("test", np.eye(len(names), dtype=np.float32)[predicted], labels, names)


@pytest.mark.parametrize(
    ("confusion", "warned"),
    [
        ([[60, 0], [20, 0]], True),  # all are given the largest class
        ([[33, 27], [9, 11]], True),
        ([[30, 30], [30, 30]], True),
        ([[3, 0], [0, 3]], True),  # too few to tell
        ([[5, 0], [0, 0]], True),  # one class alone
        ([[0, 30], [30, 0]], True),  # the wrong way round
        ([[27, 3], [7, 36]], False),
        ([[300, 60], [4, 36]], False),  # less accurate than the largest class, and yet it sees
        ([[12, 4, 4], [5, 10, 5], [3, 4, 13]], False),
        ([[9, 6, 5], [7, 6, 7], [7, 6, 7]], True),
    ],
)
def test_what_may_be_a_guess_is_warned_of(confusion: list[list[int]], warned: bool) -> None:
    figures = figures_with(confusion)
    said = warning_of(figures)
    assert bool(said) == warned
    if warned:
        assert f"on {figures.n} images" in said
        assert f"same class has {1 / sum(any(row) for row in confusion):.2f}" in said
        assert "train on more images" in said
    assert warning_of(None) == ""


@pytest.mark.parametrize("sizes", [(2, 2), (3, 10), (5, 5), (5, 30), (12, 20)])
def test_guesses_are_rarely_taken_for_more(sizes: tuple[int, int]) -> None:
    m, n = sizes
    better = np.array(
        [
            [balanced_accuracy_interval([[a, m - a], [n - b, b]])[0] > 0.5 for b in range(n + 1)]
            for a in range(m + 1)
        ]
    )
    for part in np.linspace(0.02, 0.98, 25):  # that a guess gives the first class
        first, second = binom.pmf(range(m + 1), m, part), binom.pmf(range(n + 1), n, 1 - part)
        assert np.outer(first, second)[better].sum() <= 0.025


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"part": 3}, "part should be a text, not 3"),
        ({"confusion": []}, "2 rows and columns"),
        ({"confusion": [[0, 0], [0, 0]]}, "count 2 images"),
        ({"confusion": [[2, -1], [0, 1]]}, "count 2 images"),
        ({"confusion": [[1, 0], [0, 10**30]], "n": 10**30 + 1}, "count 10*.* images"),
    ],
)
def test_a_damaged_record_is_refused_by_its_name(wrong: dict[str, Any], words: str) -> None:
    found = figures_of("test", np.eye(2, dtype=np.float32), np.array([0, 1]), ("a", "b"))
    assert figures_in({"figures": plain(found)}) == found
    with pytest.raises(CamSamError, match=rf"{words}.* \(the record of its training\)\.$"):
        figures_in({"figures": plain(found) | wrong})
