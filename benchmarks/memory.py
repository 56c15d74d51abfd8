"""Peak memory of whole runs over a 512 × 512 × 600 int16 volume on disk, Python and torch included.

    python benchmarks/memory.py

Each run is a process of its own; the peak is what the operating system reports for it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

RUNS = {
    "5 planes, whole way": ["--planes", "300:305"],
    "600 planes, whole way": [],
}
CHILD = """
import resource, sys
from napari_cam_sam.cli import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def main() -> None:
    """Make the volume, run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--planes", type=int, default=600)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii"
        rng = np.random.default_rng(0)
        plane = rng.integers(-1000, 1000, (512, 512), dtype=np.int16)
        volume = np.memmap(
            Path(folder) / "raw", np.int16, "w+", shape=(512, 512, args.planes), order="F"
        )
        for k in range(args.planes):
            volume[..., k] = np.roll(plane, k, axis=0)
        nib.save(nib.Nifti1Image(volume, np.diag([0.7, 0.7, 1.0, 1.0])), path)
        for name, options in RUNS.items():
            if "300" in str(options) and args.planes < 305:
                options = ["--planes", f"0:{min(5, args.planes)}"]
            begin = time.perf_counter()
            done = subprocess.run(
                [
                    sys.executable, "-c", CHILD, "run", str(path), "--classifier", "lesion",
                    "--target", "lesion", "--sam", "compact-sam", "--window", "ct-abdomen",
                    "--output", str(Path(folder) / "out"), "--json", *options,
                ],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                sys.exit(done.stderr)
            peak = int(done.stderr.split()[-1]) / 1e6
            found = json.loads(done.stdout)["prompts"]["planes"]
            evident = sum(bool(plane["objects"]) for plane in found)
            print(
                f"{name}: peak {peak:.2f} GB, {time.perf_counter() - begin:.0f} s; "
                f"{evident} of {len(found)} planes with a heatmap that gave prompts and a mask",
                flush=True,
            )


if __name__ == "__main__":
    main()
