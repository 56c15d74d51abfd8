"""Segment a real volume from its truth's boxes in the window, along each of its three axes.

    xvfb-run -a -s "-screen 0 1500x1000x24" .venv/bin/python tools/three_axes.py \
        IMAGE.nii.gz TRUTH.nii.gz --output FOLDER

For each axis: prompts from the truth on every plane, masks, all accepted, scored, and saved through
napari; a picture with the truth's outline over the labels; and what the saved file's grid is.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from pathlib import Path

import nibabel
import numpy as np
from napari.utils import DirectLabelColormap

from napari_cam_sam.metrics.overlap import overlap
from window import Window, dices


def main() -> None:
    """Print a line an axis."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--segmenter", default="compact-sam")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["NAPARI_CAM_SAM_SESSIONS"] = tempfile.mkdtemp()
    arguments.output.mkdir(parents=True, exist_ok=True)
    window = Window(arguments.output)
    viewer = window.viewer
    (image,) = viewer.open(arguments.image, plugin="napari-cam-sam")
    (truth,) = viewer.open(arguments.truth, plugin="napari-cam-sam", layer_type="labels")
    truth.contour, truth.opacity = 2, 1.0
    truth.colormap = DirectLabelColormap(color_dict={None: "cyan", 0: "transparent"})
    _, way = viewer.window.add_plugin_dock_widget("napari-cam-sam", "CAM → SAM")
    way.workspace.choose_image(image)
    way.segment.segmenter.choose(arguments.segmenter)
    way.prompts.truth.layer.set_value(truth)
    source = nibabel.load(arguments.image)
    for axis in range(3):
        counts = np.count_nonzero(truth.data, axis=tuple(a for a in range(3) if a != axis))
        way.workspace.show_plane(axis, int(counts.argmax()))
        window.pause()
        way.prompts.extract_from_truth(everywhere=True)
        window.wait(lambda: not way.prompts.row.busy)
        way.segment.segment_all()
        window.wait(lambda: not way.segment.row.busy, seconds=600)
        window.press(way.segment.review.accept_all)
        labels = way.workspace.own("labels")
        for name in ("boxes", "points", "preview"):
            layer = way.workspace.own(name)
            if layer is not None:
                layer.visible = False
        viewer.layers.selection.active = truth
        viewer.layers.move(viewer.layers.index(truth), len(viewer.layers))
        viewer.reset_view()
        window.picture(f"axis-{axis}")
        planes = dices(truth.data, labels.data, axis)
        volume = overlap(labels.data > 0, truth.data > 0).dice
        saved = arguments.output / f"axis-{axis}.nii.gz"
        viewer.layers.selection = {labels}
        viewer.layers.save(str(saved), selected=True, plugin="napari-cam-sam")
        back = nibabel.load(saved)
        same = (
            back.shape == source.shape
            and np.array_equal(back.affine, source.affine)
            and nibabel.aff2axcodes(back.affine) == nibabel.aff2axcodes(source.affine)
            and np.array_equal(np.asarray(back.dataobj).transpose(), labels.data)
        )
        print(
            f"axis {axis}: {len(planes)} planes, mean Dice {np.mean(list(planes.values())):.3f}, "
            f"volume {volume:.3f}; saved file on the source's grid "
            f"{nibabel.aff2axcodes(back.affine)}: {same}",
            flush=True,
        )
        viewer.layers.remove(labels)
        viewer.layers.remove(way.workspace.own("boxes"))
        viewer.layers.remove(way.workspace.own("points"))
    os._exit(0)


if __name__ == "__main__":
    main()
