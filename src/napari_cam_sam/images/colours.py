"""How colour becomes gray."""

from __future__ import annotations

__all__ = ["LUMA"]

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, the weights of Pillow's and scikit-image's conversions to gray."""
