"""What a network's numbers are: logits, probabilities or their logarithms; and the way to logits.

Weights do not say it, and taking one for the other gives numbers that look sound: a sigmoid on a
probability is .5 to .73, whatever the plane. So a network that comes from code is looked at: by the
last steps of its graph, or, where these are not known, by its answers to noise.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.cards import OutputKind
from napari_cam_sam.models.exclusive_eval import borrowed

__all__ = ["Outputs", "as_logits", "find_outputs", "settle_outputs"]

_LEAST = torch.finfo(torch.float32).tiny
_MOST = 1 - torch.finfo(torch.float32).eps / 2
# How far from a probability the numbers of a network may be, by rounding and by interpolation.
_SLACK = 1e-3

# Steps of a graph that leave probabilities as they are.
_PASSING = re.compile(
    r"(View|UnsafeView|ReshapeAlias|Squeeze|Unsqueeze|Select|Slice|Clone|ToCopy|Transpose|Permute|T|"
    r"Expand|Alias|Mean|Amax|Upsample\w+?|AdaptiveAvgPool\dD|AvgPool\dD|Float|Contiguous)Backward\d+"
)
_LINEAR = re.compile(r"(Addmm|Mm|Bmm|Baddbmm|Convolution|Linear|\w*Convolution\w*)Backward\d+")
_SQUASHING: dict[str, tuple[OutputKind, str]] = {
    "Sigmoid": ("probabilities", "sigmoid"),
    "Hardsigmoid": ("probabilities", "sigmoid"),
    "Softmax": ("probabilities", "softmax"),
    "SafeSoftmax": ("probabilities", "softmax"),
    "LogSoftmax": ("log-probabilities", "softmax"),
    "LogSigmoid": ("log-probabilities", "sigmoid"),
}


class Outputs(NamedTuple):
    """What a network's numbers are.

    Attributes
    ----------
    kind : {"logits", "probabilities", "log-probabilities"}
    activation : {"softmax", "sigmoid"} or None
        What made probabilities of logits; None where they are logits.
    why : str
        What this was seen by; empty where nothing was seen but logits.
    """

    kind: OutputKind
    activation: str | None = None
    why: str = ""


def as_logits(scores: Tensor, kind: OutputKind, activation: str, name: str) -> Tensor:
    """Convert a network's numbers to logits, whose softmax or sigmoid they are.

    Parameters
    ----------
    scores : Tensor, shape (n, classes, …)
    kind : {"logits", "probabilities", "log-probabilities"}
        Logits stay as they are.
    activation : {"softmax", "sigmoid"}
        Of a softmax's probabilities p the logits are log p: the network's own but for a number
        that all classes share. Of a sigmoid's they are log p/(1 - p): the network's own. A
        probability that is 0 or 1 in single precision has no slope any more, and no heatmap.
    name : str
        The network, for errors.

    Returns
    -------
    Tensor, same shape

    Raises
    ------
    CamSamError
        If they are not what the kind says.
    """
    if kind == "logits":
        return scores
    scores = scores.float()
    logarithm = kind == "log-probabilities"
    low, high = (float(x) for x in torch.aminmax(scores.detach())) if scores.numel() else (0, 0)
    if high > (0 if logarithm else 1) + _SLACK or (low < -_SLACK and not logarithm):
        raise CamSamError(
            f"{name} is said to give {kind}, but gives numbers from {low:.4g} to {high:.4g}: "
            f"say output = logits if they are."
        )
    if activation == "softmax":
        return scores if logarithm else scores.clamp(_LEAST, 1).log()
    probabilities = scores.exp() if logarithm else scores
    below = scores.clamp(max=0) if logarithm else probabilities.clamp(_LEAST, 1).log()
    return below - torch.log1p(-probabilities.clamp(max=_MOST))


def find_outputs(
    module: nn.Module, channels: int, size: Sequence[int], take: Callable[[object], Tensor]
) -> Outputs:
    """Find what a network's numbers are, by one pass, or by some more where that does not tell.

    Parameters
    ----------
    module : nn.Module
    channels : int
    size : sequence of int
        Rows and columns of its input; of a 3D network three sizes.
    take : callable
        From what it returns to the scores (n, classes, …).

    Returns
    -------
    Outputs
        Logits where nothing tells.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    noise = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0)).to(device)
    found = None
    with (
        suppress(Exception),  # of steps that do without hooks or gradients, say: numbers may tell
        borrowed(module),
        torch.inference_mode(False),
        torch.enable_grad(),
        # The graph alone is looked at: what it would keep for its gradients is not kept.
        torch.autograd.graph.saved_tensors_hooks(lambda _: None, lambda _: torch.empty(0)),
    ):
        # A copy, as a module may well change its input in place, and no leaf takes that.
        found = _of_graph(take(module(noise.requires_grad_().clone())))
    if found is not None:
        return found
    try:
        with borrowed(module), torch.no_grad():
            noise = noise.detach()
            inputs = [noise * scale for scale in (1, 0, -1, 10, -100, 1000)]
            return _of_numbers(torch.cat([take(module(x)).float().cpu() for x in inputs]))
    except Exception:  # foreign code, which will fail in its own words when it is used
        return Outputs("logits")


