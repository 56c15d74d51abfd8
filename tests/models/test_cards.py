import json
import re
from pathlib import Path

import pytest
import torch

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.cards import (
    card_in_metadata,
    merge_cards,
    read_sidecar,
    sources_of_module,
)
from napari_cam_sam.models.loading import load_model

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
    with pytest.raises(CamSamError, match=r"num_classes = 2 by file, but 3 by argument.*\(x\)\.$"):
        merge_cards([("file", FULL), ("argument", {"num_classes": 3})], "x", (8, 8))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": None}, "does not say its architecture"),
        ({"num_classes": None, "class_names": None}, "does not say its classes"),
        ({"class_names": ["a", "b", "c"]}, "2 classes but 3 class names"),
        ({"class_names": ["a", "a"]}, "different names"),
        ({"class_names": "ab"}, "be a list"),
        ({"num_classes": 0}, "1 or more"),
        ({"num_classes": True}, "whole number"),
        ({"num_classes": "2"}, "whole number"),
        ({"channels": 2}, "1 .gray. or 3"),
        ({"input_size": [0, 64]}, "8 or more"),
        ({"input_size": [64]}, "2 values or more"),
        ({"input_size": [64, 1e9]}, "whole number"),
        ({"std": [0.0]}, "above 0"),
        ({"mean": [float("nan")]}, "finite"),
        ({"mean": [0.1, 0.2, 0.3]}, "1 channel"),
        ({"layers": [""]}, r"layers\[0\] should have 1 or more characters"),
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
    with pytest.raises(CamSamError, match="This is no JSON"):
        card_in_metadata({"card": "{"}, "f")
    with pytest.raises(CamSamError, match="not a mapping"):
        card_in_metadata({"card": "[1]"}, "f")


def test_a_field_that_is_nearly_called_so_is_named(tmp_path: Path) -> None:
    card = FULL | {"inputsize": [64, 64]}
    (tmp_path / "net.json").write_text(json.dumps(card))
    module = torch.nn.Linear(1, 1)
    module.card = card  # type: ignore[assignment]
    for found in (
        card_in_metadata({"card": card}, "file"),
        card_in_metadata(card, "file"),
        read_sidecar(tmp_path / "net.pth"),
        dict(sources_of_module("my:net", module, {}))["the card of my:net"],
    ):
        with pytest.raises(CamSamError, match="no field inputsize: did you mean input_size"):
            merge_cards([("file", found)], "x", (8, 8))
    with pytest.raises(CamSamError, match="no field class_name: did you mean class_names"):
        load_model("phantom-unet", class_name=["a", "b"])


def test_a_key_that_is_no_text_is_refused_with_a_sentence() -> None:
    found = card_in_metadata({"architecture": "x", b"layers": 1}, "file")
    with pytest.raises(CamSamError, match=r"b'layers' should be the text of a field's name, not"):
        merge_cards([("file", found)], "x", (8, 8))


def test_entries_of_other_programs_are_passed_over() -> None:
    assert card_in_metadata({"layer": 3, "input-size": 8, "class_names": ["a"]}, "f") == {
        "class_names": ["a"]
    }


