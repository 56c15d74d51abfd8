"""Check the docstrings of the public names: ``python tools/docstrings.py``.

Prints every gap and each room's share of complete ones; ends with 1 if there is a gap. Which checks
count stands in pyproject.toml under ``tool.numpydoc_validation``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "napari_cam_sam"


def main() -> None:
    """Print the gaps and the shares."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["numpydoc_validation"]
    checks = set(rules["checks"])
    complete: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for room, name in [*face(), *public()]:
        gaps = gaps_of(name, checks | ({"EX01"} if room == "face" else set()))
        names[room] += 1
        complete[room] += not gaps
        for gap in gaps:
            print(f"{name}: {gap}")
    for room, count in sorted(names.items()):
        print(f"{room:<12} {complete[room]:4} of {count:4}  {complete[room] / count:4.0%}")
    sys.exit(complete != names)


def face() -> list[tuple[str, str]]:
    """Return the names that the package hands on, by where they are."""
    package = importlib.import_module("napari_cam_sam")
    found = [getattr(package, name) for name in package.__all__ if name != "__version__"]
    return [("face", f"{one.__module__}.{one.__qualname__}") for one in found]


def public() -> Iterator[tuple[str, str]]:
    """Yield each room with the functions and classes that its modules list in ``__all__``."""
    for path in sorted(SOURCE.rglob("*.py")):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        module = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        tree = ast.parse(path.read_text())
        defined = {
            node.name: node
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names = ast.literal_eval(node.value)
                yield from ((room, f"{module}.{name}") for name in names if name in defined)


def gaps_of(name: str, checks: set[str]) -> list[str]:
    """Return what is missing in a docstring, a sentence each."""
    found = load(name)
    report = validate(name)
    gaps = {code: text for code, text in report["errors"] if code in checks}
    if is_dataclass(found) or not callable_itself(found):
        # Fields are described as attributes, and a protocol or an exception has no parameters.
        for code in ("PR01", "PR02", "PR03"):
            gaps.pop(code, None)
        described = {part.strip() for one in get_doc_object(found)["Attributes"]
                     for part in one.name.split(",")}  # fmt: skip
        missing = [one for one in getattr(found, "__dataclass_fields__", {})
                   if one not in described and not one.startswith("_")]  # fmt: skip
        if missing:
            gaps["PR01"] = f"Fields {missing} are not described"
    return [f"{code} {text}" for code, text in gaps.items()]


def load(name: str) -> Any:
    """Import what a dotted name means."""
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def callable_itself(found: Any) -> bool:
    """Tell whether parameters of its own are to be described: of functions and plain classes."""
    if not inspect.isclass(found):
        return True
    if getattr(found, "_is_protocol", False):  # typing gives it an __init__ that refuses
        return False
    return "__init__" in vars(found) and not issubclass(found, BaseException)


if __name__ == "__main__":
    main()
