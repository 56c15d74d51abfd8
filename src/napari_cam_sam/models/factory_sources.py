"""The source of a factory, found and hashed without running any of it."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions, version
from modulefinder import ModuleFinder
from pathlib import Path

__all__ = ["factory_sources"]


def factory_sources(name: str) -> dict[str, str]:
    """Hash the module of a factory, and what it imports of the folder that it lies in.

    Parameters
    ----------
    name : str
        ``package.module:function``.

    Returns
    -------
    dict of str to str
        SHA-256 by file, relative to that folder; of an installed package the version by its
        name beside the module itself. Empty where there is no such module.
    """
    module = name.partition(":")[0]
    top = module.partition(".")[0]
    spec = _find(top)
    if spec is None or spec.origin is None:
        return {}
    root = Path(spec.origin).resolve().parent
    if spec.submodule_search_locations is not None:
        root = root.parent
    found = _hashes(root, [_file_of(root, module)])
    if _is_installed(root):
        distributions = packages_distributions().get(top, ())
        return {**found, **{one: version(one) for one in distributions}}
    return {**found, **_hashes(root, _imported(root, module))}


def _find(top: str) -> ModuleSpec | None:
    """Find a top-level module as an import would, the working folder last."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(top, None)
        except (ImportError, AttributeError, ValueError):
            continue
        if spec is not None:
            return spec
    return PathFinder.find_spec(top, [os.getcwd()])


def _file_of(root: Path, module: str) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_name(path.name + ".py")


def _is_installed(root: Path) -> bool:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return str(root) in {str(Path(sysconfig.get_path(name)).resolve()) for name in names}


def _imported(root: Path, module: str) -> list[Path]:
    """Follow the imports of a module inside a folder, by reading it."""
    finder = ModuleFinder([str(root)])
    try:
        finder.import_hook(module)
    except (ImportError, SyntaxError, ValueError, OSError):
        return sorted(root.glob("*.py"))
    names = (getattr(one, "__file__", None) for one in finder.modules.values())
    files = [Path(name) for name in names if name]
    return sorted(files)


def _hashes(root: Path, files: list[Path]) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file() and path.is_relative_to(root)
    }
