"""Ways to damage a file: in its bytes, in the fields of its header, or in what its text says.

Used by ``mutate_inputs.py``. Everything is drawn from a generator that is given, so that a number
names one damaged file for ever.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import yaml

Random = np.random.Generator
Mutation = Callable[[Random, bytes], bytes]

_WHOLE = (0, 1, 2, 3, 7, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)
_REAL = (0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, 1e-7, 3.5, float("nan"), float("inf"), float("-inf"))
_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 255, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e308,
    1e-320, "", "0", "1", "nan", "a" * 300, "a" * 70_000, "\x00", "\ud800", "../../etc/passwd",
    "/dev/zero", "a/b", "=1+1", "<img src=x>", "é" * 50, [], {}, [[]], [0] * 1000, {"": None},
    [1, 2], [-1, 5], ["a", "b"],
)  # fmt: skip


def damage_bytes(rng: Random, data: bytes, other: bytes = b"") -> bytes:
    """Damage bytes wherever they are, more often near the beginning."""
    found = bytearray(data)
    for _ in range(1 + int(rng.integers(3)) * int(rng.integers(2))):
        n = len(found)
        if not n:
            return bytes(rng.integers(0, 256, 8, dtype=np.uint8))
        near = min(n, 512) if rng.random() < 0.5 else n
        at = int(rng.integers(near))
        kind = int(rng.integers(9))
        if kind <= 2:
            found[at] ^= 1 << int(rng.integers(8))
        elif kind == 3:
            found[at] = int(rng.choice([0, 1, 127, 128, 255]))
        elif kind == 4:
            width = int(rng.choice([2, 4, 8]))
            value = int(rng.choice(_WHOLE)) & ((1 << 8 * width) - 1)
            order = "little" if rng.random() < 0.5 else "big"
            found[at : at + width] = value.to_bytes(width, order)  # type: ignore[arg-type]
        elif kind == 5:
            del found[at:]
        elif kind == 6:
            found[at:at] = rng.integers(0, 256, 1 + int(rng.integers(16)), np.uint8).tobytes()
        elif kind == 7:
            del found[at : at + 1 + int(rng.integers(64))]
        else:
            piece = (other or data)[int(rng.integers(len(other or data))) :][:64]
            found[at : at + len(piece)] = piece
    return bytes(found)


_NIFTI1 = {  # name: (offset, kind, count)
    "sizeof_hdr": (0, "i", 1), "dim": (40, "h", 8), "intent_code": (68, "h", 1),
    "datatype": (70, "h", 1), "bitpix": (72, "h", 1), "pixdim": (76, "f", 8),
    "vox_offset": (108, "f", 1), "scl_slope": (112, "f", 1), "scl_inter": (116, "f", 1),
    "xyzt_units": (123, "B", 1), "qform_code": (252, "h", 1), "sform_code": (254, "h", 1),
    "quatern": (256, "f", 6), "srow": (280, "f", 12), "magic": (344, "B", 4),
    "extension": (348, "B", 4),
}  # fmt: skip
_NIFTI2 = {
    "sizeof_hdr": (0, "i", 1), "magic": (4, "B", 8), "datatype": (12, "h", 1),
    "bitpix": (14, "h", 1), "dim": (16, "q", 8), "pixdim": (104, "d", 8),
    "vox_offset": (168, "q", 1), "scl_slope": (176, "d", 1), "scl_inter": (184, "d", 1),
    "qform_code": (344, "i", 1), "sform_code": (348, "i", 1), "quatern": (352, "d", 6),
    "srow": (400, "d", 12), "xyzt_units": (500, "i", 1),
}  # fmt: skip


def damage_nifti(rng: Random, data: bytes) -> bytes:
    """Write odd values into fields of a NIfTI header."""
    if len(data) < 352:
        return damage_bytes(rng, data)
    order = "<" if int.from_bytes(data[:4], "little") in (348, 540) else ">"
    second = int.from_bytes(data[:4], "little" if order == "<" else "big") == 540
    fields = _NIFTI2 if second else _NIFTI1
    found = bytearray(data)
    for _ in range(1 + int(rng.random() < 0.25)):
        offset, kind, count = fields[str(rng.choice(list(fields)))]
        size = struct.calcsize(kind)
        at = offset + size * int(rng.integers(count))
        struct.pack_into(order + kind, found, at, _odd_number(rng, kind))
    return bytes(found)


def _odd_number(rng: Random, kind: str) -> int | float:
    if kind in "fd":
        return float(rng.choice(_REAL)) if rng.random() < 0.7 else float(rng.normal() * 100)
    bits = 8 * struct.calcsize(kind)
    value = int(rng.choice(_WHOLE)) if rng.random() < 0.7 else int(rng.integers(-5, 2000))
    value &= (1 << bits) - 1
    signed = kind.islower()
    return value - (1 << bits) if signed and value >= 1 << (bits - 1) else value


def inside_gzip(mutation: Mutation) -> Mutation:
    """Damage what a gzip file holds, and pack it again; now and then the packed bytes."""

    def damage(rng: Random, data: bytes) -> bytes:
        if rng.random() < 0.4:
            return damage_bytes(rng, data)
        packed = gzip.compress(mutation(rng, gzip.decompress(data)), 1, mtime=0)
        return packed + (packed if rng.random() < 0.03 else b"")

    return damage


def inside_zip(mutation: Mutation) -> Mutation:
    """Damage one or two of the files in a zip, or the zip itself."""

    def damage(rng: Random, data: bytes) -> bytes:
        if rng.random() < 0.15:
            return damage_bytes(rng, data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = [archive.read(name) for name in archive.namelist()]
        for _ in range(1 + int(rng.integers(2))):
            i = int(rng.integers(len(files)))
            files[i] = mutation(rng, files[i])
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for i, content in enumerate(files):
                archive.writestr(zipfile.ZipInfo(f"{i}.dcm"), content)
        return out.getvalue()

    return damage


def damage_png(rng: Random, data: bytes) -> bytes:
    """Damage chunks of a PNG and make their check sums right again."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        n = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + n]))
        at += 12 + n
    if not chunks:
        return damage_bytes(rng, data)
    i = 0 if rng.random() < 0.4 else int(rng.integers(len(chunks)))
    kind, body = chunks[i]
    choice = int(rng.integers(6))
    if choice == 0:
        del chunks[i]
    elif choice == 1:
        chunks.insert(int(rng.integers(len(chunks) + 1)), chunks[i])
    elif choice == 2 and kind == b"IDAT":
        try:
            body = zlib.compress(damage_bytes(rng, zlib.decompress(body)), 1)
        except zlib.error:
            body = damage_bytes(rng, body)
        chunks[i] = kind, body
    elif choice == 3:
        new = [b"PLTE", b"tRNS", b"gAMA", b"sBIT", b"pHYs", b"iCCP", b"zTXt", b"eXIf", b"acTL"]
        size = int(rng.integers(0, 40))
        extra = rng.integers(0, 256, size, np.uint8).tobytes()
        chunks.insert(int(rng.integers(1, len(chunks) + 1)), (new[int(rng.integers(9))], extra))
    else:
        chunks[i] = kind, damage_bytes(rng, body)
    out = bytearray(data[:8])
    for kind, body in chunks:
        out += len(body).to_bytes(4, "big") + kind + body
        out += zlib.crc32(kind + body).to_bytes(4, "big")
    return bytes(out)


