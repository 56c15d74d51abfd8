"""Words looked for in every byte that a program left, also inside of what is packed."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from PIL import Image as Pillow

_CHARSETS = ("utf-8", "latin-1", "iso8859-2", "cp437", "utf-16-le", "utf-16-be", "utf-32-le")
_EMBEDDED = re.compile(rb"base64,([A-Za-z0-9+/=\s]{40,})")
_PNG = b"\x89PNG\r\n\x1a\n"


def spellings(word: str) -> set[bytes]:
    """Return the bytes that a word may be written as, in small letters."""
    forms = {unicodedata.normalize(form, word) for form in ("NFC", "NFD")}
    forms |= {quote(one) for one in forms}
    forms |= {json.dumps(one)[1:-1] for one in forms}
    forms |= {one.encode("unicode_escape").decode() for one in forms}
    forms |= {html.escape(one) for one in forms}
    forms |= {one.encode("ascii", "xmlcharrefreplace").decode() for one in forms}
    # As names of files and of layers are made of what may stand in none.
    forms |= {re.sub(r"[^\w.+-]+", "_", one) for one in forms}
    found = set()
    for one in forms:
        for charset in _CHARSETS:
            found.add(one.lower().encode(charset, "replace"))
            found.add(one.encode(charset, "replace").lower())
    return found


def leaks(outputs: Iterable[tuple[str, bytes]], words: Iterable[str]) -> list[str]:
    """Return which output holds which word."""
    sought = {word: spellings(word) for word in words}
    found = set()
    for where, content in outputs:
        for inner, part in unpacked(where, content):
            small = part.lower()
            for word, forms in sought.items():
                if any(form in small for form in forms):
                    found.add(f"{inner}: {word}")
    return sorted(found)


def files_under(folder: Path) -> list[tuple[str, bytes]]:
    """Return names and contents of all files in a folder, and the names as a content, too."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found.append((f"name {name}", name.encode("utf-8", "surrogateescape")))
        if path.is_file():
            found.append((name, path.read_bytes()))
    return found


def unpacked(where: str, content: bytes, depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield a content, and what is packed in it."""
    yield where, content
    assert depth < 6
    for name, part in _inside(content):
        yield from unpacked(f"{where} / {name}", part, depth + 1)


def _inside(content: bytes) -> Iterator[tuple[str, bytes]]:
    if content[:2] == b"\x1f\x8b":
        yield "gzip", gzip.decompress(content)
    if content[:4] == b"PK\x03\x04":  # also of npz, and of what torch saves
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                yield member.filename, archive.read(member)
    if content[:4] == b"PAR1":
        yield "columns", _parquet(content)
    if content[:8] == _PNG:
        with Pillow.open(io.BytesIO(content)) as picture:
            picture.load()
            yield "texts", repr(picture.info).encode() + repr(picture.info).encode("utf-16-le")
        yield "chunks", b"".join(_chunks(content))
    if content[:4] in (b"II*\0", b"MM\0*"):
        with Pillow.open(io.BytesIO(content)) as picture:
            yield "tags", repr(dict(picture.tag_v2)).encode()
    if content[:4] == b"NRRD" and b"encoding: gzip" in content:
        yield "values", zlib.decompress(content.partition(b"\n\n")[2], 31)
    for number, match in enumerate(_EMBEDDED.finditer(content)):
        yield f"embedded {number}", base64.b64decode(match[1])


def _parquet(content: bytes) -> bytes:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    return (
        json.dumps(table.to_pylist(), ensure_ascii=False, default=str).encode()
        + repr(table.schema.metadata).encode()
    )


def _chunks(content: bytes) -> Iterator[bytes]:
    """Yield the data of a PNG's chunks of text, inflated where they are packed."""
    at = len(_PNG)
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += length + 12
        if kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf"):
            yield data
            for start in [m.start() for m in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", data)]:
                try:
                    yield zlib.decompress(data[start:])
                except zlib.error:
                    continue
