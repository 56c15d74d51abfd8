"""MobileSAM's encoder as it runs here, on timm, against the authors' module in Ultralytics.

    pip install "napari-cam-sam[mobile]" ultralytics
    python benchmarks/mobile_equality.py

The published weights are not needed: every tensor of the checkpoint's layout is drawn from a seed
that is its name. It also prints the features that `tests/sam/models/test_mobile.py` expects, which
is how the test compares with the authors' module without having it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

Layout = dict[str, tuple[int, ...]]

_WIDTHS, _DEPTHS, _HEADS, _WINDOWS = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)


def encoder_layout() -> Layout:
    """Names and shapes of the encoder in ``mobile_sam.pt``, classifier head included."""
    return {f"image_encoder.{name}": shape for name, shape in _entries()}


def _entries() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _conv_norm("patch_embed.seq.0", 32, 3, 3)
    yield from _conv_norm("patch_embed.seq.2", 64, 32, 3)
    for stage, (width, depth) in enumerate(zip(_WIDTHS, _DEPTHS, strict=True)):
        for i in range(depth):
            block = f"layers.{stage}.blocks.{i}"
            if stage == 0:
                yield from _conv_norm(f"{block}.conv1", 4 * width, width, 1)
                yield from _conv_norm(f"{block}.conv2", 4 * width, 1, 3)
                yield from _conv_norm(f"{block}.conv3", width, 4 * width, 1)
                continue
            yield f"{block}.attn.attention_biases", (_HEADS[stage], _WINDOWS[stage] ** 2)
            yield from _pair(f"{block}.attn.norm", (width,), width)
            yield from _pair(f"{block}.attn.qkv", (3 * width, width), 3 * width)
            yield from _pair(f"{block}.attn.proj", (width, width), width)
            yield from _pair(f"{block}.mlp.norm", (width,), width)
            yield from _pair(f"{block}.mlp.fc1", (4 * width, width), 4 * width)
            yield from _pair(f"{block}.mlp.fc2", (width, 4 * width), width)
            yield from _conv_norm(f"{block}.local_conv", width, 1, 3)
        if stage < 3:
            wider = _WIDTHS[stage + 1]
            yield from _conv_norm(f"layers.{stage}.downsample.conv1", wider, width, 1)
            yield from _conv_norm(f"layers.{stage}.downsample.conv2", wider, 1, 3)
            yield from _conv_norm(f"layers.{stage}.downsample.conv3", wider, wider, 1)
    yield from _pair("norm_head", (320,), 320)
    yield from _pair("head", (1000, 320), 1000)
    yield "neck.0.weight", (256, 320, 1, 1)
    yield from _pair("neck.1", (256,), 256)
    yield "neck.2.weight", (256, 256, 3, 3)
    yield from _pair("neck.3", (256,), 256)


def _pair(name: str, weight: tuple[int, ...], bias: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", weight
    yield f"{name}.bias", (bias,)


def _conv_norm(name: str, out: int, each: int, side: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.c.weight", (out, each, side, side)
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.bn.{part}", (out,)
    yield f"{name}.bn.num_batches_tracked", ()


def draw(layout: Layout) -> dict[str, Tensor]:
    """Draw weights that leave no part of the encoder without effect."""
    drawn = {}
    for name, shape in layout.items():
        values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
        if name.endswith("num_batches_tracked"):
            drawn[name] = torch.tensor(1)
            continue
        if name.endswith("running_var"):
            values = 1 + 0.5 * np.tanh(values)
        elif len(shape) == 1:
            values = 0.2 * values + (1 if name.endswith("weight") else 0)
        else:
            values = values * (0.5 if "biases" in name else np.prod(shape[1:]) ** -0.5)
        drawn[name] = torch.from_numpy(np.asarray(values, np.float32))
    return drawn


def picture() -> Tensor:
    """Draw an input of the encoder, (1, 3, 1024, 1024): smooth, with structure at all scales."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.standard_normal((1, 3, 64, 64)).astype(np.float32))
    fine = torch.from_numpy(rng.standard_normal((1, 3, 1024, 1024)).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, scale_factor=16) + 0.5 * fine


def fingerprint(features: Tensor) -> Tensor:
    """Pick 48 of the features (1, 256, 64, 64)."""
    return features[0, ::100, 2::19, 3::19].flatten()


def main() -> None:
    """Run both encoders and print how far they are apart."""
    from ultralytics.models.sam.modules.tiny_encoder import TinyViT

    from napari_cam_sam.sam.models.mobile import TinyVitEncoder, rename_mobile_sam

    weights = draw(encoder_layout())
    theirs = TinyViT(
        img_size=1024, num_classes=1000, embed_dims=_WIDTHS, depths=_DEPTHS, num_heads=_HEADS,
        window_sizes=_WINDOWS, drop_path_rate=0.0, layer_lr_decay=0.8,
    )  # fmt: skip
    theirs.load_state_dict({k.removeprefix("image_encoder."): v for k, v in weights.items()})
    ours = TinyVitEncoder()
    renamed = rename_mobile_sam(weights)
    ours.load_state_dict({k.removeprefix("image_encoder."): v for k, v in renamed.items()})
    with torch.no_grad():
        expected, found = theirs.eval()(picture()), ours.eval()(picture())
    print(f"greatest difference {(found - expected).abs().max():.1e} of {expected.abs().max():.1f}")
    print([round(float(value), 4) for value in fingerprint(expected)])


if __name__ == "__main__":
    main()