def damage_tiff(rng: Random, data: bytes) -> bytes:
    """Write odd values into the entries of a TIFF's directories."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        entries, at = [], struct.unpack_from(order + "I", data, 4)[0]
        while at and len(entries) < 500:
            (n,) = struct.unpack_from(order + "H", data, at)
            entries += [at + 2 + 12 * k for k in range(n)]
            (at,) = struct.unpack_from(order + "I", data, at + 2 + 12 * n)
    except struct.error:
        return damage_bytes(rng, data)
    found = bytearray(data)
    for _ in range(1 + int(rng.random() < 0.25)):
        entry = entries[int(rng.integers(len(entries)))]
        part = int(rng.integers(8))
        if part == 0:
            tags = (254, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 282, 284, 317,
                    320, 322, 323, 324, 325, 338, 339, 347)  # fmt: skip
            struct.pack_into(order + "H", found, entry, int(rng.choice(tags)))
        elif part == 1:
            struct.pack_into(order + "H", found, entry + 2, int(rng.integers(0, 20)))
        elif part == 2:
            struct.pack_into(order + "I", found, entry + 4, int(_odd_number(rng, "I")))
        elif part == 3:
            # What an entry points to, such as a description or the offsets of strips.
            (offset,) = struct.unpack_from(order + "I", found, entry + 8)
            if offset < len(found):
                found[offset : offset + 8] = damage_bytes(rng, bytes(found[offset : offset + 8]))
        elif part == 4:
            struct.pack_into(order + "I", found, entry + 8, int(rng.integers(0, len(found) + 9)))
        else:
            struct.pack_into(order + "I", found, entry + 8, int(_odd_number(rng, "I")))
    return bytes(found)


_DICOM = {  # tags of pixels, places and scaling: the type, and odd values
    (0x0028, 0x0010): "US", (0x0028, 0x0011): "US", (0x0028, 0x0002): "US", (0x0028, 0x0100): "US",
    (0x0028, 0x0101): "US", (0x0028, 0x0103): "US", (0x0028, 0x0006): "US", (0x0028, 0x0008): "IS",
    (0x0028, 0x0004): "CS", (0x0028, 0x0030): "DS", (0x0028, 0x1052): "DS", (0x0028, 0x1053): "DS",
    (0x0020, 0x0032): "DS", (0x0020, 0x0037): "DS", (0x0018, 0x0050): "DS", (0x0018, 0x0088): "DS",
    (0x0008, 0x0060): "CS", (0x0002, 0x0010): "UI", (0x0020, 0x000E): "UI", (0x0008, 0x0018): "UI",
    (0x3004, 0x000C): "DS", (0x0020, 0x0013): "IS", (0x0028, 0x1050): "DS", (0x0008, 0x0008): "CS",
}  # fmt: skip
_DICOM_TEXTS = (
    b"", b"0", b"-1", b"1", b"2", b"1e308", b"nan", b"inf", b"65000", b"2147483648", b"1.5",
    b"0\\0", b"-1\\1", b"1\\0\\0\\0\\1\\0", b"0\\0\\0\\0\\0\\0", b"1\\2\\3", b"x", b"\\",
    b"RGB", b"MONOCHROME1", b"YBR_FULL_422", b"PALETTE COLOR", b"PT", b"RTDOSE", b"1" * 64,
    b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2",
    b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.4.201",
    b"1.2.840.10008.1.2.5", b"1.2.840.10008.1.2.4.100", b"9" * 400,
)  # fmt: skip


def damage_dicom(rng: Random, data: bytes) -> bytes:
    """Write odd values into elements of a DICOM file, take some away, or nest sequences."""
    tags = list(_DICOM)
    found = data
    for _ in range(1 + int(rng.integers(3))):
        tag = tags[int(rng.integers(len(tags)))]
        at = found.find(struct.pack("<HH", *tag), 132)
        big = at < 0
        if big:
            at = found.find(struct.pack(">HH", *tag), 132)
        if at < 0 or at + 8 > len(found):
            continue
        order = ">" if big else "<"
        kind = _DICOM[tag]
        explicit = found[at + 4 : at + 6] == kind.encode()
        size = found[at + 6 : at + 8] if explicit else found[at + 4 : at + 8]
        length = int.from_bytes(size, "big" if big else "little")
        end = min(at + 8 + length, len(found))
        choice = int(rng.integers(8))
        if choice == 0:
            found = found[:at] + found[end:]
            continue
        if choice == 1:
            depth = int(rng.choice([3, 40, 1000, 3000]))
            begin = struct.pack(order + "HH", 0x0040, 0x0275)
            begin += b"SQ\0\0" if explicit else b""
            begin += b"\xff" * 4 + struct.pack(order + "HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
            stop = struct.pack(order + "HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
            found = found[:at] + begin * depth + stop * depth + found[at:]
            continue
        if choice == 2:
            wrong = struct.pack(order + ("H" if explicit else "I"), int(_odd_number(rng, "H")))
            found = found[: at + 8 - len(wrong)] + wrong + found[at + 8 :]
            continue
        if kind == "US":
            value = struct.pack(order + "H", int(_odd_number(rng, "H")))
        else:
            value = _DICOM_TEXTS[int(rng.integers(len(_DICOM_TEXTS)))]
            value += b" " * (len(value) % 2)
        new = struct.pack(order + ("H" if explicit else "I"), len(value))
        found = found[: at + 8 - len(new)] + new + value + found[end:]
    return damage_bytes(rng, found) if rng.random() < 0.1 else found


def damage_tree(rng: Random, tree: Any) -> Any:
    """Change some of the values, keys and lists of parsed text."""
    tree = json.loads(json.dumps(tree))
    for _ in range(1 + int(rng.integers(3)) * int(rng.integers(2))):
        places = list(_places(tree))
        if not places:
            return _odd(rng)
        where, key = places[int(rng.integers(len(places)))]
        kind = int(rng.integers(8))
        if kind <= 2:
            where[key] = _odd(rng)
        elif kind == 3:
            del where[key]
        elif kind == 4:
            other, there = places[int(rng.integers(len(places)))]
            if there in other if isinstance(other, dict) else there < len(other):
                where[key] = json.loads(json.dumps(other[there]))
        elif kind == 5:
            if isinstance(where, dict):
                new = str(rng.choice(["x", "", "format", "version", "path", str(key) + "_"]))
                where[new] = where.pop(key)
            else:
                where.insert(key, json.loads(json.dumps(where[key])))
        elif kind == 6:
            value = where[key]
            for _ in range(int(rng.choice([1, 3, 70, 300]))):
                value = [value] if rng.random() < 0.5 else {"a": value}
            where[key] = value
        else:
            where[key] = _near(rng, where[key])
    return tree


def _odd(rng: Random) -> Any:
    """Draw an odd value, and a new one each time: the tree that it comes into is changed again."""
    return copy.deepcopy(_ODD[int(rng.integers(len(_ODD)))])


def _near(rng: Random, value: Any) -> Any:
    """Give a value of the same type, or of one that is easily taken for it."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        choices = (value + 1, -value, value * 1000, float, str(value), lambda n: n / 2)
        chosen = choices[int(rng.integers(len(choices)))]
        if not callable(chosen):
            return chosen
        try:
            return chosen(value)
        except OverflowError:  # a whole number beyond every float
            return float("inf")
    if isinstance(value, str):
        choices = (
            value[:-1],
            value + "x",
            value.upper(),
            [value],
            value * 40,
            value.encode(errors="replace").hex(),
        )
        return choices[int(rng.integers(len(choices)))]
    if isinstance(value, list):
        return value[::-1] if rng.random() < 0.5 else dict(enumerate(map(str, value)))
    return list(value) if isinstance(value, dict) else 0


