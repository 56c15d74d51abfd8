"""The annotator with segmenters: a scripted one, whose answers are known, and real ones."""

import numpy as np
import pytest

from napari_cam_sam.demo.phantoms import ultrasound
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.pipeline.annotation import annotate
from napari_cam_sam.prompts.annotator import AnnotatorParameters
from napari_cam_sam.sam.loading import load_segmenter
from napari_cam_sam.sam.segmenter import Embedding, MaskCandidates


class Painter:
    """Answers with a disc of radius 3 around each positive point, without those of negative ones.

    The three candidates are nothing, the answer, and everything, scored alike but for the last.
    """

    name, model_hash = "painter", "0"

    def __init__(self, radius=3):
        self.radius = radius
        self.seen = []

    def decode(self, embedding, prompts, *, multimask=True, previous_logits=None):
        self.seen.append((prompts[0].points, previous_logits))
        rows, columns = np.indices(embedding.plane_shape)
        mask = np.zeros(embedding.plane_shape, bool)
        for p in prompts[0].points:
            mask[(rows - p.row) ** 2 + (columns - p.column) ** 2 <= self.radius**2] = p.positive
        masks = np.stack([np.zeros_like(mask), mask, np.ones_like(mask)])
        logits = np.full((3, 4, 4), len(self.seen), np.float32)
        chosen = slice(None) if multimask else slice(1, 2)
        scores = np.array([0.5, 0.5, 0.9], np.float32)
        return [MaskCandidates(prompts[0].object_id, masks[chosen], scores[chosen], logits[chosen])]


TRUTH = np.zeros((20, 30), bool)
TRUTH[5:12, 5:12] = TRUTH[10:17, 20:27] = True
EMBEDDING = Embedding(None, TRUTH.shape, "0")


def test_points_are_added_where_the_mask_is_wrong():
    painter = Painter()
    steps = list(
        annotate(painter, EMBEDDING, TRUTH, AnnotatorParameters(points=4), mask_choice="oracle")
    )
    assert [len(step.prompt.points) for step in steps] == [1, 2, 3, 4]
    # Every prompt has all points so far; the first two are the centres of the two squares.
    assert steps[3].prompt.points[:3] == steps[2].prompt.points
    centres = {(p.row, p.column) for p in steps[1].prompt.points}
    assert centres == {(8, 8), (13, 23)}
    assert all(p.positive for p in steps[1].prompt.points)
    assert all(logits is None for _, logits in painter.seen)


@pytest.mark.parametrize(("choice", "index"), [("first", 0), ("best", 2), ("oracle", 1)])
def test_mask_choice(choice, index):
    (step,) = annotate(
        Painter(), EMBEDDING, TRUTH, AnnotatorParameters(points=1), mask_choice=choice
    )
    assert [step.mask.any(), step.mask.all()] == [index > 0, index == 2]
    assert step.score == pytest.approx(0.9 if index == 2 else 0.5)


def test_too_much_gets_negative_points():
    steps = list(
        annotate(Painter(), EMBEDDING, TRUTH, AnnotatorParameters(points=3), mask_choice="best")
    )
    assert [p.positive for p in steps[2].prompt.points] == [True, False, False]


def test_previous_logits_are_those_of_the_chosen_mask():
    painter = Painter()
    list(annotate(painter, EMBEDDING, TRUTH, AnnotatorParameters(3, previous_logits=True)))
    fed = [logits for _, logits in painter.seen]
    assert fed[0] is None
    assert [one[0][0, 0] for one in fed[1:]] == [1, 2]
    assert fed[1][0].shape == (4, 4)


def test_a_perfect_mask_is_repeated():
    rows, columns = np.indices((20, 30))
    truth = (rows - 8) ** 2 + (columns - 9) ** 2 <= 9
    painter = Painter()
    steps = list(
        annotate(painter, EMBEDDING, truth, AnnotatorParameters(points=5), mask_choice="single")
    )
    assert len(steps) == 5
    assert len(painter.seen) == 1
    assert all((step.mask == truth).all() for step in steps)
    assert len(steps[4].prompt.points) == 1


def test_bad_truth():
    with pytest.raises(CamSamError, match="truth is empty"):
        next(annotate(Painter(), EMBEDDING, np.zeros_like(TRUTH), AnnotatorParameters()))
    with pytest.raises(CamSamError, match="must be the same"):
        next(annotate(Painter(), EMBEDDING, TRUTH[:-1], AnnotatorParameters()))


@pytest.mark.parametrize("name", ["compact-sam", "seeded"])
def test_more_points_help_real_segmenters(name):
    segmenter = load_segmenter(name)
    phantom = ultrasound(3, lesion=True)
    truth = np.asarray(phantom.labels) > 0
    embedding = segmenter.encode(phantom.image)

    def curve(**options):
        steps = annotate(
            segmenter, embedding, truth, AnnotatorParameters(points=6, **options),
            mask_choice="best",
        )  # fmt: skip
        return [(s.mask & truth).sum() / (s.mask | truth).sum() for s in steps]

    first = curve()
    assert first == curve()
    assert max(first[1:]) > first[0] or first[0] > 0.9
    assert len(curve(previous_logits=True)) == 6
