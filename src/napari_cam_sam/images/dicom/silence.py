"""pydicom and highdicom kept from telling what stands in a header."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["quiet"]

_QUIET = ContextVar("_QUIET", default=False)


class _Quiet(logging.Filter):
    """Drops what is logged while a file is read or written, in this thread alone."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _QUIET.get()


_FILTER = _Quiet()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back warnings, and what pydicom logs: both quote names and dates.

    Yields
    ------
    None
    """
    logging.getLogger("pydicom").addFilter(_FILTER)  # once, however often it is asked
    token = _QUIET.set(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _QUIET.reset(token)
