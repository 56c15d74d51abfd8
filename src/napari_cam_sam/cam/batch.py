"""The images of one batch, and what the model makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_cam_sam.cam.parameters import OcclusionParameters
from napari_cam_sam.cam.tracing import LogitsModel, Target, run_traced
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.classify.architectures import to_grid
from napari_cam_sam.models.plane_order import turned
from napari_cam_sam.models.segmentation import SegmentationNetwork

__all__ = ["Batch", "ClassBatch", "NetworkBatch"]


class Batch:
    """One batch of images on its way through a borrowed model.

    What a score is, is said by its kinds: :class:`ClassBatch` for classifiers,
    ``cam.regions.RegionBatch`` and ``cam.windows.WindowBatch`` for segmentation networks.

    Parameters
    ----------
    loaded : Classifier or SegmentationNetwork
    tensor : Tensor, shape (n, channels, …)
        The images, as the model takes them.
    batch_size : int
        Inputs in one pass, of methods with many passes for an image.

    Attributes
    ----------
    model : nn.Module
        The model's module, with plain logits as its output.
    finite : ndarray of bool, shape (n,)
        False for images with a score, activation or gradient that is not finite.
    occlusion : OcclusionParameters
        For the method of that name.
    probabilities : ndarray of float32, shape (n, classes)
        After :meth:`run`.
    targets : ndarray of int, shape (n,)
        The class to explain for each image; after :meth:`run`.
    """

    probabilities: NDArray[np.float32]
    targets: NDArray[np.intp]

    def __init__(
        self, loaded: Classifier | SegmentationNetwork, tensor: Tensor, batch_size: int
    ) -> None:
        self.loaded = loaded
        self.model = LogitsModel(loaded)
        self.tensor = tensor
        self.batch_size = batch_size
        self.occlusion = OcclusionParameters()
        self.finite = np.ones(len(tensor), dtype=bool)

    def note(self, output: Tensor) -> None:
        """Note what the model predicts: probabilities, targets, what is not finite."""
        raise NotImplementedError

    def score(self, row: Tensor, i: int) -> Tensor:
        """Return the score y of image i from its row of the output."""
        raise NotImplementedError

    def class_scores(self, row: Tensor, i: int) -> Tensor:
        """Return a score for each class of image i, shape (classes,), from its output row."""
        raise NotImplementedError

    def run(self, names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the model, and note what it predicts."""
        layers = {name: self.loaded.layer(name) for name in names}
        output, kept = run_traced(self.model, self.tensor, layers)
        self.note(output.detach())
        return output, kept

    def grid(self, name: str, output: Tensor) -> Tensor:
        """Lay a layer's output, or a gradient by it, out as (B, C, h, w): rows, then columns."""
        layer = self.loaded.layer(name)
        try:
            grid = to_grid(output, layer, self.loaded.card.architecture)
        except CamSamError as error:
            raise CamSamError(f"Layer {name!r} cannot be a target layer. {error}") from None
        return grid.transpose(-1, -2) if turned(self.loaded.card) else grid

    def array(self, name: str, output: Tensor) -> NDArray[np.float32]:
        """As `grid`, as a float32 array, images that are not finite noted and set to 0."""
        values: NDArray[np.float32] = self.grid(name, output).detach().float().cpu().numpy()
        good: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=(1, 2, 3)))
        self.finite &= good
        return np.where(good[:, None, None, None], values, np.float32(0))

    def score_targets(self) -> list[Target]:
        """Return what turns each image's row of the output into its score y."""
        return [partial(self.score, i=i) for i in range(len(self.tensor))]

    def on_classes(self, target: Target, i: int) -> Target:
        """Make a target on the scores of all classes one on image i's row of the output."""
        return lambda row: target(self.class_scores(row, i))


class ClassBatch(Batch):
    """A batch of planes whose scores come from the logits of a classifier.

    With p the probability of the target, one class or several together, the score is the
    logarithm of its part of the softmax's sum, which is its logit for one class, or with `odds`
    log(p / (1 - p)).

    Parameters
    ----------
    classifier : Classifier
    tensor : Tensor, shape (n, channels, h, w)
    batch_size : int
    target : int, tuple of int, ndarray of int or None
        A class, several as one, one for each plane, or None for the predicted ones.
    odds : bool
    """

    def __init__(
        self,
        classifier: Classifier,
        tensor: Tensor,
        batch_size: int,
        target: int | tuple[int, ...] | NDArray[np.intp] | None,
        odds: bool = False,
    ) -> None:
        super().__init__(classifier, tensor, batch_size)
        self.classifier = classifier
        self.wanted = target
        self.odds = odds

    def note(self, output: Tensor) -> None:
        """Read classes and probabilities off the logits (n, classes)."""
        scores = output.float().cpu()
        self.probabilities = self.classifier.to_probabilities(scores).numpy()
        if self.wanted is None:
            self.targets = scores.argmax(dim=1).numpy()
        elif isinstance(self.wanted, tuple):
            members = np.array(self.wanted)
            self.targets = members[scores[:, members].argmax(dim=1).numpy()]
        else:
            self.targets = np.full(len(scores), self.wanted)
        self.finite &= np.isfinite(scores.numpy()).all(axis=1)

    def score(self, row: Tensor, i: int) -> Tensor:
        """Return the score of the target of plane i."""
        members = self.wanted if isinstance(self.wanted, tuple) else (int(self.targets[i]),)
        # A single class, as a rule, without a logarithm of an exponential.
        inside = row[list(members)].logsumexp(0) if len(members) > 1 else row[members[0]]
        others = [k for k in range(len(row)) if k not in members]
        if not self.odds or not others:
            return inside
        return inside - row[others].logsumexp(0)

    def class_scores(self, row: Tensor, i: int) -> Tensor:
        """Return the logits, shape (classes,)."""
        return row


class NetworkBatch(Batch):
    """A batch whose score is the sum over M of the logits of a network's class.

    Attributes
    ----------
    weights : Tensor of float32, shape (n, …)
        How much each cell of the network's output counts in the score.
    """

    weights: Tensor

    def score(self, row: Tensor, i: int) -> Tensor:
        """Sum the logits of image i's class over its M."""
        score: Tensor = (row[int(self.targets[i])] * self.weights[i]).sum()
        return score

    def class_scores(self, row: Tensor, i: int) -> Tensor:
        """Average the logits of each class over image i's M: they compare like a classifier's."""
        total = self.weights[i].sum().clamp_min(1e-12)
        scores: Tensor = (row * self.weights[i]).sum(dim=tuple(range(1, row.ndim))) / total
        return scores