def _places(tree: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        keys = (
            list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        )
        for key in keys:
            found.append((one, key))
            waiting.append(one[key])
    return found


def damage_json(rng: Random, data: bytes) -> bytes:
    """Damage JSON: what it says, or its bytes."""
    if rng.random() < 0.3:
        return damage_bytes(rng, data)
    tree = damage_tree(rng, json.loads(data))
    text = json.dumps(tree, indent=1 if rng.random() < 0.5 else None)
    return _damage_text(rng, text, '"', "[", "{", "NaN", "Infinity", "9" * 5000, "\\ud800")


def damage_yaml(rng: Random, data: bytes) -> bytes:
    """Damage YAML: what it says, its bytes, or by tags, anchors and aliases."""
    if rng.random() < 0.3:
        return damage_bytes(rng, data)
    if rng.random() < 0.4:
        pieces = ("&a ", "*a", "&a [*a, *a]", "!!int ", "!!python/name:os.system ", "!x ", "<<: ",
                  "? ", "- ", "|", ">", "%YAML 1.1\n", "---\n", "...", "[" * 300, "1:1:1:1", "0x_",
                  "2024-02-31", ".inf", ".nan", "~", "'", "\t", "9" * 5000)  # fmt: skip
        return _damage_text(rng, data.decode(), *pieces, always=True)
    tree = damage_tree(rng, yaml.safe_load(data))
    style = bool(rng.random() < 0.3)
    try:
        return _dumped(tree, style)
    except RecursionError:  # nested too deep for PyYAML to write
        return damage_bytes(rng, data)


def _dumped(tree: Any, style: bool) -> bytes:
    return yaml.safe_dump(tree, default_flow_style=style, sort_keys=False).encode(errors="replace")


def damage_lines(rng: Random, data: bytes) -> bytes:
    """Damage a table: its bytes, its lines, or what stands between separators."""
    if rng.random() < 0.4:
        return damage_bytes(rng, data)
    pieces = (",", ";", '"', "\n", "=1+1", "a" * 200_000, "inf", "nan", "1e999", "-1",
              "9" * 5000, "[[a]]\n", "a.b.c = 1\n", "[" * 300, "2024-02-31")  # fmt: skip
    return _damage_text(rng, data.decode(), *pieces, always=True)


def damage_header(rng: Random, data: bytes) -> bytes:
    """Damage the lines of text in front of the values of NRRD and MetaImage: words, whole lines."""
    if rng.random() < 0.3:
        return damage_bytes(rng, data)
    end = max(data.find(b"\n\n"), data.find(b"LOCAL"), 1)
    lines = data[:end].decode("latin-1").split("\n")
    for _ in range(1 + int(rng.integers(2))):
        at, kind = int(rng.integers(len(lines))), int(rng.integers(8))
        if kind == 0 and len(lines) > 1:
            del lines[at]
        elif kind == 1:
            lines.insert(int(rng.integers(len(lines))), lines[at])
        elif kind == 2:
            lines[at] = lines[at][: int(rng.integers(len(lines[at]) + 1))]
        else:
            words = re.split(r"([\s,()]+)", lines[at])
            words[int(rng.integers(len(words)))] = str(
                _ODD_WORDS[int(rng.integers(len(_ODD_WORDS)))]
            )
            lines[at] = "".join(words)
    return "\n".join(lines).encode("utf-8", "replace") + data[end:]


_ODD_WORDS = (
    "", "0", "-1", "1", "3", "7", "1e9", "1e999", "nan", "inf", "none", "x", "9" * 400, "(", ")",
    "4294967296", "99999999999999999999", "2147483647", "0.0", "-0.5", "True", "gzip", "bzip2",
    "raw", "big", "LIST", "LOCAL", "/dev/zero", "/etc/passwd", "../a", ".", "%d", "MET_DOUBLE",
    "double", "uchar", "list", "vector", "RGB-color", "time", "left", "\u00e9", '"', "a:b", "=",
)  # fmt: skip


def _damage_text(rng: Random, text: str, *pieces: str, always: bool = False) -> bytes:
    if always or rng.random() < 0.15:
        for _ in range(1 + int(rng.random() < 0.25)):
            at = int(rng.integers(len(text) + 1))
            gone = int(rng.choice([0, 0, 1, 4]))
            text = text[:at] + str(pieces[int(rng.integers(len(pieces)))]) + text[at + gone :]
    if rng.random() < 0.05:
        text = "\ufeff" + text
    return text.encode("utf-8", "surrogatepass")


def one_of(*mutations: Mutation) -> Mutation:
    """Draw one of several mutations for each file."""

    def damage(rng: Random, data: bytes) -> bytes:
        return mutations[int(rng.integers(len(mutations)))](rng, data)

    return damage


def splicing(seeds: Sequence[bytes]) -> Mutation:
    """Damage bytes with pieces of the other files."""

    def damage(rng: Random, data: bytes) -> bytes:
        return damage_bytes(rng, data, seeds[int(rng.integers(len(seeds)))])

    return damage
