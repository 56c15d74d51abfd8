"""The planes of one batch, and what the model makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

from napari_cam_sam.cam.tracing import ScoreModel, Target, run_traced
from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.architectures import to_grid
from napari_cam_sam.models.classifiers import Classifier

__all__ = ["Batch"]


class Batch:
    """One batch of planes on its way through a borrowed classifier.

    Attributes
    ----------
    model : ScoreModel
        The classifier's module, with logits as its output.
    tensor : Tensor, shape (n, channels, h, w)
    finite : ndarray of bool, shape (n,)
        False for planes with a score, activation or gradient that is not finite.
    probabilities : ndarray of float32, shape (n, classes)
        After :meth:`run`.
    targets : ndarray of int, shape (n,)
        The class to explain for each plane; after :meth:`run`.
    """

    probabilities: NDArray[np.float32]
    targets: NDArray[np.intp]

    def __init__(
        self, classifier: Classifier, tensor: Tensor, target: int | None, batch_size: int
    ) -> None:
        self.classifier = classifier
        self.model = ScoreModel(classifier.module, classifier.card.num_classes)
        self.tensor = tensor
        self.target = target
        self.batch_size = batch_size
        self.finite = np.ones(len(tensor), dtype=bool)

    def run(self, names: Sequence[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the model, and note what it predicts."""
        layers = {name: self.classifier.layer(name) for name in names}
        logits, outputs = run_traced(self.model, self.tensor, layers)
        scores = logits.detach().float().cpu()
        self.probabilities = self.classifier.to_probabilities(scores).numpy()
        self.targets = (
            scores.argmax(dim=1).numpy()
            if self.target is None
            else np.full(len(scores), self.target)
        )
        self.finite &= np.isfinite(scores.numpy()).all(axis=1)
        return logits, outputs

    def grid(self, name: str, output: Tensor) -> Tensor:
        """Lay a layer's output, or a gradient by it, out as (B, C, h, w)."""
        layer = self.classifier.layer(name)
        try:
            return to_grid(output, layer, self.classifier.card.architecture)
        except CamSamError as error:
            raise CamSamError(f"Layer {name!r} cannot be a target layer. {error}") from None

    def array(self, name: str, output: Tensor) -> NDArray[np.float32]:
        """As `grid`, as a float32 array, planes that are not finite noted and set to 0."""
        values: NDArray[np.float32] = self.grid(name, output).detach().float().cpu().numpy()
        good: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=(1, 2, 3)))
        self.finite &= good
        return np.where(good[:, None, None, None], values, np.float32(0))

    def logit_targets(self) -> list[Target]:
        """Give each plane's target: the logit of its class."""
        return [ClassifierOutputTarget(int(index)) for index in self.targets]
