"""One scoring of the dock: what it is of, and what was found so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_cam_sam.images.geometry import Geometry
from napari_cam_sam.images.image import Image
from napari_cam_sam.plugin.scores.score_rows import Key, Subject, missing

if TYPE_CHECKING:
    from napari_cam_sam.evaluation.score_steps import (
        ScoredRow,
        ScoringInput,
        SliceScores,
        VolumeScores,
    )

__all__ = ["LeftScores", "ScoringRun"]


@dataclass(eq=False)
class ScoringRun:
    """What is scored, and what was found.

    Attributes
    ----------
    key : tuple
        The choices of that time, see `ScoreInputs.key`.
    subject : Subject
        The same in words, for whoever reads the table.
    job : ScoringInput
    agreement : ndarray of uint8, shape of the image's grid
    marks : dict of int to int
        Of what each plane was scored, see `SliceScores`.
    rows : list of ScoredRow
    volume : VolumeScores or None
    words : str
        What the dock says of it.
    stopped : str
        That it was stopped, and where; empty where it was not.
    wanted : bool
        False once the table holds something else, e.g. another image's rows.
    heatmap_notes : list
        See `ScoreInputs.heatmap_notes`.
    """

    key: tuple[Any, ...]
    subject: Subject
    job: ScoringInput
    agreement: Any
    marks: dict[int, int] = field(default_factory=dict)
    rows: list[ScoredRow] = field(default_factory=list)
    volume: VolumeScores | None = None
    words: str = ""
    stopped: str = ""
    wanted: bool = True
    heatmap_notes: list[Any] = field(default_factory=list)

    def keep(self, step: Any) -> None:
        """Take a step of the scoring."""
        if hasattr(step, "mark"):
            self.agreement[self.job.image.plane_index(self.job.axis, step.index)] = step.agreement
            self.marks[step.index] = step.mark
            self.rows += [step.row] if step.row is not None else []
        else:
            self.rows += step.rows
            self.volume = step

    def of_plane(self, index: int, prediction: Any, truth: Any) -> ScoringInput:
        """Return the scoring of a plane alone, cut out of both layers as they are now."""
        job, geometry = self.job, self.job.image.geometry
        heat = job.heat(index)
        flat = Geometry(geometry.plane_spacing(job.axis), unit=geometry.unit)
        return replace(
            job, image=Image(prediction, False, flat, job.image.name), axis=0,
            prediction=prediction, truth=truth, heatmap=None if heat is None else heat[None],
            heatmap_planes=() if heat is None else (0,),
        )  # fmt: skip

    def replace_plane(self, index: int, found: SliceScores) -> ScoredRow | None:
        """Put what was found of a plane alone in the place of what was known; set the words."""
        edited = index in self.marks  # else the scoring was stopped before it came here
        row, flat = found.row, self.job.image.spatial_ndim == 2
        if row is not None and not flat:
            row = replace(row, kind="plane", number=index, plane=index)
        mine = ("image", 0) if flat else ("plane", index)
        self.rows = [r for r in self.rows if (r.kind, r.number) != mine]
        self.rows += [row] if row is not None else []
        self.marks[index] = found.mark
        self.agreement[self.job.image.plane_index(self.job.axis, index)] = found.agreement
        dice = "both empty" if row is None else f"Dice {row.scores.values['dice']:.3f}"
        where = "" if flat else f"Slice {index}: "
        after = ", after your edit" if edited else ""
        said = (f"{where}{dice}{after}.", self.stopped, "Press Score to update the rest.")
        self.words = " ".join(one for one in said if one)
        return row

    def summarise(self, complete: bool) -> None:
        """Set the words: what was found, and what of the truth nobody segmented."""
        planes = [row for row in self.rows if row.kind in ("plane", "image")]
        done, total = len(self.marks), self.job.image.n_planes(self.job.axis)
        if not complete:
            self.words = self.stopped = f"Stopped after {done} of {total} slices."
            return
        if not planes:
            self.words = "Nothing to score: both layers are empty."
            return
        whole = next(row for row in self.rows if row.kind in ("volume", "image"))
        said = [f"Dice {whole.scores.values['dice']:.3f}"]
        if total > 1:
            said[0] += f", {len(planes)} of {total} slices are not empty"
        if whole.empty_planes:
            counts = "counts" if whole.empty_planes == 1 else "count"
            said.append(f"{missing(whole)} and {counts} as missed")
        self.words = "; ".join(said) + "."


@dataclass(frozen=True)
class LeftScores:
    """What the table held of an image when another one was chosen.

    Attributes
    ----------
    state : ScoringRun or None
        None where the rows were not scored in this dock.
    rows : list of ScoredRow
    subject : Subject or None
    older : frozenset
        Which rows were of before the last edit.
    rows_from : str
        Where rows are from that were not scored in this dock.
    """

    state: ScoringRun | None = None
    rows: list[ScoredRow] = field(default_factory=list)
    subject: Subject | None = None
    older: frozenset[Key] = frozenset()
    rows_from: str = ""
