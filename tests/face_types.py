"""The face is typed: mypy, with `make check`, knows what each of these is and none is Any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import napari_cam_sam
from napari_cam_sam import (
    Box,
    Geometry,
    Image,
    ObjectPrompt,
    PlanePrompts,
    Point,
    PromptParameters,
    Session,
    Window,
    apply_window,
    prompts_from_mask,
    read_image,
    read_labels,
    read_session,
    resolve_window,
)


def the_face(plane: NDArray[Any], mask: NDArray[np.bool_]) -> None:
    image = read_image("scan.nii.gz")
    assert_type(image, Image)
    assert_type(image.geometry, Geometry)
    assert_type(read_labels("labels.nii.gz"), Image)
    assert_type(resolve_window(image), Window)
    assert_type(apply_window(plane, resolve_window(image)), NDArray[np.uint8])
    prompts = prompts_from_mask(mask, PromptParameters())
    assert_type(prompts, PlanePrompts)
    assert_type(prompts.objects, tuple[ObjectPrompt, ...])
    assert_type(prompts.objects[0].points, tuple[Point, ...])
    assert_type(prompts.objects[0].box, Box | None)
    assert_type(read_session("folder"), Session)
    assert_type(napari_cam_sam.__version__, str)


load: Callable[..., Image] = napari_cam_sam.read_image
