"""``python -m napari_cam_sam`` is the command line."""

import sys

from napari_cam_sam.cli import main

sys.exit(main())
