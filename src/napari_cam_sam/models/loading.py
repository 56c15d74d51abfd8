"""One door to all models that a heatmap can explain: classifiers and segmentation networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_cam_sam.errors import reads
from napari_cam_sam.models.cards import (
    NETWORK_FIELDS,
    Sources,
    read_sidecar,
    sources_of_file,
    sources_of_module,
)
from napari_cam_sam.models.checkpoints import read_checkpoint
from napari_cam_sam.models.classifiers import (
    Classifier,
    classifier_of_module,
    load_classifier,
)
from napari_cam_sam.models.devices import choose_device
from napari_cam_sam.models.factories import call_factory, is_factory
from napari_cam_sam.models.names import SEGMENTATION_ARCHITECTURES, shipped_networks
from napari_cam_sam.models.segmentation import (
    SegmentationNetwork,
    load_network,
    network_of_module,
)

__all__ = ["load_model"]


@reads("a model")
def load_model(
    name_or_path: str | Path,
    *,
    device: str = "auto",
    working_folder: bool = True,
    **fields: Any,
) -> Classifier | SegmentationNetwork:
    """Load a classifier or a segmentation network, whichever it is.

    A segmentation network is what ships as one, the folder of a MONAI bundle, and what has a
    card with an architecture of segmentation networks or with a field that only their cards have,
    such as ``spatial_dims``. All else is a classifier.

    Parameters
    ----------
    name_or_path : str or Path
        As :func:`~models.classifiers.load_classifier` and
        :func:`~models.segmentation.load_network` take it.
    device : str
        As :func:`models.devices.choose_device` takes it.
    working_folder : bool
        Whether a factory may lie in the working folder, see
        :func:`~models.factories.call_factory`.
    **fields
        Fields of the card that the model does not give; None counts as not given.

    Returns
    -------
    Classifier or SegmentationNetwork

    Raises
    ------
    CamSamError
        As the two do.

    Examples
    --------
    >>> ncs.load_model("phantom-unet").card.architecture
    'small-unet'
    >>> ncs.load_model("lesion").card.architecture
    'small-cnn'
    """
    name = str(name_or_path)
    fields = {key: value for key, value in fields.items() if value is not None}
    if is_factory(name) and not Path(name).exists():
        module = call_factory(name, working_folder=working_folder)
        cards = sources_of_module(name, module, fields)
        of_module = network_of_module if _of_network(cards) else classifier_of_module
        return of_module(name, module, fields, choose_device(device))
    network = (
        name in shipped_networks()
        or Path(name).is_dir()
        or _of_network([("", fields)])
        or (Path(name).is_file() and _of_network(_cards_of_file(Path(name))))
    )
    if network:
        return load_network(name, device=device, **fields)
    return load_classifier(name, device=device, **fields)


def _of_network(cards: Sources) -> bool:
    """Return whether any of the cards is that of a segmentation network."""
    return any(
        card.get("architecture") in SEGMENTATION_ARCHITECTURES
        or any(card.get(key) is not None for key in NETWORK_FIELDS)
        for _, card in cards
    )


def _cards_of_file(path: Path) -> Sources:
    card = read_sidecar(path)
    if "architecture" in card:
        return [("", card)]
    return sources_of_file(path, read_checkpoint(path).metadata)
