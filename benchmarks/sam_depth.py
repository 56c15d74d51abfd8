"""All tables of speed, memory, cache and volumes of Segment Anything, one after the other.

    python benchmarks/sam_depth.py --micro-sam-python /path/to/its/bin/python
    python benchmarks/sam_depth.py --short

Each table is printed by a script of its own, which says what it measures and how.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLES = ("sam_speed", "embedding_cache", "first_mask", "propagation", "automatic")


def main() -> None:
    """Run the scripts that were asked for; the first that fails ends it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=TABLES, metavar="TABLE", help=str(TABLES))
    parser.add_argument("--micro-sam-python", metavar="PATH", help="with micro-sam installed")
    parser.add_argument("--brain", metavar="FOLDER", help="of brain1_image.nii.gz and its label")
    parser.add_argument("--short", action="store_true", help="small forms of all, in seconds each")
    options = parser.parse_args()
    for name in options.tables:
        command = [sys.executable, str(HERE / f"{name}.py")]
        command += ["--short"] * options.short
        if name == "sam_speed" and options.micro_sam_python:
            command += ["--micro-sam-python", options.micro_sam_python]
        if name == "propagation" and options.brain:
            command += ["--brain", options.brain]
        print(f"\n== {name}", flush=True)
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        print(f"== {name}: {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
