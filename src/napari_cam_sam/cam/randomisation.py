"""A copy of a model whose layers lose what they learned, from the last one down."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from napari_cam_sam.models.classifiers import Classifier
from napari_cam_sam.models.exclusive_eval import borrowed, module_lock

__all__ = ["cascade", "randomised_layers"]


def cascade(classifier: Classifier, stages: int, seed: int) -> Iterator[Classifier]:
    """Randomise a copy of a classifier from its last layer down (Adebayo et al. 2018).

    Weights are drawn anew from a normal distribution of mean 0 and the layer's own root mean
    square, so that the signal neither vanishes nor explodes; biases, and what batch norm holds of
    each channel, are shuffled.

    Parameters
    ----------
    classifier : Classifier
        Left as it is.
    stages : int
        How many there are; see `randomised_layers`.
    seed : int

    Yields
    ------
    Classifier
        One copy, randomised further each time.
    """
    with module_lock(classifier.module):
        # Under the lock: a copy would keep the hooks of whoever looks into the model just now.
        own = copy.deepcopy(classifier.module)
    shell = replace(classifier, module=own)
    order = _execution_order(shell)
    generator = torch.Generator().manual_seed(seed)
    done = 0
    for count in randomised_layers(len(order), stages):
        for name in order[len(order) - count : len(order) - done][::-1]:
            _randomise(own.get_submodule(name), generator)
        done = count
        yield shell


def randomised_layers(layers: int, stages: int) -> list[int]:
    """Return how many layers, counted from the last, are random at each stage.

    Parameters
    ----------
    layers : int
        How many there are.
    stages : int
        2 or more.

    Returns
    -------
    list of int
        The first stage has one, the last all of them, in even steps.
    """
    return [round(1 + (layers - 1) * stage / (stages - 1)) for stage in range(stages)]


def _execution_order(classifier: Classifier) -> list[str]:
    """List the modules that have parameters of their own, as they run.

    One whose parameters are used by the module around it, without being called, runs with that.
    """
    module, card = classifier.module, classifier.card
    begun: dict[str, int] = {}
    handles = []
    for name, part in module.named_modules():

        def note(_: nn.Module, __: object, name: str = name) -> None:
            begun.setdefault(name, len(begun))

        handles.append(part.register_forward_pre_hook(note))
    with borrowed(module), torch.no_grad():
        try:
            module(torch.zeros(1, card.channels, *card.input_size, device=classifier.device))
        finally:
            for handle in handles:
                handle.remove()

    def place(name: str) -> int:
        while name not in begun:
            name = name.rpartition(".")[0]
        return begun[name]

    named = [n for n, part in module.named_modules() if any(True for _ in part.parameters(False))]
    return sorted(named, key=place)


def _randomise(layer: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
            if not tensor.is_floating_point():
                continue
            if tensor.ndim > 1:
                drawn = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(drawn.to(tensor) * tensor.square().mean().sqrt())
            elif tensor.ndim == 1:
                tensor.copy_(tensor[torch.randperm(len(tensor), generator=generator)])
