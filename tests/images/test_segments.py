"""Segments are chosen by name or number, and named in sentences."""

from __future__ import annotations

import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.segments import Segment, choose_segments, segments_in_words

KNOWN = (Segment(1, "Liver"), Segment(2, "lesion"), Segment(3, "Lesion"), Segment(7, "2"))


def test_no_choice_is_all_of_them():
    assert choose_segments(KNOWN, None) == KNOWN


def test_a_name_counts_with_its_case_only_where_names_differ_in_nothing_else():
    assert choose_segments(KNOWN, ["LIVER"]) == KNOWN[:1]
    assert choose_segments(KNOWN, ["lesion"]) == (KNOWN[1],)
    with pytest.raises(CamSamError, match=r"More than one segment is called 'LESION'.* 2 and 3"):
        choose_segments(KNOWN, ["LESION"])


def test_a_number_is_a_number_and_text_is_first_a_name():
    assert choose_segments(KNOWN, [2]) == (KNOWN[1],)
    assert choose_segments(KNOWN, ["2"]) == (KNOWN[3],)
    assert choose_segments(KNOWN, ["3", "liver"]) == (KNOWN[0], KNOWN[2])


def test_what_is_not_there_is_said_with_what_is():
    with pytest.raises(CamSamError, match=r"Unknown segment 'spleen'.*1 \(Liver\)"):
        choose_segments(KNOWN[:1], ["spleen"])


def test_segments_in_words():
    assert segments_in_words(()) == ""
    assert segments_in_words(KNOWN[:1]) == "1 (Liver)"
    assert segments_in_words(KNOWN[:3]) == "1 (Liver), 2 (lesion) and 3 (Lesion)"
    many = [Segment(n, "a") for n in range(1, 12)]
    assert segments_in_words(many).endswith("8 (a) and 3 more")
