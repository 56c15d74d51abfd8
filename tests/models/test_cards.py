import json
from pathlib import Path

import pytest

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.cards import beside, card_in_metadata, merge_cards

FULL = {
    "architecture": "small-cnn",
    "num_classes": 2,
    "class_names": ["normal", "lesion"],
    "input_size": [128, 96],
    "mean": [0.5],
    "std": [0.25],
    "channels": 1,
}


def test_full_card_and_its_json() -> None:
    card = merge_cards([("file", FULL)], "x", (224, 224))
    assert card.class_names == ("normal", "lesion")
    assert card.input_size == (128, 96)
    assert merge_cards([("json", json.loads(card.to_json()))], "x", (1, 1)) == card


def test_defaults() -> None:
    card = merge_cards([("file", {"architecture": "resnet18", "num_classes": 3})], "x", (224, 224))
    assert card.class_names == ("class 0", "class 1", "class 2")
    assert card.channels == 3
    assert card.input_size == (224, 224)
    assert card.mean == (0.485, 0.456, 0.406)
    gray = merge_cards(
        [("file", {"architecture": "resnet18", "class_names": ["a"], "channels": 1})], "x", (8, 8)
    )
    assert gray.num_classes == 1
    assert gray.mean == (0.449,)


def test_later_sources_fill_what_earlier_ones_lack() -> None:
    sources = [
        ("file", {"architecture": "resnet18"}),
        ("json", {"class_names": ["a", "b"], "input_size": None}),
        ("argument", {"input_size": (64, 64), "class_names": ("a", "b")}),
    ]
    card = merge_cards(sources, "x", (224, 224))
    assert (card.architecture, card.num_classes, card.input_size) == ("resnet18", 2, (64, 64))


def test_contradiction_is_refused() -> None:
    with pytest.raises(CamSamError, match="file says num_classes = 2, but argument says 3"):
        merge_cards([("file", FULL), ("argument", {"num_classes": 3})], "x", (8, 8))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": None}, "does not say its architecture"),
        ({"num_classes": None, "class_names": None}, "does not say its classes"),
        ({"class_names": ["a", "b", "c"]}, "2 classes but 3 class names"),
        ({"class_names": ["a", "a"]}, "different names"),
        ({"class_names": "ab"}, "different names"),
        ({"num_classes": 0}, "1 or more"),
        ({"num_classes": True}, "whole number"),
        ({"num_classes": "2"}, "whole number"),
        ({"channels": 2}, "1 .gray. or 3"),
        ({"input_size": [0, 64]}, "rows and columns"),
        ({"input_size": [64]}, "rows and columns"),
        ({"input_size": [64, 1e9]}, "rows and columns"),
        ({"std": [0.0]}, "above 0"),
        ({"mean": [float("nan")]}, "finite"),
        ({"mean": [0.1, 0.2, 0.3]}, "1 channel"),
        ({"layers": [""]}, "names"),
    ],
)
def test_bad_values_say_what_is_right(change: dict, words: str) -> None:
    with pytest.raises(CamSamError, match=words):
        merge_cards([("file", FULL | change)], "x", (224, 224))


def test_card_in_metadata_as_json_mapping_and_fields() -> None:
    assert card_in_metadata({"card": json.dumps(FULL)}, "f") == FULL
    assert card_in_metadata({"card": FULL, "epoch": 3}, "f") == FULL
    as_text = {k: v if isinstance(v, str) else json.dumps(v) for k, v in FULL.items()}
    assert card_in_metadata(as_text, "f") == FULL
    assert card_in_metadata({"epoch": 3}, "f") == {}
    with pytest.raises(CamSamError, match="not valid JSON"):
        card_in_metadata({"card": "{"}, "f")
    with pytest.raises(CamSamError, match="not a mapping"):
        card_in_metadata({"card": "[1]"}, "f")


def test_json_beside(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    assert beside(path) == {}
    path.with_suffix(".json").write_text(json.dumps(FULL | {"license": "CC0"}))
    assert beside(path) == FULL
    path.with_suffix(".json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CamSamError, match=r"cannot be read|not valid JSON"):
        beside(path)
    path.with_suffix(".json").write_text("[]")
    with pytest.raises(CamSamError, match="not a JSON object"):
        beside(path)


def test_a_finer_grid_and_an_extra_head_are_read_back() -> None:
    card = merge_cards([("file", FULL | {"fine_grid": True, "head": "extra"})], "x", (8, 8))
    assert (card.fine_grid, card.head) == (True, "extra")
    assert merge_cards([("json", json.loads(card.to_json()))], "x", (1, 1)) == card
    plain = merge_cards([("file", FULL)], "x", (8, 8))
    assert (plain.fine_grid, plain.head) == (False, "linear")
    with pytest.raises(CamSamError, match="fine_grid = 1; expected true or false"):
        merge_cards([("file", FULL | {"fine_grid": 1})], "x", (8, 8))
    with pytest.raises(CamSamError, match="head = 'two'; expected linear or extra"):
        merge_cards([("file", FULL | {"head": "two"})], "x", (8, 8))
