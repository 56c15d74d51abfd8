"""What the user set in napari's Preferences for this plugin."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from napari_cam_sam.sam.cache.embeddings import CacheParameters
from napari_cam_sam.sam.cache.store import embedding_folder

__all__ = ["Preferences", "preferences"]


@dataclass(frozen=True)
class Preferences:
    """The settings of the plugin's page; ``napari.yaml`` declares the same.

    Attributes
    ----------
    device : str
        Where models run: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    classifier : str
        Name or path of the classifier that is chosen at first; empty for none.
    segmenter : str
        The same of the segmenter; empty for the best one installed.
    memory_mb : int
        How much memory embeddings may take.
    disk_mb : int
        How much of the disk they may take, in ``embeddings`` in the cache folder; 0 for none.
    cache_folder : str
        Where checkpoints and embeddings are kept; empty for the usual place.
    autosave : bool
        Whether work is saved by itself.
    autosave_seconds : float
        How long after a change.
    """

    device: str = "auto"
    classifier: str = ""
    segmenter: str = ""
    memory_mb: int = CacheParameters.memory_mb
    disk_mb: int = CacheParameters.disk_mb
    cache_folder: str = ""
    autosave: bool = True
    autosave_seconds: float = 5.0

    def cache(self) -> CacheParameters:
        """Return where embeddings are kept, and how many."""
        folder = embedding_folder(self.cache_folder or None)
        return CacheParameters(str(folder), self.disk_mb, self.memory_mb)


def preferences() -> Preferences:
    """Read the preferences.

    Returns
    -------
    Preferences
        The defaults where napari is too old to hold any.
    """
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # before 0.9
        return Preferences()
    try:
        settings: Any = get_plugin_settings("napari-cam-sam").general
    except (KeyError, AttributeError):  # the manifest that napari read is another
        return Preferences()
    found = {one.name: getattr(settings, one.name, None) for one in fields(Preferences)}
    return Preferences(**{name: value for name, value in found.items() if value is not None})
