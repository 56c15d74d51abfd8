"""Phantoms with truth and the small trained models that ship inside the package."""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped_models"]


def shipped_models() -> dict[str, Path]:
    """Return the model files inside the package, by name.

    Returns
    -------
    dict of str to Path
        E.g. ``{"compact-sam": …/demo/weights/compact-sam.safetensors}``.
    """
    folder = Path(__file__).parent / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
