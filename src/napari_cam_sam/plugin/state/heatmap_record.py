"""What is known of a plane's heatmap beside its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["PREDICTED", "HeatmapRecord"]

PREDICTED = ""
"""Stands for the predicted class, among names of classes."""


@dataclass(frozen=True)
class HeatmapRecord:
    """What is known of a computed heatmap beside its values.

    Attributes
    ----------
    target : str
        The class that it explains.
    probabilities : dict of str to float
        Of every class.
    reason : str or None
        Why there is no evidence, where there is none.
    made_by : dict of str
        Classifier, its hash, method, layers and window, as plain data.
    """

    target: str
    probabilities: dict[str, float]
    reason: str | None
    made_by: dict[str, Any]

    def other_words(self, chosen: dict[str, Any]) -> str:
        """Return what of it is another than what is chosen now; nothing where all is the same.

        Parameters
        ----------
        chosen : dict of str
            What the heatmap dock gives for the session; empty where there is none.
        """
        target = chosen.get("target")
        if target == PREDICTED:
            target = "the predicted class" if self.made_by.get("target") else self.target
        for kind, had, now in (
            ("classifier", self.made_by.get("classifier"), chosen.get("classifier")),
            ("class", self.target, target),
            ("method", self.made_by.get("method"), chosen.get("method")),
        ):
            if None not in (had, now) and had != now:
                return (
                    f"The heatmap is of the {kind} {had}, but {now} is chosen in step 1: "
                    "compute it again first."
                )
        return ""
