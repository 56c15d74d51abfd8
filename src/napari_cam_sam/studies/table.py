"""The tidy table of a study: a row a score, on disk as a file an image and as one whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.images.writing import write_atomically
from napari_cam_sam.parsing import parse_json
from napari_cam_sam.schemas import check_schema
from napari_cam_sam.text import cell_text

__all__ = [
    "COLUMNS",
    "STATUSES",
    "case_file",
    "check_table",
    "make_table",
    "read_about",
    "read_rows",
    "write_case",
    "write_tables",
]

COLUMNS: dict[str, Any] = {
    "study": pa.string(),
    "case": pa.string(),
    "group": pa.string(),
    "split": pa.string(),
    "label": pa.string(),
    "axis": pa.int64(),
    "plane": pa.int64(),
    "object": pa.int64(),
    "setting": pa.string(),
    "classifier": pa.string(),
    "method": pa.string(),
    "layers": pa.string(),
    "target": pa.string(),
    "source": pa.string(),
    "strategy": pa.string(),
    "segmenter": pa.string(),
    "mask_choice": pa.string(),
    "mask_from": pa.string(),
    "preprocessing": pa.string(),
    "step": pa.int64(),
    "status": pa.string(),
    "reason": pa.string(),
    "metric": pa.string(),
    "value": pa.float64(),
}
"""Columns in their order, with their types.

``plane`` is -1 for the volume, or for the image where it could not be run; ``object`` is 0 for all
that is not 0, else a label of the truth; ``step`` is the number of prompts of a simulated
annotator, else 0; texts are empty where they do not apply. Rows without scores have an empty
``metric``, ``value`` NaN, and a ``reason``. Rows of heatmaps themselves have the source
``heatmap``, and stand once for all settings that share the heatmap.
"""

STATUSES = ("ok", "no-prompt", "no-truth", "failed")
"""``no-prompt``: nothing was found that a prompt could be made of, so the mask is empty;
``no-truth``: there is none to compare with, or neither it nor the mask has anything here."""

_ORDER = ["case", "axis", "plane", "object", "setting", "source", "step", "status", "metric"]
_ABOUT, _DIGEST = b"napari-cam-sam", b"napari-cam-sam-sha256"
# Rows of one group of the whole parquet file; it decides the bytes of the file.
_GROUP_ROWS = 100_000


class _About(BaseModel):
    failed: bool
    plan: str
    stamp: str | dict[str, Any]  # a text in an earlier version
    encodes: dict[str, int]
    seconds: dict[str, float]
    files: list[str]
    states: list[list[int]] | None = None
    models: dict[str, dict[str, str]]


def make_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Make a table of rows, in the order in which every table of results is.

    Parameters
    ----------
    rows : iterable of mapping
        With the keys of `COLUMNS`.

    Returns
    -------
    DataFrame
        Its columns are those of `COLUMNS`.
    """
    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    table = table.sort_values(_ORDER, kind="stable", ignore_index=True)
    typed: pd.DataFrame = _arrow(table).to_pandas()
    return typed


