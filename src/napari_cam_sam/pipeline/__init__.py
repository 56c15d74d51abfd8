"""Heatmap → prompts → masks → scores, for one plane, a whole image, or objects of a volume."""

from napari_cam_sam.pipeline.images import run_image
from napari_cam_sam.pipeline.parameters import RunParameters, VolumeParameters
from napari_cam_sam.pipeline.planes import run_planes
from napari_cam_sam.pipeline.results import PlaneResult, RunResult
from napari_cam_sam.sam.labels import segment_plane

__all__ = [
    "PlaneResult",
    "RunParameters",
    "RunResult",
    "VolumeParameters",
    "run_image",
    "run_planes",
    "segment_plane",
]