def test_json_beside(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    assert read_sidecar(path) == {}
    path.with_suffix(".json").write_text(json.dumps(FULL | {"license": "CC0"}))
    assert read_sidecar(path) == FULL
    path.with_suffix(".json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CamSamError, match="no text"):
        read_sidecar(path)
    path.with_suffix(".json").write_text("[]")
    with pytest.raises(CamSamError, match="not a JSON object"):
        read_sidecar(path)


def test_a_finer_grid_and_an_extra_head_are_read_back() -> None:
    card = merge_cards([("file", FULL | {"fine_grid": True, "head": "extra"})], "x", (8, 8))
    assert (card.fine_grid, card.head) == (True, "extra")
    assert merge_cards([("json", json.loads(card.to_json()))], "x", (1, 1)) == card
    plain = merge_cards([("file", FULL)], "x", (8, 8))
    assert (plain.fine_grid, plain.head) == (False, "linear")
    with pytest.raises(CamSamError, match="fine_grid should be true or false, not 1"):
        merge_cards([("file", FULL | {"fine_grid": 1})], "x", (8, 8))
    with pytest.raises(CamSamError, match="head should be 'linear' or 'extra', not 'two'"):
        merge_cards([("file", FULL | {"head": "two"})], "x", (8, 8))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_classes": 10**9}, "num_classes should be 100000 or less, not 1000000000"),
        ({"num_classes": 10**5000}, "num_classes should be 100000 or less"),
        ({"num_classes": [2]}, r"num_classes should be a whole number, not \[2\]"),
        ({"channels": True}, "channels should be a whole number, not True"),
        ({"channels": 1.0}, "channels should be a whole number, not 1.0"),
        ({"class_names": [1, 2]}, "class_names"),
        ({"class_names": {"a": 1, "b": 2}}, "class_names"),
        ({"class_names": ["a\nb", "c"]}, "a name in one line"),
        ({"class_names": ["a\x1b[31m", "c"]}, "a name in one line"),
        ({"class_names": ["\u202eab", "c"]}, "a name in one line"),
        ({"class_names": ["\ud800", "c"]}, "a text of Unicode characters"),
        ({"class_names": ["a" * 10**6, "c"]}, "at most 200 characters"),
        ({"layers": [["layer4"]]}, "layers"),
        ({"layers": "layer4"}, "layers"),
        ({"input_size": [0, 64]}, "input_size"),
        ({"input_size": [-8, -8]}, "input_size"),
        ({"input_size": [4096, 4096, 4096]}, "no more than"),
        ({"input_size": 10**400}, "input_size"),
        ({"mean": [10**400]}, "mean"),
        ({"mean": 0.5}, "mean"),
        ({"mean": ["0.5"]}, "mean"),
        ({"std": [float("inf")]}, "std"),
        ({"std": [-1.0]}, "std"),
        ({"output": ["logits"]}, "output"),
        ({"head": {"linear": 1}}, "head"),
        ({"fine_grid": "yes"}, "fine_grid"),
        ({"architecture": ["resnet18"]}, "architecture"),
        ({"orientation": "RAX"}, "orientation"),
        ({"orientation": 3}, "orientation"),
        ({"spacing": [1, 2]}, "spacing"),
        ({"window": ""}, "window"),
        ({"arguments": [1]}, "arguments"),
        ({"arguments": {"channels": [10**9, 2]}}, "channels is 1000000000, at most 65536"),
        ({"arguments": {"kernel_size": 10**6}}, "kernel_size is 1000000, at most"),
        ({"arguments": {"num_res_units": 10**4}}, "num_res_units"),
        ({"arguments": {"strides": [2] * 1000}}, "strides has 1000 values, at most 64"),
        ({"arguments": {"x": float("nan")}}, "no plain value"),
        ({"arguments": {"x": "a" * 1000}}, "no plain value"),
    ],
)
def test_absurd_values_are_refused_by_their_field(change: dict, words: str) -> None:
    with pytest.raises(CamSamError, match=words) as caught:
        merge_cards([("file", FULL | change)], "x", (224, 224))
    message = str(caught.value)
    # The reason is in front, where a toast shows it, and what says so at the end.
    assert re.match(rf"{next(iter(change))}(\[\d\])? (should|is missing)", message)
    assert message.endswith("(file).")
    assert len(message) < 600
    assert message.isprintable()


def test_values_that_lie_deep_in_one_another_are_refused(tmp_path: Path) -> None:
    deep: object = 1
    for _ in range(18):
        deep = {"a": [deep, deep]}
    for key in ("arguments", "class_names", "window", "mean"):
        with pytest.raises(CamSamError, match=key) as caught:
            merge_cards(
                [("file", FULL | {key: deep if key == "arguments" else [deep]})], "x", (8, 8)
            )
        assert len(str(caught.value)) < 600
    for text in ("[" * 100_000, '{"a":' * 5_000, '{"mean": [NaN]}', "1" * 6_000, '"text"', "[]"):
        with pytest.raises(CamSamError):
            card_in_metadata({"card": text}, "f")
        (tmp_path / "net.json").write_text(text)
        with pytest.raises(CamSamError):
            read_sidecar(tmp_path / "net.pth")
        found = card_in_metadata({"class_names": text}, "f")
        with pytest.raises(CamSamError, match=r"class_names|architecture"):
            merge_cards([("file", found)], "x", (8, 8))


def test_names_of_other_scripts_are_names() -> None:
    names = ("病变", "नहीं", "läsion 1/2", "👩‍⚕️", 'with "quotes"')
    card = merge_cards([("f", {"architecture": "resnet18", "class_names": names})], "x", (8, 8))
    assert card.class_names == names