def _arrow(table: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(table, schema=pa.schema(COLUMNS), preserve_index=False)


def case_file(folder: Path, case: str) -> Path:
    """Return the file of a case, whatever its id holds.

    Parameters
    ----------
    folder : Path
    case : str
        Its id.

    Returns
    -------
    Path
    """
    readable = re.sub(r"[^\w.\-]+", "_", case)[:60]
    return folder / f"{readable}-{hashlib.sha256(case.encode()).hexdigest()[:12]}.parquet"


def write_case(path: Path, table: pd.DataFrame, about: Mapping[str, Any]) -> None:
    """Write the rows of a case, whole or not at all.

    Parameters
    ----------
    path : Path
    table : DataFrame
    about : mapping
        What else is known of the case, e.g. how long it took.

    Raises
    ------
    CamSamError
        If the disk is full or the folder cannot be written.
    """
    rows, words = _arrow(table), json.dumps(about)
    digest = _Digest().add(rows).hexdigest(words)
    whole = rows.replace_schema_metadata({_ABOUT: words, _DIGEST: digest})

    def write(hidden: Path) -> None:
        with hidden.open("wb") as file:  # pyarrow opens no path that is not UTF-8
            pq.write_table(whole, file, write_page_checksum=True)

    write_atomically(path, write)


def read_about(path: Path) -> dict[str, Any] | None:
    """Read what is known of a case from its file.

    The rows are read, too: they, and what is known, must be what was written.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict or None
        None if the file is not there or damaged.
    """
    try:
        about = _read_case(path)[1]
        check_schema(_About, about, path)
    except CamSamError:
        return None
    return about


def _read_case(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Read the rows of a case and what is known of it, and check that they were written so."""
    try:
        with path.open("rb") as file:  # pyarrow opens no path that is not UTF-8
            # The sums of its pages hold where the name of the digest is damaged, too.
            table = pq.read_table(file, page_checksum_verification=True)
        metadata = table.schema.metadata or {}
        rows, words = table.replace_schema_metadata(None), metadata.get(_ABOUT, b"{}").decode()
        about = parse_json(words, path)
        # What an earlier version wrote has no digest.
        digest = metadata.get(_DIGEST)
        right = digest is None or digest.decode() == _Digest().add(rows).hexdigest(words)
    except Exception as error:  # damaged bytes make pyarrow raise whatever comes
        raise _damaged(path) from error
    if not right or not isinstance(about, dict):
        raise _damaged(path)
    names = [name for name in COLUMNS if name in rows.column_names]
    wanted = pa.schema([(name, COLUMNS[name]) for name in names])
    try:
        return rows.select(names).cast(wanted).replace_schema_metadata(None), about
    except (ValueError, pa.ArrowException) as error:  # of no study
        raise _damaged(path) from error


def _damaged(path: Path) -> CamSamError:
    return CamSamError(
        f"A file of results is damaged: run the study again, which mends it ({path})."
    )


class _Digest:
    """The SHA-256 of rows by their values, whatever bytes a version of pyarrow makes of them."""

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}

    def add(self, rows: pa.Table) -> _Digest:
        """Add rows below those before."""
        for name in rows.column_names:
            digest = self._columns.setdefault(name, hashlib.sha256())
            column = rows.column(name).combine_chunks()
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                texts = ("\1" if text is None else text for text in column.to_pylist())
                digest.update("".join(f"{text}\0" for text in texts).encode())
            else:
                digest.update(column.to_numpy(zero_copy_only=False).tobytes())
        return self

    def hexdigest(self, about: str = "") -> str:
        """Return it, of these rows and of what is known of them."""
        columns = [[name, digest.hexdigest()] for name, digest in self._columns.items()]
        return hashlib.sha256(json.dumps([about, columns]).encode()).hexdigest()


def check_table(rows: pa.Table, record: Mapping[str, Any], path: Path) -> None:
    """Check that rows of ``results.parquet`` are those that the record of a study is of.

    Parameters
    ----------
    rows : Table
    record : mapping
        The content of ``study.json``. That of an earlier version names no rows.
    path : Path
        Of the rows, for the sentence.

    Raises
    ------
    CamSamError
        If they are others, as the file is damaged.
    """
    known = record.get("rows_sha256")
    if known is not None and _Digest().add(rows).hexdigest() != known:
        raise _damaged(path)


def write_tables(folder: Path, files: Iterable[Path]) -> str:
    """Join the files of cases into ``results.parquet`` and ``results.csv``, a part at a time.

    Parameters
    ----------
    folder : Path
    files : iterable of Path
        Of the cases, in the order of their ids: it is the first of the table's order.

    Returns
    -------
    str
        SHA-256 of the rows, for `check_table`.

    Raises
    ------
    CamSamError
        If the disk is full or the folder cannot be written; the former tables stay then.
    """
    files, digest = list(files), _Digest()

    def write_parquet(path: Path) -> None:
        nonlocal digest
        digest = _Digest()
        with path.open("wb") as file, pq.ParquetWriter(file, pa.schema(COLUMNS)) as writer:
            for part in _parts(files):
                writer.write_table(part, row_group_size=_GROUP_ROWS)
                digest.add(part)

    def write_csv(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(COLUMNS) + "\n")
            for part in _parts(files):
                rows_of = part.to_pandas()
                for name in rows_of.select_dtypes(exclude="number"):
                    texts = {text: cell_text(text) for text in rows_of[name].unique()}
                    rows_of[name] = rows_of[name].map(texts)
                rows_of.to_csv(file, index=False, header=False, lineterminator="\n")

    write_atomically(folder / "results.parquet", write_parquet)
    write_atomically(folder / "results.csv", write_csv)
    return digest.hexdigest()


def read_rows(path: Path) -> pa.Table:
    """Read the rows of one file of results.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Table
        Of pyarrow: the columns that are known, of their types.

    Raises
    ------
    CamSamError
        If it is damaged.
    """
    return _read_case(path)[0]


def _parts(files: Iterable[Path]) -> Iterator[pa.Table]:
    """Read tables of cases, joined up to the rows of a group."""
    waiting: list[pa.Table] = []
    for file in files:
        waiting.append(read_rows(file))
        if sum(one.num_rows for one in waiting) >= _GROUP_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
