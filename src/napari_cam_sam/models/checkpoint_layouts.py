"""How programs that train lay weights out in a file: under which entry, and under which names.

The rules, in this order:

1. Weights are the file itself, or lie under one of the entries of `PLAIN`, or, where there is none
   of these, of `_AVERAGED`, or else under the only entry that holds tensors by name. Averaged
   weights beside plain ones are not taken, which is said; two plain sets that differ are refused.
2. What compiling and wrapping put into names (``_orig_mod.``, ``module.``) is taken out.
3. Where a network's own names all stand behind one prefix, such as ``model.`` or ``net.backbone.``,
   that is taken off, and what stands outside of it is left out, which is said.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from napari_cam_sam.errors import CamSamError

__all__ = [
    "PLAIN",
    "Found",
    "behind_parts",
    "behind_prefix",
    "find_weights",
    "foreign_names",
    "match_head",
    "some_of",
    "tell",
    "without_wrappers",
]

PLAIN = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "net_state_dict",
    "weights", "model_weights", "module", "params",
)  # fmt: skip
"""Entries under which weights lie, the first one counting."""
_AVERAGED = (
    "state_dict_ema", "model_ema", "model_ema_state_dict", "ema_state_dict", "ema_model", "ema",
    "params_ema",
)  # fmt: skip
"""Entries with the running average of weights, as timm's and torchvision's training write them."""

_NO_WEIGHTS = re.compile(r"optim|sched|lr_|scaler|amp|rng|loops|callbacks|hyper_param|args|config")
# What torch.compile, FSDP and activation checkpointing put into names.
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_DEEPEST = 4


@dataclass(frozen=True, eq=False)
class Found:
    """Weights, and what lies beside them.

    Attributes
    ----------
    weights : dict of str to Tensor
        Empty where there are none.
    beside : dict
        All else.
    notes : tuple of str
        What was decided, in sentences without a full stop.
    """

    weights: dict[str, Tensor]
    beside: dict[str, Any]
    notes: tuple[str, ...] = ()


def find_weights(content: object, depth: int = 0) -> Found:
    """Find the weights in what a file holds, by rule 1 above.

    Parameters
    ----------
    content : object
        As it was read; a mapping, where there are weights.
    depth : int
        How many mappings it lies in.

    Returns
    -------
    Found

    Raises
    ------
    CamSamError
        If several sets of weights are there and no rule says which is meant.
    """
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return Found({}, {})
    own = {key: value for key, value in content.items() if _is_weight(key, value)}
    sets: dict[str, Found] = {}
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, Mapping) and not _NO_WEIGHTS.match(key):
            known = key in PLAIN or key in _AVERAGED
            inner = find_weights(value, depth + 1) if known else Found(_tensors(value), {})
            if inner.weights:
                sets[key] = inner
    plain = [key for key in PLAIN if key in sets]
    averaged = [key for key in _AVERAGED if key in sets]
    others = [key for key in sets if key not in plain and key not in averaged]
    if plain or averaged:
        chosen = _only(plain or averaged, sets)
    elif others and len(own) < max(len(sets[key].weights) for key in others):
        chosen = _only(others, sets)
    else:
        beside = {str(k): v for k, v in content.items() if not isinstance(v, Tensor)}
        return Found({str(k): v for k, v in own.items()}, beside)
    notes = sets[chosen].notes
    if plain and averaged:
        notes += (
            f"the weights under {chosen!r} are used, not their running average under "
            f"{averaged[0]!r}; to use that, save it alone",
        )
    beside = {str(k): v for k, v in content.items() if k != chosen}
    return Found(sets[chosen].weights, beside, notes)


def _is_weight(key: object, value: object) -> bool:
    """Return whether an entry is a named tensor of numbers: not sparse, and with values."""
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        return False
    return isinstance(key, str) and not value.is_meta and not value.is_quantized


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {key: value for key, value in content.items() if _is_weight(key, value)}


def _only(keys: Sequence[str], sets: Mapping[str, Found]) -> str:
    """Return the first entry, if the others hold the same; else refuse."""
    first = sets[keys[0]].weights
    for key in keys[1:]:
        other = sets[key].weights
        if first.keys() != other.keys() or not all(_same(first[k], other[k]) for k in first):
            raise CamSamError(
                f"Several sets of weights lie in this file, under {', '.join(map(repr, keys))}: "
                "save the one that is meant alone"
            )
    return keys[0]


def _same(one: Tensor, other: Tensor) -> bool:
    # What is expanded may be far larger than its file, and is not compared.
    return one.is_contiguous() and other.is_contiguous() and torch.equal(one, other)


def without_wrappers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Remove from the names what compiling and wrapping put there, by rule 2 above.

    Parameters
    ----------
    weights : mapping of str to Tensor

    Returns
    -------
    dict
        The same tensors, without the count of an AveragedModel; under their old names where two
        new ones would be equal.
    """
    names = {key: _WRAPPERS.sub("", key) for key in weights}
    while True:
        counted = [name for name in names.values() if name != "n_averaged"]  # of AveragedModel
        if not counted or not all(name.startswith("module.") for name in counted):
            break
        names = {
            key: _WRAPPERS.sub("", name.removeprefix("module."))
            for key, name in names.items()
            if name != "n_averaged"
        }
    if len(set(names.values())) < len(names):
        return dict(weights)
    return {name: weights[key] for key, name in names.items()}


