"""A table as a study of 51 lesions writes it, with what is drawn at random known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

COLUMNS = (
    "study", "case", "group", "split", "label", "axis", "plane", "object", "setting", "classifier",
    "method", "layers", "target", "source", "strategy", "segmenter", "mask_choice", "mask_from",
    "preprocessing", "step", "status", "reason", "metric", "value",
)  # fmt: skip


def rows_of(case, setting, values, *, status="ok", reason="", step=0, **more):
    """One row a metric; `setting` is a mapping of factors with the setting's name."""
    base = dict.fromkeys(COLUMNS, "")
    base |= {"study": "s", "axis": 0, "plane": 0, "object": 0, "step": step}
    base |= {"case": case, "status": status, "reason": reason, **setting, **more}
    return [{**base, "metric": metric, "value": value} for metric, value in values.items()]


def frame(rows):
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": "float64"})


def factors(name, source="cam", **more):
    return {"setting": name, "source": source, "segmenter": "seeded", "mask_choice": "best"} | more


def lesion_table(n_cases=51, n_settings=4, seed=0, annotator=True, groups=True):
    """CAM settings of rising quality on two segmenters, prompts from the truth, an annotator."""
    rng = np.random.default_rng(seed)
    methods, strategies = ("layer-cam", "hirescam"), ("s1", "ours")
    settings = []
    for i in range(n_settings):
        method, strategy = methods[i % 2], strategies[i // 2 % 2]
        extra = "" if i < 4 else f" {i}"
        settings.append(
            factors(
                f"{method}, {strategy}{extra}", classifier="lesion", method=method, layers="layer3",
                strategy=strategy + extra, mask_from="prompts",
            )
        )  # fmt: skip
    settings.append(factors("truth-box", "truth", strategy="truth-box"))
    rows = []
    for n in range(n_cases):
        malignant = n % 5 > 1
        kind = "malignant" if malignant else "benign"
        case = {
            "split": "test", "label": kind, "group": f"patient {n // 2}" if groups else "",
        }  # fmt: skip
        name = f"{kind} ({n + 1})"
        hard = rng.normal(-0.3 if malignant else 0.2, 0.6)
        for i, setting in enumerate(settings):
            truth = setting["source"] == "truth"
            level = 1.6 if truth else -0.2 + 1.2 * i / max(1, n_settings - 1)
            dice = float(1 / (1 + np.exp(-(level + hard + rng.normal(0, 0.5)))))
            nothing = not truth and rng.random() < 0.05
            if nothing:
                dice = 0.0
            if n == 7 and i == 0:
                rows += rows_of(
                    name, setting, {"": np.nan}, status="failed",
                    reason="The truth has shape (4, 4) but the image (8, 8).", **case,
                )  # fmt: skip
                continue
            values = {"dice": dice, "iou": dice / (2 - dice)}
            values["hd95"] = np.inf if nothing else 60 * (1 - dice)
            if not truth:
                values["fg_hit_rate"] = np.nan if nothing else float(dice > 0.3)
            rows += rows_of(
                name, setting, values,
                status="no-prompt" if nothing else "ok",
                reason=f"no region above {rng.random():.2f}" if nothing else "", **case,
            )  # fmt: skip
        for method in methods[: min(2, n_settings)]:
            heat = factors(
                f"heatmap/{method}", "heatmap", segmenter="", mask_choice="", classifier="lesion",
                method=method, layers="layer3",
            )  # fmt: skip
            area = float(rng.uniform(0.1, 0.3) if malignant else rng.uniform(0.03, 0.15))
            hit = float(rng.random() < 0.75)
            auprc = float(rng.uniform(area, 1))
            values = {"auprc": auprc, "prevalence": area, "pointing_hit": hit, "auc_judd": 0.8}
            rows += rows_of(name, heat, values, **case)
        if annotator:
            for step in range(1, 10):
                dice = float(1 / (1 + np.exp(-(0.2 + 0.18 * step + hard + rng.normal(0, 0.3)))))
                rows += rows_of(
                    name, factors("annotator", "annotator", strategy="s4"),
                    {"dice": dice, "iou": dice / (2 - dice)}, step=step, **case,
                )  # fmt: skip
    return frame(rows)


@pytest.fixture(scope="session")
def lesions():
    return lesion_table()


@pytest.fixture(scope="session")
def make_table():
    """Make a table of any size."""
    return lesion_table


@pytest.fixture(scope="session")
def small_table():
    """Make a table of a value for each setting and case: ``{setting: [value, ...]}``."""

    def make(values, groups=None, metric="dice", sources=None):
        rows = []
        for setting, column in values.items():
            source = (sources or {}).get(setting, "cam")
            for i, value in enumerate(column):
                group = "" if groups is None else groups[i]
                rows += rows_of(
                    f"case {i}", factors(setting, source), {metric: value}, group=group, label="a"
                )
        return frame(rows)

    return make


@pytest.fixture(scope="session")
def make_rows():
    return rows_of, factors, frame
