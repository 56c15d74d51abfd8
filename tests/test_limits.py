"""Bounds on files: what is sound is read as the plain parsers read it, what is not is refused."""

import json
import os
import time

import numpy as np
import pytest
import yaml

from napari_cam_sam import parsing
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.limits import DEPTH, check_array, check_expansion, memory_bound
from napari_cam_sam.parsing import parse_json, parse_yaml, read_text


def test_sound_text_means_what_the_plain_parsers_say():
    data = {"a": [1, -2, 2**63, 2.5, None, True, 'é \\ " [ {'], "b": {"c": {"d": []}}}
    assert parse_json(json.dumps(data), "x") == data
    assert parse_yaml(yaml.safe_dump(data), "x") == data
    merged = "base: &base {a: 1, b: [x, y]}\none: {<<: *base, c: 3}\ntwo: *base\n"
    assert parse_yaml(merged, "x") == yaml.safe_load(merged)


LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 13)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("parse", "text", "reason"),
    [
        (parse_yaml, LAUGHS, "more than 100000 values"),
        (parse_yaml, MERGES, "more than 100000 values"),
        (parse_yaml, "a: &a [*a]", "contains itself"),
        (parse_yaml, "[" * 5000, f"more than {DEPTH} deep"),
        (parse_yaml, "- " * 400, f"more than {DEPTH} deep"),
        (parse_yaml, "n: " + "9" * 5000, "too long"),
        (parse_yaml, "n: 0x" + "f" * 900, "64 bits"),
        (parse_yaml, "n: " + "1:" * 5000 + "1", "too long"),
        (parse_yaml, "!!python/object/apply:os.system ['true']", "tag"),
        (parse_yaml, "a: !!set {b, c}", "tag !!set"),
        (parse_yaml, "a: !mine 3", "tag !mine"),
        (parse_yaml, "a: !!int x", "value that is none"),
        (parse_yaml, 'a: !!int ""', "value that is none"),
        (parse_yaml, "a: !!timestamp x", "value that is none"),
        (parse_yaml, "a: 2024-02-31", "value that is none"),
        (parse_yaml, "a: 0001-01-01 00:00:00 +99:99", "value that is none"),
        (parse_yaml, "a: 1\na: 2", "twice, first on line 1 (file:2)"),
        (parse_yaml, "? [a, b]\n: 1", "key must be a plain value"),
        (parse_yaml, "a: *b", "undefined alias"),
        (parse_yaml, "a: \x01", "no YAML"),
        (parse_yaml, "a: 1\n" * 200_000, "longer than 512 KiB"),
        (parse_json, "[" * 100_000, f"more than {DEPTH} deep"),
        (parse_json, "[" * 80 + "]" * 80, f"more than {DEPTH} deep"),
        (parse_json, '{"a":' * 70 + "1" + "}" * 70, f"more than {DEPTH} deep"),
        (parse_json, "9" * 5000, "digits"),
        (parse_json, "[NaN]", "NaN is no JSON"),
        (parse_json, '{"a": 1, "a": 2}', "'a' is there twice"),
        (parse_json, "[1,]", "line 1, column 4"),
    ],
)
def test_bombs_and_broken_text_are_refused_at_once(parse, text, reason):
    begin = time.perf_counter()
    with pytest.raises(CamSamError) as caught:
        parse(text, "file")
    assert reason in str(caught.value)
    assert str(caught.value).rstrip(").").split("(")[-1].startswith("file")  # the file comes last
    assert time.perf_counter() - begin < 5


def test_values_that_the_memory_cannot_hold_are_refused(monkeypatch):
    text = "[" + "0," * 10_000 + "0]"
    assert len(parse_json(text, "x")) == 10_001
    monkeypatch.setattr(parsing, "memory_bound", lambda: 2**20)
    with pytest.raises(CamSamError, match=r"need some 1\.9 MiB, and half of the free"):
        parse_json(text * 2, "x")


def test_deep_brackets_in_text_are_no_depth():
    text = json.dumps({"a": "[" * 500, "b": '"' + "{" * 500, "c": [[] for _ in range(200)]})
    assert parse_json(text, "x") == json.loads(text)


def test_text_is_read_with_or_without_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_text(path, "a card") == '{"a": 1}'
    path.write_text("µ", encoding="utf-8")
    assert read_text(path, "a card") == "µ"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\0b", "no text"),
        (b"\xff\xfea", "no text in UTF-8"),
        (b"x" * 101, "larger than 100 bytes"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, reason):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(CamSamError, match=reason):
        read_text(path, "a card", most=100)


def test_places_that_are_no_file_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    places = {
        tmp_path / "pipe.json": "a pipe",  # and it does not wait for a writer
        "/dev/zero": "a device",
        tmp_path: "folder",
        tmp_path / "none": "no such file",
        tmp_path / ("x" * 300): "too long",
        tmp_path / "a\0b": "null",
        tmp_path / "a\ud800b": "could not be read",
    }
    for place, reason in places.items():
        with pytest.raises(CamSamError, match=reason):
            read_text(place, "a card")


def test_declared_arrays_are_compared_with_what_is_stored():
    assert check_array((512, 512), np.uint8, 3000, "x") == 2**18
    assert check_array((4, 5, 6), np.float64, 960, "x", expansion=1) == 960
    for shape, stored, options, reason in (
        ((40_000, 45_000), 279, {}, "stores 279 bytes"),
        ((2**63 - 1, 2**63 - 1, 2**15), 10**6, {}, "declares"),  # would be small as int64
        ((4, 5, 7), 139, {"expansion": 1}, "truncated"),
        ((3, 0), 100, {}, "1 or more"),
        ((3, -2), 100, {}, "1 or more"),
        ((), 100, {}, "no values"),
        ((memory_bound() * 4,), None, {}, "free memory"),
    ):
        with pytest.raises(CamSamError, match=reason):
            check_array(shape, np.uint8, stored, "x", **options)
    huge = memory_bound() * 4
    assert check_array((huge,), np.uint8, huge, "x", in_memory=False) == huge


def test_expansion():
    check_expansion(100, 2**20, "x")
    check_expansion(2**20, 2**30, "x")
    with pytest.raises(CamSamError, match="1 MiB of this unpack to 4 GiB"):
        check_expansion(2**20, 2**32, "x")
