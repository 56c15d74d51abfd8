"""Layer-wise relevance propagation, for nets whose every step has a rule."""

from __future__ import annotations

import copy
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from napari_cam_sam.errors import CamSamError
from napari_cam_sam.models.classify.small_cnn import GeneralisedMean

__all__ = ["canonical", "relevance"]

_ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
_RELUS = (functional.relu, torch.relu, "relu", "relu_")
_POOLS = (functional.adaptive_avg_pool2d,)
_MEANS = (torch.mean, "mean")
# What only lays values out anew, or joins them, hands relevance on as it hands on gradients.
_LAYOUTS = (
    *(torch.flatten, torch.cat, operator.getitem, getattr),
    *("flatten", "view", "reshape", "size", "contiguous", "squeeze"),
    *(functional.dropout,),
)
_WEIGHTED = (nn.Conv2d, nn.Linear)
_RULED = (
    *(*_WEIGHTED, nn.ReLU, nn.BatchNorm1d, nn.BatchNorm2d, GeneralisedMean),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
    *(nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity),
)


class _SpatialMean(nn.Module):
    """The mean over rows and columns, as a layer that a rule can be given to."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=self.keep)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, GeneralisedMean) or super().is_leaf_module(m, module_qualified_name)


def canonical(module: nn.Module, name: str) -> fx.GraphModule:
    """Rewrite a net as layers that have rules: the same function, in a copy.

    Batch norm is merged into the convolution or linear layer before it, and sums of branches,
    functional ReLUs and means over space become layers, all found in the graph of the net rather
    than by the names of known architectures.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode; left as it is.
    name : str
        Of the model, for errors.

    Returns
    -------
    fx.GraphModule

    Raises
    ------
    CamSamError
        If zennit is not installed, or a step of the net has no rule: attention, gates,
        activations other than ReLU, batch norm before a convolution, or a graph that depends on
        the values in it.
    """
    try:
        import zennit.layer  # noqa: F401
    except ImportError as error:
        raise CamSamError(
            'lrp needs zennit, which is not installed: pip install "napari-cam-sam[explain]".'
        ) from error
    kinds = {
        type(part).__name__
        for part in module.modules()
        if type(part).__module__.startswith("torch.nn.")
        and not isinstance(part, (*_RULED, nn.Sequential, nn.ModuleList, nn.ModuleDict))
    }
    if kinds:
        raise _undefined(name, kinds)
    own = copy.deepcopy(module)
    try:
        graph = _Tracer().trace(own)
    except Exception as error:  # whatever a net's own code raises on what stands for its values
        raise _undefined(name, {"steps that depend on its values"}) from error
    rewritten = fx.GraphModule(own, graph)
    odd = {found for node in list(graph.nodes) if (found := _rewrite(rewritten, node)) is not None}
    if odd:
        raise _undefined(name, odd)
    graph.eliminate_dead_code()
    rewritten.recompile()
    rewritten.delete_all_unused_submodules()
    return rewritten.eval()


def _undefined(name: str, what: set[str]) -> CamSamError:
    has = ", ".join(sorted(what)[:4])
    return CamSamError(
        f"lrp is not defined for {name}, which has {has}: it is for ResNet, VGG and other nets of "
        "convolution, batch norm, ReLU and pooling. Take another method, e.g. layer-cam or "
        "occlusion."
    )


def _rewrite(net: fx.GraphModule, node: fx.Node) -> str | None:
    """Rewrite one step of a net; name it where it has no rule."""
    if node.op in ("placeholder", "output"):
        return None
    if node.op == "call_module":
        return _rewrite_layer(net, node, net.get_submodule(str(node.target)))
    called: Any = node.target
    if called in _LAYOUTS:
        return None
    if called in _RELUS:
        _replace(net, node, nn.ReLU(), node.args[:1])
        return None
    if called in _ADDITIONS and len(node.args) == 2 and not node.kwargs:
        if not all(isinstance(one, fx.Node) for one in node.args):
            return "an added constant"
        from zennit.layer import Sum

        with net.graph.inserting_before(node):
            both = net.graph.call_function(torch.stack, (list(node.args), -1))
        _replace(net, node, Sum(), (both,))
        return None
    if called in _POOLS:
        _replace(net, node, nn.AdaptiveAvgPool2d(node.args[1]), node.args[:1])  # type: ignore[arg-type]
        return None
    if called in _MEANS:
        options = dict(zip(("dim", "keepdim"), node.args[1:], strict=False)) | node.kwargs
        over: Any = options.get("dim")
        if isinstance(over, (tuple, list)) and sorted(one % 4 for one in over) == [2, 3]:
            _replace(net, node, _SpatialMean(bool(options.get("keepdim"))), node.args[:1])
            return None
    return str(getattr(called, "__name__", called))


def _rewrite_layer(net: fx.GraphModule, node: fx.Node, layer: nn.Module) -> str | None:
    if isinstance(layer, nn.ReLU):
        # One of its own for each call, which leaves its input as it was.
        _replace(net, node, nn.ReLU(), node.args)
    if isinstance(layer, _WEIGHTED) and _calls(net, node) > 1:
        return f"a {type(layer).__name__} that runs twice"
    if not isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        return None
    before = node.args[0]
    known = isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1
    weighted = net.get_submodule(str(before.target)) if known else None  # type: ignore[union-attr]
    if layer.running_mean is None or not isinstance(weighted, _WEIGHTED):
        return f"{type(layer).__name__} that follows no convolution"
    fuse: Any = fuse_conv_bn_eval if isinstance(weighted, nn.Conv2d) else fuse_linear_bn_eval
    net.set_submodule(str(before.target), fuse(weighted, layer))  # type: ignore[union-attr]
    node.replace_all_uses_with(before)  # type: ignore[arg-type]
    net.graph.erase_node(node)
    return None


def _calls(net: fx.GraphModule, node: fx.Node) -> int:
    return sum(one.op == "call_module" and one.target == node.target for one in net.graph.nodes)


def _replace(net: fx.GraphModule, node: fx.Node, layer: nn.Module, given: Any) -> None:
    """Replace a step by a layer."""
    name = f"canonical_{node.name}"
    net.add_submodule(name, layer)
    with net.graph.inserting_before(node):
        node.replace_all_uses_with(net.graph.call_module(name, given))
    net.graph.erase_node(node)


def relevance(net: nn.Module, tensor: Tensor, targets: Sequence[int]) -> Tensor:
    """Propagate the logits of classes back to the input, layer by layer.

    The rules of zennit's composite EpsilonPlusFlat (Kohlbrenner et al. 2020; Montavon et al.
    2019): epsilon for linear layers, z-plus for convolutions, flat for the first one. Biases of
    convolutions take no share, so relevance is conserved: over an input it adds up to the logit
    less what the biases of the linear layers take of it.

    Parameters
    ----------
    net : nn.Module
        Inputs → logits (B, classes); `canonical`. Its hooks are gone afterwards.
    tensor : Tensor, shape (B, C, h, w)
    targets : sequence of int
        The class of each input.

    Returns
    -------
    Tensor, shape (B, C, h, w)
        Signed.
    """
    from zennit.composites import EpsilonPlusFlat
    from zennit.rules import Epsilon, Norm

    # A generalised mean is homogeneous, as a sum is: x · ∂y/∂x adds up to y.
    rules = [(nn.Linear, Epsilon()), ((GeneralisedMean, _SpatialMean), Norm())]
    leaf = tensor.detach().requires_grad_(True)
    with EpsilonPlusFlat(layer_map=rules, zero_params=["bias"]).context(net):
        logits = net(leaf)
        rows = range(len(logits))
        start = torch.zeros_like(logits)
        start[rows, list(targets)] = logits.detach()[rows, list(targets)]
        (found,) = torch.autograd.grad(logits, leaf, start)
    return found
