"""The colours of what is found on an image: one set for the viewer and for pictures of a run."""

__all__ = ["HEATMAP", "HEATMAP_OPACITY", "MASKS", "POINTS", "RIM", "SOURCES", "TRUTH"]

# All eyes tell these apart, and from the truth's cyan. Each is so bright that on any image either
# it or the dark rim of outlines has a contrast of 3 at least.
MASKS = ("#ff9f1c", "#57c2a2", "#ffffcc", "#ffb0a8", "#fff200")
"""Of objects 1, 2, ...; those beyond begin with the first again."""

RIM = "black"
"""Around the outline of a mask."""

TRUTH = "#00e5ff"

# Violet to red of one lightness: on bright ultrasound it is darker than the image, on dark MR
# brighter. Without evidence it is transparent, and the image is seen as it is.
HEATMAP = ("#51127c00", "#51127c80", "#8c2981d0", "#b73779", "#de4968")
"""From 0 to 1, with their opacity."""

HEATMAP_OPACITY = 0.55
"""In [0, 1], of all of it."""

POINTS = {"positive": "#21e05c", "negative": "#ff3d3d"}

# What is of heatmaps is pink, of the truth cyan, of the user white; orange is the mask.
SOURCES = {"cam": "#ff9ad5", "truth": "#35d0ff", "user": "#ffffff"}
"""Of boxes and the borders of points, by what they are from."""
