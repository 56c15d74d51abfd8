"""Class activation maps become prompts for Segment Anything, with scores, slice by slice.

The names in ``__init__.pyi`` are loaded on first use: importing the package imports neither torch
nor napari.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
