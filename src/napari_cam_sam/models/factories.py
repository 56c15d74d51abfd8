"""Modules that come from a user's own code: ``package.module:function``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import nn

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.names import is_factory

__all__ = ["call_factory", "is_factory", "refused_factory"]


def refused_factory(name: str, allowed: Collection[str] | None, source: str) -> CamSamError | None:
    """Build the error for a factory that a file names and that nobody allowed.

    A factory is code that would be imported and run. Only who sits at the computer may ask for
    that: on the command line, in Python, or by a click.

    Parameters
    ----------
    name : str
        Of a model; what is no factory is never refused.
    allowed : collection of str or None
        Factories that the user named himself; None where no file is involved, and all are.
    source : str
        What names it, e.g. ``"the study"``.

    Returns
    -------
    CamSamError or None
        None where it may be called.
    """
    if allowed is None or not is_factory(name) or name in allowed:
        return None
    return CamSamError(
        f"The factory {name} is code, which {source} names and which is not run by itself: if you "
        f"know what it does, allow it by --allow-factory {name}."
    )


def call_factory(name: str, *, working_folder: bool = True) -> nn.Module:
    """Import a function by name and call it without arguments.

    Parameters
    ----------
    name : str
        ``package.module:function``.
    working_folder : bool
        Whether it may lie in the working folder: for what the user named himself. What a file
        names may be the file's neighbour.

    Returns
    -------
    nn.Module

    Raises
    ------
    CamSamError
        If the import or the call fails, or what it returns is no ``nn.Module``.
    """
    module_name, _, function_name = name.partition(":")
    with _path(working_folder):
        try:
            module = getattr(importlib.import_module(module_name), function_name)()
        except Exception as error:  # a factory is foreign code and may raise anything
            words = f"The factory {name} failed with {type(error).__name__}: {error}."
            if isinstance(error, ModuleNotFoundError) and not working_folder:
                words += (
                    " Of a factory that a file names, the working folder is not searched: install "
                    "the package, or name its folder in PYTHONPATH."
                )
            raise CamSamError(words) from error
    if not isinstance(module, nn.Module):
        raise CamSamError(
            f"The factory {name} returned {type(module).__name__}; expected a torch nn.Module."
        )
    return module


@contextmanager
def _path(working_folder: bool) -> Iterator[None]:
    """Search the working folder last, as ``python -m`` finds modules, or not at all."""
    here = os.getcwd()
    if working_folder:
        sys.path.append(here)
        try:
            yield
        finally:  # not as it was: what the factory's module added, it may need when it runs
            sys.path.remove(here)
        return
    # "" stands for the working folder in an interactive Python.
    kept = list(sys.path)
    sys.path[:] = [entry for entry in kept if entry]
    try:
        yield
    finally:
        sys.path[:] = kept
