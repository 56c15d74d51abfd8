"""How well outlines and boxes stand out from the image, as the window shows them.

    xvfb-run -a -s "-screen 0 1500x1000x24" .venv/bin/python benchmarks/contrast.py [--data FOLDER]

Each line is drawn alone over the image, with and without the heatmap of a mask below it, and is
what differs between two screenshots. It is cut into pieces of some pixels. Of each piece the
contrast ratio of WCAG 2 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio) to the pixels beside it
is computed, within and outside of the outline; of the two the lower one counts. Of a line of two
tones the tone counts that stands out more, as WCAG's technique C40 has it. All of it again as
people without green cones see it (deuteranopia), by the matrix of Machado et al. 2009,
doi:10.1109/TVCG.2009.113.

With FOLDER, which holds ``busi/images`` and ``brain_mri``, real ultrasound and MR too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

LEAST = 3.0
"""What WCAG asks of parts of graphics."""

# For colours in linear light, severity 1.0.
_DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
_PIECE, _BESIDE, _CHANGED = 12, 6, 12
_PICTURES = ("benign/benign (17)", "benign/benign (34)", "malignant/malignant (21)",
             "malignant/malignant (27)")  # fmt: skip


def linear(colours: Any) -> NDArray[np.float64]:
    """Return sRGB colours in [0, 1] in linear light."""
    colours = np.asarray(colours, float)
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def without_green_cones(colours: Any) -> NDArray[np.float64]:
    """Return sRGB colours in [0, 1] as people with deuteranopia see them."""
    seen = np.clip(linear(colours) @ _DEUTERANOPIA.T, 0, 1)
    return np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)


def luminance(colours: Any) -> NDArray[np.float64]:
    """Return the relative luminance of sRGB colours in [0, 1]."""
    return linear(colours) @ np.array([0.2126, 0.7152, 0.0722])


def ratio(one: Any, other: Any) -> Any:
    """Return the contrast ratio of two relative luminances, 1 to 21."""
    return (np.maximum(one, other) + 0.05) / (np.minimum(one, other) + 0.05)


def contrasts(
    without: NDArray[Any], drawn: NDArray[Any], seen: Callable[[Any], Any] = np.asarray
) -> NDArray[np.float64]:
    """Return the contrast of each piece of a closed line to what is beside it.

    Parameters
    ----------
    without, drawn : ndarray of uint8, shape (rows, columns, 3)
        Screenshots without the line and with it.
    seen : callable
        Turns sRGB colours into those that somebody sees.
    """
    line = np.abs(drawn.astype(int) - without).max(axis=-1) > _CHANGED
    light = luminance(seen(drawn / 255))
    inside = ndi.binary_fill_holes(line) & ~line
    sides = inside, ~inside & ~line
    # So large that a piece of a line holds all of its width.
    side = int(np.clip(2 * ndi.distance_transform_edt(line).max(), _PIECE, 5 * _PIECE))
    found = []
    for rows in range(0, len(line), side):
        for columns in range(0, line.shape[1], side):
            if line[rows : rows + side, columns : columns + side].sum() < _PIECE:
                continue
            around = np.s_[
                max(rows - _BESIDE, 0) : rows + side + _BESIDE,
                max(columns - _BESIDE, 0) : columns + side + _BESIDE,
            ]
            tones = np.percentile(light[around][line[around]], (10, 90))
            beside = [light[around][side[around]] for side in sides]
            means = [side.mean() for side in beside if len(side) >= _PIECE]
            if means:
                found.append(min(max(ratio(tones, mean)) for mean in means))
    return np.array(found)


@dataclass(frozen=True)
class Case:
    """An image in the viewer, its truth, and the plane that is looked at."""

    name: str
    image: Any
    truth: Any
    axis: int = 0
    index: int = 0


def cases(viewer: Any, data: Path | None) -> Iterator[Case]:
    """Open one image after the other."""
    from PIL import Image

    for name in ("ct", "ultrasound", "shapes"):
        viewer.open_sample("napari-cam-sam", name)
        image, truth = viewer.layers
        yield Case(f"sample {name}", image, truth, 0, 11 if name == "ct" else 0)
    if data is None:
        return
    for name in _PICTURES:
        path = data / "busi" / "images" / f"{name}.png"
        (image,) = viewer.open(str(path), plugin="napari")
        with Image.open(path.with_stem(f"{path.stem}_mask")) as mask:
            white = np.asarray(mask.convert("L")) > 127
        truth = viewer.add_labels(white.astype(np.uint8), name="truth")
        yield Case(path.stem, image, truth)
    for axis, title in enumerate(("axial", "coronal", "sagittal")):
        stem = data / "brain_mri" / "brain1"
        (image,) = viewer.open(f"{stem}_image.nii.gz", plugin="napari-cam-sam")
        (truth,) = viewer.open(f"{stem}_label.nii.gz", plugin="napari-cam-sam")
        areas = np.moveaxis(np.asarray(truth.data) > 0, axis, 0).sum(axis=(1, 2))
        yield Case(f"brain1 {title}", image, truth, axis, int(areas.argmax()))


class Pictures:
    """Screenshots of one case with some of its layers."""

    def __init__(self, window: Any, case: Case, folder: Path | None) -> None:
        from napari_cam_sam.plugin.viewer.attach import workspace_of
        from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

        self.window, self.case, self.folder = window, case, folder
        self.workspace = workspace_of(window.viewer)
        window.pause()
        self.workspace.choose_image(case.image)
        self.workspace.choose_truth(case.truth)
        self.workspace.show_plane(case.axis, case.index)
        window.viewer.reset_view()
        window.pause()
        plane = self.workspace.image().plane_index(case.axis, case.index)
        mask = np.asarray(case.truth.data[plane]) > 0
        here = np.argwhere(mask)
        (top, left), (bottom, right) = here.min(axis=0) - 2, here.max(axis=0) + 2
        box = ObjectPrompt(1, box=Box(int(top), int(left), int(bottom), int(right), source="user"))
        self.workspace.prompts.write([PlanePrompts(case.axis, case.index, (box,))])
        heatmap = self.workspace.heatmaps.layer(case.axis, create=True)
        far = ndi.distance_transform_edt(~mask) / (0.12 * min(mask.shape))
        heatmap.data[plane] = np.exp(-(far**2) / 2)
        preview = self.workspace.layers.labels("preview")
        preview.data[plane] = mask
        for layer in (heatmap, preview):
            layer.refresh()
        self.layers = {
            "mask": preview,
            "truth": case.truth,
            "box": self.workspace.prompts.boxes,
            "heatmap": heatmap,
        }

    def take(self, *names: str) -> NDArray[np.uint8]:
        """Take a screenshot with some layers over the image."""
        for layer in self.window.viewer.layers:
            layer.visible = layer is self.case.image
        for name in names:
            self.layers[name].visible = True
        self.window.viewer.layers.selection.clear()
        self.window.pause(0.3)
        picture = np.asarray(self.window.viewer.screenshot(canvas_only=True, flash=False))[..., :3]
        if self.folder is not None:
            from PIL import Image

            path = self.folder / f"{'-'.join((self.case.name, *names))}.png"
            Image.fromarray(picture).save(path)
        return picture

    def rows(self) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
        """Yield of each line its contrasts, for all cones and without the green ones."""
        for below in ((), ("heatmap",)):
            without = self.take(*below)
            for name in ("mask", "truth", "box"):
                if below and name != "mask":
                    continue
                drawn = self.take(*below, name)
                yield (
                    " over ".join((name, *below)),
                    contrasts(without, drawn),
                    contrasts(without, drawn, without_green_cones),
                )


def _cell(values: NDArray[np.float64]) -> str:
    share = np.mean(values >= LEAST)
    return f"{np.median(values):.1f} / {np.percentile(values, 5):.1f} / {share:.0%}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder with busi/images and brain_mri")
    parser.add_argument("--output", type=Path, help="folder for the pictures; none without it")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
    from window import Window

    window = Window(None)
    print("contrast ratio: median / lowest 5 % / share of the line at 3 or more")
    print("| image | line | all cones | without green cones |\n|---|---|---|---|")
    for case in cases(window.viewer, arguments.data):
        # What was drawn on the same image before is not to be brought back.
        os.environ["NAPARI_CAM_SAM_SESSIONS"] = tempfile.mkdtemp()
        for name, *seen in Pictures(window, case, arguments.output).rows():
            print("|", " | ".join((case.name, name, *map(_cell, seen))), "|", flush=True)
        window.pause()
        window.viewer.layers.clear()
        window.pause()
    # Qt's own teardown after a script is no part of this.
    os._exit(0)


if __name__ == "__main__":
    main()
