"""A study of many images.

Every image is run with every setting of a grid, and all scores stand in one tidy table. Started
again, the study goes on where it was stopped. `napari-cam-sam study lesions.yaml` is the same.
"""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from napari_cam_sam.studies.config.plan import read_study
from napari_cam_sam.studies.run.runner import run_study

Path("lesions.yaml").write_text("""\
dataset:
  layout: phantoms
  path: phantoms
  kind: ultrasound
  count: 4
grid:
  classifiers: [lesion]
  targets: [lesion]
  methods: [layer-cam, grad-cam]
  strategies: [ours, truth-box]
  segmenters: [compact-sam]
""")

if __name__ == "__main__":
    run_study(read_study("lesions.yaml"), "lesions-study")

    table = pd.read_parquet("lesions-study/results.parquet")
    dice = table[(table.metric == "dice") & (table.object == 0) & (table.plane >= 0)]
    print(dice.groupby("setting").value.agg(["count", "mean", "min", "max"]).round(3))

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    names, values = zip(
        *((name, rows.value) for name, rows in dice.groupby("setting")), strict=True
    )
    axes.boxplot(values, orientation="horizontal", tick_labels=names)
    axes.set_xlabel("Dice")
    figure.savefig("study_of_many_images.png")
