"""The settings of a search for all masks, which begin as they suit the segmenter."""

from __future__ import annotations

from dataclasses import replace

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
        # Its default is no number of two places: shown here, it would be another.
        self.hide_fields(("crop_overlap",))
        self.set_value(self._recommended)

    def parameters(self) -> AutomaticParameters:
        """Return the parameters that are shown.

        Raises
        ------
        CamSamError
            For a value out of its range.
        """
        return replace(self.value(), crop_overlap=self._recommended.crop_overlap)

    def recommend(self, segmenter: str) -> None:
        """Show what suits another segmenter, unless the user has changed something."""
        before, self._recommended = self._recommended, recommended_parameters(segmenter)
        try:
            untouched = self.parameters() == before
        except CamSamError:
            return
        if untouched:
            self.set_value(self._recommended)
