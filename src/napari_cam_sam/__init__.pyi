"""The names of the package, and where they lie: read by type checkers, and at each start."""

from .cam.heatmaps import CamParameters, Heatmap, compute_heatmaps
from .cam.parameters import OcclusionParameters, TrustParameters
from .cam.pixel_sets import PixelSet
from .cam.trust import assess_trust
from .cam.volume_heatmaps import compute_volume_heatmap
from .errors import CamSamError
from .images.dicom.drawn import read_label_sets
from .images.dicom.series import find_series
from .images.geometry import Geometry
from .images.image import Image, image_from_array
from .images.measurements import Measurement, measure_labels
from .images.reading import read_image, read_labels
from .images.segments import Segment
from .images.windows import Window, WindowParameters, apply_window, resolve_window
from .images.writing import write_labels
from .metrics.scoring import score_heatmap, score_masks
from .models.classifiers import load_classifier
from .models.loading import load_model
from .models.training.parameters import TrainingParameters
from .models.training.run import train
from .models.training.samples import samples_from_folder
from .pipeline import RunParameters, VolumeParameters, run_image
from .prompts.data import Box, ObjectPrompt, PlanePrompts, Point
from .prompts.parameters import PromptParameters
from .prompts.strategies import prompts_from_heatmap, prompts_from_mask
from .sam.cache.embeddings import CacheParameters, EmbeddingCache, open_cache
from .sam.everything.automatic import AutomaticParameters, automatic_masks
from .sam.everything.ranking import choose_by_heatmap
from .sam.loading import load_segmenter
from .sam.volume.consensus import find_consensus
from .sam.volume.parameters import PropagationParameters
from .sam.volume.propagation import propagate
from .sam.volume.seed_slices import trusted_planes
from .sam.volume.smoothing import smooth_along_axis
from .session import Session, read_session, replay
from .studies.config.plan import read_study
from .studies.run.runner import run_study

__version__: str

__all__ = [
    "AutomaticParameters",
    "Box",
    "CacheParameters",
    "CamParameters",
    "CamSamError",
    "EmbeddingCache",
    "Geometry",
    "Heatmap",
    "Image",
    "Measurement",
    "ObjectPrompt",
    "OcclusionParameters",
    "PixelSet",
    "PlanePrompts",
    "Point",
    "PromptParameters",
    "PropagationParameters",
    "RunParameters",
    "Segment",
    "Session",
    "TrainingParameters",
    "TrustParameters",
    "VolumeParameters",
    "Window",
    "WindowParameters",
    "apply_window",
    "assess_trust",
    "automatic_masks",
    "choose_by_heatmap",
    "compute_heatmaps",
    "compute_volume_heatmap",
    "find_consensus",
    "find_series",
    "image_from_array",
    "load_classifier",
    "load_model",
    "load_segmenter",
    "measure_labels",
    "open_cache",
    "prompts_from_heatmap",
    "prompts_from_mask",
    "propagate",
    "read_image",
    "read_label_sets",
    "read_labels",
    "read_session",
    "read_study",
    "replay",
    "resolve_window",
    "run_image",
    "run_study",
    "samples_from_folder",
    "score_heatmap",
    "score_masks",
    "smooth_along_axis",
    "train",
    "trusted_planes",
    "write_labels",
]
