"""Some damaged inputs of each reader; `tools/mutate_inputs.py` tries thousands."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import mutate_inputs

COUNT = 60


@pytest.mark.skipif(not hasattr(mutate_inputs.os, "fork"), reason="needs processes of its own")
@pytest.mark.parametrize("name", list(mutate_inputs.READERS))
def test_damaged_inputs_are_refused_by_a_sentence_or_read_rightly(name: str) -> None:
    counts, faults, longest = mutate_inputs.run_reader(name, COUNT, seed=7)
    assert faults == {}
    assert counts["accepted"] + counts["refused"] == COUNT
    assert counts["refused"] > COUNT // 10  # else nothing is damaged
    assert longest < mutate_inputs.MOST_SECONDS


@pytest.mark.skipif(not hasattr(mutate_inputs.os, "fork"), reason="needs processes of its own")
def test_a_copied_process_does_not_wait_for_threads_that_it_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    def product(path: Path) -> int:
        return int((torch.ones(1 << 22).exp() * 2).sum())

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    product(Path())  # PyTorch starts its threads
    reader = mutate_inputs.Reader(
        [("a", b"0")], lambda rng, data: data, product, lambda found, path, name: None
    )
    monkeypatch.setitem(mutate_inputs.READERS, "threaded", lambda folder: reader)
    monkeypatch.setattr(mutate_inputs, "MOST_SECONDS", 1.0)  # a hanging one is ended after 30 s
    try:
        counts, faults, _ = mutate_inputs.run_reader("threaded", 2, seed=0)
    finally:
        torch.set_num_threads(before)
    assert faults == {}
    assert counts == {"accepted": 2}


def test_a_number_beyond_all_floats_is_changed_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    for seed in range(40):
        near = mutate_inputs.m._near(np.random.default_rng(seed), 10**400)
        assert near != 10**400 or isinstance(near, str)


@pytest.mark.slow
def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    """A reader with every fault: each is told."""
    import os

    import numpy as np

    from napari_cam_sam.errors import CamSamError

    def read(path: Path) -> int:
        what = int(path.read_bytes()) % 6
        if what == 0:
            raise ValueError("raw")
        if what == 1:
            raise CamSamError("a sentence")
        if what == 2:
            np.ones(mutate_inputs.MOST_BYTES * 2, np.uint8)
        if what == 3:
            os.abort()
        if what == 4:
            while True:
                pass
        return what

    def damage(rng: np.random.Generator, data: bytes) -> bytes:
        return str(int(rng.integers(1000))).encode()

    reader = mutate_inputs.Reader(
        [("a", b"0")], damage, read, lambda found, path, name: f"it is {found}"
    )
    before = mutate_inputs.MOST_SECONDS
    mutate_inputs.READERS["faulty"] = lambda folder: reader
    mutate_inputs.MOST_SECONDS = 0.5
    try:
        counts, faults, _ = mutate_inputs.run_reader("faulty", 40, seed=0)
    finally:
        mutate_inputs.MOST_SECONDS = before
        del mutate_inputs.READERS["faulty"]
    assert sum(counts.values()) == 40
    assert set(faults) == {"wrong", "big", "killed", "slow", "different"}
    assert all("raw" in reason for _, reason in faults["wrong"])