def behind_prefix(
    weights: Mapping[str, Tensor], wanted: Iterable[str], what: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Remove the prefix behind which most of a network's own names stand, by rule 3 above.

    Parameters
    ----------
    weights : mapping
    wanted : iterable of str
        The network's own names.
    what : str
        The network, for errors.

    Returns
    -------
    weights : dict
        The same where the names fit best as they are.
    notes : tuple of str
        As of :class:`Found`.

    Raises
    ------
    CamSamError
        If they stand behind several prefixes alike, as those of a student and its teacher.
    """
    own = set(wanted)
    hits: Counter[str] = Counter()
    for key in weights:
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", key))):
            if key[start:] in own:
                hits[key[:start]] += 1
    return _take_off(weights, hits, len(own), what)


def behind_parts(
    weights: Mapping[str, Tensor], parts: Sequence[str], what: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Remove a prefix, of a network of which only the names of its parts are known.

    Parameters
    ----------
    weights : mapping of str to Tensor
    parts : sequence of str
        First parts of the network's own names, e.g. ``"image_encoder"``.
    what : str
        The network, for errors.

    Returns
    -------
    weights : dict
    notes : tuple of str
        Both as of :func:`behind_prefix`.

    Raises
    ------
    CamSamError
        As there.
    """
    hits: Counter[str] = Counter()
    for part in parts:
        starts = (re.match(rf"(.*\.)?{part}\.", key) for key in weights)
        hits.update({start[1] or "" for start in starts if start})
    return _take_off(weights, hits, len(parts), what)


def _take_off(
    weights: Mapping[str, Tensor], hits: Counter[str], wanted: int, what: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Remove the prefix with most hits; none where the names fit as well as they are.

    Less than half of what is wanted is chance: ``bias`` stands behind many prefixes.
    """
    most = max(hits.values(), default=0)
    if most == hits[""] or 2 * most < wanted:
        return dict(weights), ()
    best = [prefix for prefix, n in hits.items() if n == most]
    if len(best) > 1:
        raise CamSamError(
            f"{what} is in this file {len(best)} times, under {', '.join(map(repr, best))}: "
            "save the one that is meant alone"
        )
    prefix = best[0]
    inside = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    outside = [k for k in weights if not k.startswith(prefix) and k != "n_averaged"]
    if not outside:
        return inside, ()
    return inside, (f"what does not begin with {prefix!r} is left out: {some_of(outside)}",)


def foreign_names(weights: Collection[str], wanted: Collection[str]) -> str:
    """Return a note that names are another library's, where most of the wanted ones are missing.

    Parameters
    ----------
    weights, wanted : collection of str
        Names that are there, and those that a network has.

    Returns
    -------
    str
        The end of a sentence; empty where at least half of them are there.
    """
    there = sum(key in weights for key in wanted)
    if not weights or 2 * there >= len(wanted):
        return ""
    timm = any(re.match(r"conv_stem\.|patch_embed\.|stem\.0\.|blocks\.0\.", key) for key in weights)
    other = "timm's" if timm else "another network's or another library's"
    return (
        f"; its names are {other} ({some_of(list(weights))}), the expected ones "
        f"{some_of(list(wanted))}: name a factory, package.module:function, that builds the "
        "network that they are of"
    )


def _linear_names(weights: Mapping[str, Tensor], head: str) -> list[str]:
    """List the names of the linear layers of a head, in their order."""
    found = [
        key.removesuffix(".weight")
        for key, value in weights.items()
        if key.endswith(".weight") and value.ndim == 2 and (key + ".").startswith(head + ".")
    ]
    return sorted(found, key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    """Order by numbers as numbers, since safetensors does not keep the layers' order."""
    return [(int(part) if part.isdigit() else -1, part) for part in name.split(".")]


def match_head(
    weights: Mapping[str, Tensor], module: nn.Module, head: str, what: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Rename the linear layers of a head where they were put into a sequence.

    ``fc`` made a sequence of dropout and a linear layer has its weights under ``fc.1``.

    Parameters
    ----------
    weights : mapping
        Without prefix.
    module : nn.Module
        The architecture; its values do not count.
    head : str
        Name of the part of it that makes the logits, e.g. ``"classifier"``.
    what : str
        The architecture, for errors.

    Returns
    -------
    weights : dict
    notes : tuple of str
        As of :class:`Found`.

    Raises
    ------
    CamSamError
        If the head has another number of linear layers, or other layers with weights: what lies
        between them and has no weights, such as ReLU, cannot be known.
    """
    own = module.state_dict()
    ours, theirs = _linear_names(own, head), _linear_names(weights, head)
    if not theirs or ours == theirs:
        return dict(weights), ()
    renamed = dict(zip(theirs, ours, strict=False))

    def name_of(key: str) -> str:
        layer, _, part = key.rpartition(".")
        return f"{renamed[layer]}.{part}" if layer in renamed else key

    out = {name_of(key): value for key, value in weights.items()}
    strange = [key for key in out if key.startswith(f"{head}.") and key not in own]
    if len(theirs) != len(ours) or strange:
        layers = [key for key in weights if key.startswith(f"{head}.") and "weight" in key]
        extra = ""
        if len(theirs) == len(ours) + 1 and len(weights[f"{theirs[0]}.weight"]) == 1000:
            extra = " (or 'head' = 'extra' on its card, where ReLU and dropout lie between)"
        raise CamSamError(
            f"The head {head!r} holds {some_of(layers)}, and that of {what} {some_of(ours)}: what "
            "lies between its layers cannot be told from weights, so name a factory, "
            f"package.module:function, that builds it{extra}"
        )
    inner = [name for name, old in renamed.items() if name.startswith(f"{old}.")]
    return out, tuple(
        f"the head is a sequence with the linear layer {name!r}: what stands before it has no "
        "weights and is taken for dropout, which does nothing here"
        for name in inner
        if not name.endswith(".0")
    )


def tell(notes: Iterable[str], path: object) -> None:
    """Warn of what was decided about a file.

    Parameters
    ----------
    notes : iterable of str
        Sentences without a full stop.
    path : object
        The file.
    """
    for note in notes:
        warnings.warn(f"{note[0].upper()}{note[1:]} ({path}).", stacklevel=4)


def some_of(names: Sequence[str]) -> str:
    """Return the first three of some names in a line.

    Parameters
    ----------
    names : sequence of str

    Returns
    -------
    str
        Ends in … where there are more.
    """
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
