"""Use a module without leaving a trace on it, one user at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from torch import nn

from napari_cam_sam.errors import Cancelled

__all__ = ["borrowed", "cancellable", "module_lock"]

_LOCKS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()


def module_lock(module: nn.Module) -> threading.RLock:
    """Return the one lock of a module.

    Hooks belong to the module, not to a thread: two threads that explain one model at the same
    time read each other's activations and get wrong maps without an exception. Whoever runs a
    module takes its lock.

    Parameters
    ----------
    module : nn.Module

    Returns
    -------
    threading.RLock
    """
    with _LOCKS_GUARD:
        return _LOCKS.setdefault(module, threading.RLock())


@contextmanager
def borrowed(module: nn.Module) -> Iterator[nn.Module]:
    """Hold a module's lock with the module frozen and in evaluation mode, then put all back.

    Restored are the training flag of every submodule (a user may have frozen some of them) and
    ``requires_grad`` of every parameter. Frozen parameters keep the graph of a forward pass
    to what follows the target layer, and nothing is ever added to ``param.grad``.

    Parameters
    ----------
    module : nn.Module

    Yields
    ------
    nn.Module
        The module itself.
    """
    with module_lock(module):
        training = [(part, part.training) for part in module.modules()]
        required = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
        try:
            module.eval()
            for parameter, _ in required:
                parameter.requires_grad_(False)
            yield module
        finally:
            for part, flag in training:
                part.training = flag
            for parameter, flag in required:
                parameter.requires_grad_(flag)


@contextmanager
def cancellable(module: nn.Module, cancelled: Callable[[], bool] | None) -> Iterator[None]:
    """Make each pass of a borrowed module raise `Cancelled` once it is wanted no more.

    Methods of hundreds of passes are left in their middle so.

    Parameters
    ----------
    module : nn.Module
    cancelled : callable or None
        Asked before each pass; None for never.

    Yields
    ------
    None
    """

    def ask(*_: object) -> None:
        if cancelled is not None and cancelled():
            raise Cancelled

    handle = module.register_forward_pre_hook(ask)
    try:
        yield
    finally:
        handle.remove()
