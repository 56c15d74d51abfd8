"""The settings of a search for all masks, which begin as they suit the segmenter."""

from __future__ import annotations

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.plugin.qt.parameter_form import ParameterForm
from napari_cam_sam.sam.everything.parameters import AutomaticParameters, recommended_parameters

__all__ = ["SearchForm"]


class SearchForm(ParameterForm):
    """A form of the parameters of a search.

    Parameters
    ----------
    segmenter : str
        Name of the one that is chosen.
    """

    def __init__(self, segmenter: str) -> None:
        super().__init__(AutomaticParameters)
        self._recommended = recommended_parameters(segmenter)
        self.set_value(self._recommended)

    def recommend(self, segmenter: str) -> None:
        """Show what suits another segmenter, unless the user has changed something."""
        before, self._recommended = self._recommended, recommended_parameters(segmenter)
        try:
            untouched = self.value() == before
        except CamSamError:
            return
        if untouched:
            self.set_value(self._recommended)
