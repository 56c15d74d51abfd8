"""The same engine without a screen: ``napari-cam-sam COMMAND``."""

from napari_cam_sam.cli.commands import main

__all__ = ["main"]
