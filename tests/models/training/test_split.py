import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.image import image_from_array
from napari_cam_sam.models.training.samples import Sample
from napari_cam_sam.models.training.split import (
    class_indices,
    describe_copies,
    join_groups,
    split_groups,
)

IMAGE = image_from_array(np.zeros((4, 4)))


def split(classes, groups, validation_part=0.15, test_part=0.2, seed=0):
    names = [f"class {i}" for i in range(int(np.max(classes)) + 1)]
    return split_groups(
        np.asarray(classes), np.asarray(groups), names,
        validation_part=validation_part, test_part=test_part, seed=seed,
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.lists(st.integers(1, 9), min_size=3, max_size=30), min_size=2, max_size=4),
    seed=st.integers(0, 5),
)
def test_no_group_crosses_and_every_part_has_every_class(sizes, seed) -> None:
    classes = np.concatenate([np.full(sum(own), i) for i, own in enumerate(sizes)])
    counts = [n for own in sizes for n in own]
    groups = np.repeat(np.arange(len(counts)), counts)
    parts = split(classes, groups, seed=seed)
    for group in range(len(counts)):
        assert len(set(parts[groups == group])) == 1
    for index in range(len(sizes)):
        assert set(parts[classes == index]) == {0, 1, 2}


def test_classes_are_shared_out_in_proportion() -> None:
    rng = np.random.default_rng(1)
    classes = np.repeat([0, 1, 2], [400, 180, 100])
    groups = np.arange(680) - np.where(rng.random(680) < 0.2, 1, 0) * (np.arange(680) % 5 != 0)
    groups = np.unique(np.maximum(groups, 0), return_inverse=True)[1]
    parts = split(classes, groups)
    for index in range(3):
        own = parts[classes == index]
        found = [float((own == part).mean()) for part in range(3)]
        assert found == pytest.approx([0.65, 0.15, 0.2], abs=0.02)
    assert (parts == split(classes, groups)).all()
    assert (parts != split(classes, groups, seed=1)).any()


def test_parts_that_are_not_wanted_stay_empty() -> None:
    assert set(split([0, 0, 1, 1], range(4), 0, 0)) == {0}
    assert set(split([0, 0, 1, 1], range(4), 0.3, 0)) == {0, 1}
    assert set(split([0, 0, 1, 1], range(4), 0, 0.3)) == {0, 2}


def test_classes_with_too_few_members() -> None:
    with pytest.raises(CamSamError, match="'class 1' has 1 image, and each of 3 parts"):
        split([0, 0, 0, 1], range(4))
    with pytest.raises(CamSamError, match="'class 1' has 4 images in 1 group,"):
        split([0, 0, 0, 1, 1, 1, 1], [0, 1, 2, 3, 3, 3, 3])


def test_groups_of_several_classes_may_leave_a_part_without_one() -> None:
    classes, groups = [0, 2, 2, 0, 2, 1, 1, 1, 0], [2, 1, 0, 3, 4, 3, 2, 1, 4]
    with pytest.raises(CamSamError, match="validation part has no image of the class 'class 1'"):
        split(classes, groups, 0.3, 0.3)


def samples(*labels: str) -> list[Sample]:
    return [Sample(IMAGE, *label.split(":")) for label in labels]


def test_classes_are_sorted_or_as_given() -> None:
    names, numbers = class_indices(samples("b", "a", "b"), ())
    assert (names, numbers.tolist()) == (("a", "b"), [1, 0, 1])
    names, numbers = class_indices(samples("b", "a", "b"), ("b", "a"))
    assert (names, numbers.tolist()) == (("b", "a"), [0, 1, 0])


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ([], (), "no images to train on"),
        (["a", "a"], (), "All 2 images have the label 'a'"),
        (["a", "b", "c"], ("a", "b"), "the label 'c', which is none of the classes: a, b"),
        (["a", "b"], ("a", "b", "c"), "No image has the class 'c'; the labels are: a, b"),
    ],
)
def test_labels_and_classes_that_do_not_fit(labels, classes, words) -> None:
    with pytest.raises(CamSamError, match=words):
        class_indices(samples(*labels), classes)


def test_groups_are_joined_through_shared_copies() -> None:
    own = ["", "p", "p", "q", "", "r"]
    assert join_groups(own, None).tolist() == [0, 1, 1, 2, 3, 4]
    # The first image is a copy of one of p; one of p is a copy of the one of q.
    assert join_groups(own, np.array([0, 0, 1, 1, 2, 3])).tolist() == [0, 0, 0, 0, 1, 2]


def test_copies_within_a_group_are_not_counted() -> None:
    own = samples("a:p", "a:p", "a", "b", "a:p", "a:q")
    found = describe_copies(own, np.array([0, 0, 1, 1, 2, 2]))
    assert (found.images, found.surplus) == (4, 2)
    assert found.contradictions == (("array", "array"),)