def _of_graph(scores: Tensor) -> Outputs | None:
    """Read the last steps that count; None where they do not tell."""
    node: Any = scores.grad_fn
    for _ in range(50):
        if node is None:
            return None
        name = type(node).__name__
        if not _PASSING.fullmatch(name):
            break
        node = node.next_functions[0][0]
    short = re.sub(r"Backward\d+$", "", name)
    if short in _SQUASHING:
        kind, activation = _SQUASHING[short]
        return Outputs(kind, activation, f"its last step is {short}")
    if short in ("Clamp", "Hardtanh"):
        ends = [getattr(node, f"_saved_min{end}", None) for end in ("", "_val")]
        tops = [getattr(node, f"_saved_max{end}", None) for end in ("", "_val")]
        if 0 in ends and 1 in tops:
            return Outputs("probabilities", "sigmoid", "its last step cuts it to 0 and 1")
    return Outputs("logits") if _LINEAR.fullmatch(name) else None


def _of_numbers(scores: Tensor) -> Outputs:
    """Judge by answers to noise, faint and loud: logits leave 0 to 1 for some of it."""
    spread = float(scores.max() - scores.min())
    # The logarithm of a probability may be minus infinity.
    if bool((scores.isnan() | scores.isposinf()).any()) or spread < 1e-4:
        return Outputs("logits")
    several = scores.shape[1] > 1
    if float(scores.min()) >= -1e-6 and float(scores.max()) <= 1 + 1e-6:
        if several and bool(((scores.sum(1) - 1).abs() < 1e-4).all()):
            return Outputs("probabilities", "softmax", "its numbers add up to 1")
        return Outputs("probabilities", "sigmoid", "its numbers lie from 0 to 1")
    if several and bool((scores.logsumexp(1).abs() < 1e-4).all()):
        why = "its numbers are logarithms of numbers that add up to 1"
        return Outputs("log-probabilities", "softmax", why)
    return Outputs("logits")


def settle_outputs(found: Outputs, known: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what to put on a card that does not say what the numbers are, and warn.

    Parameters
    ----------
    found : Outputs
    known : mapping
        The card's fields; what they say counts.
    name : str
        The network.

    Returns
    -------
    dict
        ``output``, or nothing.
    """
    told = known.get("output")
    if told is None and found.kind != "logits":
        warnings.warn(
            f"The numbers of {name} are taken as {found.kind}, since {found.why}. Say output = "
            f"{found.kind} on its card, or logits if that is wrong (--output-kind).",
            stacklevel=4,
        )
        return {"output": found.kind}
    if told == "logits" and found.kind != "logits":
        warnings.warn(
            f"The numbers of {name} are taken as logits, as its card says, but {found.why}.",
            stacklevel=4,
        )
    return {}
