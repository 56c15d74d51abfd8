"""Modules that come from a user's own code: ``package.module:function``."""

from __future__ import annotations

import importlib
import os
import re
import sys

from torch import nn

from napari_cam_sam.errors import CamSamError

__all__ = ["call_factory", "is_factory"]

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_factory(name: str) -> bool:
    """Tell whether a name is written as ``package.module:function``."""
    return _FACTORY.fullmatch(name) is not None


def call_factory(name: str) -> nn.Module:
    """Import a function by name, also from the working folder, and call it without arguments.

    Raises
    ------
    CamSamError
        If the import or the call fails, or what it returns is no ``nn.Module``.
    """
    module_name, _, function_name = name.partition(":")
    here = os.getcwd()
    sys.path.append(here)  # as `python -m` finds modules
    try:
        module = getattr(importlib.import_module(module_name), function_name)()
    except Exception as error:  # a factory is foreign code and may raise anything
        raise CamSamError(
            f"The factory {name} failed with {type(error).__name__}: {error}."
        ) from error
    finally:
        sys.path.remove(here)
    if not isinstance(module, nn.Module):
        raise CamSamError(
            f"The factory {name} returned {type(module).__name__}; expected a torch nn.Module."
        )
    return module
