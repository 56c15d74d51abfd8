"""How the dock lists the strategies, and the units of their thresholds."""

from __future__ import annotations

__all__ = ["STRATEGIES", "UNITS"]

STRATEGIES = {
    "ours": (
        "Strongest region: box, point",
        "The region around the heatmap's maximum, above 30 % of it.",
    ),
    "s1": ("Largest region: box, point", "The largest region above 0.8 (Dhamale and Pawar)."),
    "s2-fg": ("Centre: 9 points", "At the centre of mass (Paradowski)."),
    "s2-fg-bg": ("Centre: 9 points, 4 outside", "As s2-fg (Paradowski)."),
    "s2-adaptive": (
        "Centre: 9 points, adaptive",
        "As s2-fg; background points are added where the first mask leaks, but only on the "
        "command line and in the comparison of step 4 (Paradowski).",
    ),
    "s4-mode1": ("Largest region: a point", "Mazurowski et al., mode 1."),
    "s4-mode2": ("Three regions: a point each", "At most three; Mazurowski et al., mode 2."),
    "s4-mode3": ("Largest region: a box", "Mazurowski et al., mode 3."),
    "s4-mode4": ("Three regions: a box each", "At most three; Mazurowski et al., mode 4."),
    "s4-mode5": ("All regions: one box", "Mazurowski et al., mode 5."),
}
"""Name of a strategy to how it is listed, and where it is from."""

UNITS = {"fraction-of-max": "of max", "fixed": "absolute", "percentile": "quantile"}
"""Rule to what its threshold means; the other rules have none."""
