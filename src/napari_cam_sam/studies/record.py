"""The record of a study, ``study.json``, checked before it is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, field_validator

from napari_cam_sam.parsing import parse_json, read_text
from napari_cam_sam.schemas import check_schema

__all__ = ["read_record"]


class _Dataset(BaseModel):
    layout: str = ""
    path: str = ""
    options: dict[str, Any] = {}


class _Plan(BaseModel):
    name: str = ""
    dataset: _Dataset = _Dataset()
    settings: dict[str, dict[str, Any] | None] = {}
    seed: int = 0
    threads: int = 1
    trust: dict[str, Any] | None = None


class _Model(BaseModel):
    kind: str
    sha256: str | None = None
    device: str | None = None
    precision: str | None = None


class _Record(BaseModel):
    """Fields that are there have these types; a study that runs has not all of them yet."""

    name: str | None = None
    state: Literal["running", "stopped", "finished"] | None = None
    plan: str | None = None
    study: _Plan | None = None
    compare: list[list[str]] | None = None
    left_out: list[str] | None = None
    dataset: str | None = None
    problems: list[str] | None = None
    cases: dict[str, int] | None = None
    threads: int | None = None
    command: list[str] | None = None
    folder: str | None = None
    started: str | None = None
    finished: str | None = None
    runs: list[dict[str, Any]] | None = None
    python: str | None = None
    packages: dict[str, str | None] | None = None
    device: str | None = None
    workers: int | None = None
    encodes: dict[str, int] | None = None
    seconds: dict[str, float] | None = None
    models: dict[str, list[_Model]] | None = None
    data_sha256: str | None = None

    @field_validator("compare")
    @classmethod
    def _pairs(cls, value: list[list[str]] | None) -> list[list[str]] | None:
        if any(len(pair) != 2 for pair in value or ()):
            raise ValueError("pairs of settings")
        return value


def read_record(path: Path) -> dict[str, Any]:
    """Read ``study.json``.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict
        As it stands there; fields that are known have their types.

    Raises
    ------
    CamSamError
        If it cannot be read, or a field is of another type.
    """
    data = parse_json(read_text(path, "the record of a study"), path)
    check_schema(_Record, data, path)
    return dict(data)
