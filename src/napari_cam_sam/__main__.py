"""``python -m napari_cam_sam`` is the command line."""

import os
import sys

# Python searches the working folder first for what -m starts; a folder that was received must not
# bring modules of its own.
if sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from napari_cam_sam.cli import main

sys.exit(main())
