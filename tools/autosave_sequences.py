"""Kill windows in the middle of random sequences of work, and look whether anything is lost.

Each sequence opens images (of one shape, of others, one twice, a series), places prompts, segments,
accepts, takes back, switches, deletes layers, and ends: the window is closed, or killed at once, at
a random moment, or between two steps of a write. Another process then opens the same images and
lists what is offered. Lost is work that

- had come to rest (the autosave's delay was over, and all that was asked for was written), and is
  in nothing that is offered, nor anything newer of the same image; or
- was replaced by less, as one of the last three such times, and is not offered beside it.

Run it under a display, e.g. ``xvfb-run -a python tools/autosave_sequences.py --sequences 200``. It
needs fork, so Linux or macOS. The exit status is 1 where anything was lost.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

warnings.filterwarnings("ignore")

DELAY = 0.05
KEPT = 3
"""So many generations stay beside the newest."""
KINDS = {
    "volume": ((6, 20, 24), 0), "same shape": ((6, 20, 24), 1), "same pixels": ((6, 20, 24), 0),
    "other shape": ((5, 16, 18), 2), "flat": ((20, 24), 3), "series": ((2, 4, 20, 24), 4),
}  # fmt: skip
OPERATIONS = {
    "open": 2, "prompt": 6, "point": 2, "segment": 5, "accept": 5, "accept all": 2, "undo": 1,
    "switch": 5, "frame": 1, "delete layer": 2, "delete work": 1, "delete image": 1,
    "delete all": 0.5, "rest": 5,
}  # fmt: skip
ENDS = ("close", "kill", "kill", "kill later", "kill later", "kill in a write", "kill in a write")
ENDLESS = 60.0

Tree = dict[str, Any]


def pixels(kind: str) -> np.ndarray:
    """Make an image with a bright square, which the seeded segmenter finds, in noise."""
    shape, seed = KINDS[kind]
    rng = np.random.default_rng(seed)
    data = rng.random(shape)
    data[..., 4:12, 5:14] += 3
    return data


# In the process with the window


class Journal:
    """What was done, line by line: a killed process has told of all that it did."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(self, **what: Any) -> None:
        """Write one line at once."""
        os.write(self._file, (json.dumps(what) + "\n").encode())


class Life:
    """One process with a window, from its opening to its end."""

    def __init__(self, seed: int, life: int, folder: Path, operations: int) -> None:
        from napari_cam_sam.plugin.session import manager
        from napari_cam_sam.plugin.state.preferences import Preferences

        soon = Preferences(autosave_seconds=DELAY)
        manager.preferences = lambda: soon
        self.rng = random.Random(f"{seed} {life}")
        self.journal = Journal(folder / "journal.jsonl")
        self.operations = operations
        self.life = life
        self.count = 0
        self.shown = seed % 20 == 0

    def run(self) -> None:
        """Open a window, work, and end."""
        import napari
        from qtpy.QtWidgets import QApplication

        from napari_cam_sam.plugin.segment.segment_dock import SegmentDock
        from napari_cam_sam.plugin.viewer.attach import workspace_of

        # One that is shown is painted by the processor, which takes most of the time.
        self.viewer = napari.Viewer(show=self.shown)
        self.app = QApplication.instance()
        self.kinds: dict[Any, str] = {}
        self.names: dict[Any, str] = {}
        self.workspace = workspace_of(self.viewer)
        self.dock = SegmentDock(self.viewer)
        self.dock.segmenter.choose("seeded")
        self.dock.live.setChecked(self.rng.random() < 0.5)
        self.open()
        if self.life:
            self.bring_back()
        end = self.rng.choice(ENDS)
        last = self.rng.randint(self.operations // 2, self.operations)
        for number in range(last):
            if number == last // 2 and end == "kill in a write":
                self.arm(self.rng.randint(1, 12))
            if number == last - 1 and end == "kill later":
                threading.Timer(self.rng.uniform(0, 0.3), kill).start()
            (name,) = self.rng.choices(list(OPERATIONS), list(OPERATIONS.values()))
            self.do(name)
        self.journal.tell(end=end)
        if end == "close":
            self.viewer.close()
            self.app.aboutToQuit.emit()  # as it is where the event loop ends
            os._exit(0)
        if end == "kill later":
            time.sleep(0.3)
        kill()

    def arm(self, step: int) -> None:
        """Be killed before or after one of the next steps of a write."""
        left, real_replace, real_unlink = [step], os.replace, os.unlink

        def counted(real: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] <= 0:
                    kill()
                return real(*args, **kwargs)

            return call

        os.replace, os.unlink = counted(real_replace), counted(real_unlink)

    def do(self, name: str) -> None:
        """Do one operation, and tell of it and of what there is after it."""
        from napari_cam_sam.errors import CamSamError

        try:
            done = getattr(self, name.replace(" ", "_"))()
        except CamSamError as error:
            done = str(error)
        except Exception:
            self.journal.tell(raised=traceback.format_exc()[-1500:], op=name)
            done = None
        self.live()
        self.tell_state()
        self.journal.tell(op=name, done=done is not False)

    def live(self) -> None:
        """Let the window live for a moment."""
        for _ in range(3):
            self.app.processEvents()

    def tell_state(self) -> None:
        """Tell of the work on the image that is worked on, if it differs from before."""
        layer = self.workspace.image_layer
        if layer is not None and layer in self.names:
            where = f"{self.names[layer]} {self.workspace.frame()}"
            kind, frame = self.kinds[layer], self.workspace.frame()
            self.journal.tell(at=where, kind=kind, frame=frame, state=state_of(self.workspace))

    # The operations; False where there was nothing to do

    def open(self) -> bool:
        """Open an image, as often as one likes, and work on it."""
        kind = self.rng.choice(list(KINDS)) if self.names else "volume"
        layer = self.viewer.add_image(pixels(kind), name=kind)
        self.count += 1
        self.kinds[layer] = kind
        self.names[layer] = f"{self.life}.{self.count} {kind}"
        self.workspace.choose_image(layer)
        self.live()
        return True

    def bring_back(self) -> None:
        """Take what an earlier process left, as the dock's button does."""
        rest(self.app)
        found = self.workspace.sessions.left
        if found is not None:
            whole = found.whole() if hasattr(found, "whole") else found.session
            self.workspace.sessions.take(found)
            self.live()
            rest(self.app)
            taken = of_session(whole)
            kind = self.kinds[self.workspace.image_layer]
            self.journal.tell(taken=taken, of=f"{kind} {self.workspace.frame()}")
            self.tell_state()
            self.journal.tell(rest=True, life=self.life, op="recover", done=True)

    def plane(self) -> tuple[int, int] | None:
        """Choose a plane of the image along its first axis, and show it."""
        if self.workspace.image_layer is None:
            return None
        shape = self.workspace.image().spatial_shape
        index = self.rng.randrange(shape[0]) if len(shape) == 3 else 0
        self.workspace.show_plane(0, index)
        self.workspace.shown.look_at_plane()
        return 0, index

    def prompt(self) -> bool:
        """Place a box."""
        from napari_cam_sam.prompts.data import Box, ObjectPrompt, PlanePrompts

        at = self.plane()
        if at is None:
            return False
        top, left = self.rng.randint(3, 5), self.rng.randint(3, 6)
        one = ObjectPrompt(self.rng.randint(1, 2), (), Box(top, left, top + 8, left + 9))
        self.workspace.prompts.write([PlanePrompts(*at, (one,))], "replace")
        return True

    def point(self) -> bool:
        """Add a point by hand."""
        at = self.plane()
        if at is None:
            return False
        points, _ = self.workspace.prompts.create()
        place = [self.rng.randint(4, 11), self.rng.randint(5, 13)]
        points.add(np.array([place if points.ndim == 2 else [at[1], *place]], float))
        return True

    def segment(self) -> bool:
        """Segment a plane that has prompts."""
        workspace = self.workspace
        if workspace.image_layer is None:
            return False
        planes = workspace.prompts.planes(0)
        if not planes:
            return False
        workspace.show_plane(0, self.rng.choice(planes))
        workspace.shown.look_at_plane()
        self.dock.segment()
        begun = time.monotonic()
        while self.dock.row.busy and time.monotonic() - begun < ENDLESS:
            self.app.processEvents()
        return True

    def accept(self) -> bool:
        """Accept what the preview holds on one plane."""
        masks = self.workspace.masks
        planes = masks.planes(0) if self.workspace.image_layer is not None else []
        return bool(planes and masks.accept(0, [self.rng.choice(planes)], "keep"))

    def accept_all(self) -> bool:
        """Accept all that the preview holds."""
        masks = self.workspace.masks
        planes = masks.planes(0) if self.workspace.image_layer is not None else []
        return bool(planes and masks.accept(0, planes, "overwrite"))

    def undo(self) -> bool:
        """Take an acceptance back, or the last edit of prompts."""
        if self.workspace.image_layer is None:
            return False
        if self.rng.random() < 0.5:
            return self.workspace.masks.undo_accept() > 0
        return bool(self.workspace.prompts.undo())

    def switch(self) -> bool:
        """Work on another image of those that are open."""
        others = [x for x in self.workspace.images() if x is not self.workspace.image_layer]
        if not others:
            return self.open()
        self.tell_state()
        self.workspace.choose_image(self.rng.choice(others))
        return True

    def frame(self) -> bool:
        """Show another point in time."""
        layer = self.workspace.image_layer
        if layer is None or layer.ndim < 4:
            return False
        self.tell_state()
        self.viewer.dims.set_point(0, 1 - (self.workspace.frame() or 0))
        return True

    def delete_layer(self) -> bool:
        """Delete one layer of the work."""
        roles = ("labels", "preview", "points", "boxes")
        there = [x for x in map(self.workspace.own, roles) if x is not None]
        if there:
            self.delete([self.rng.choice(there)])
        return bool(there)

    def delete_work(self) -> bool:
        """Delete all layers but the images."""
        images = set(self.workspace.images())
        return self.delete([x for x in self.viewer.layers if x not in images])

    def delete_image(self) -> bool:
        """Delete the image that is worked on."""
        layer = self.workspace.image_layer
        return layer is not None and self.delete([layer])

    def delete_all(self) -> bool:
        """Select all and delete."""
        return self.delete(list(self.viewer.layers))

    def delete(self, layers: list[Any]) -> bool:
        """Delete layers as the key does."""
        if not layers:
            return False
        self.tell_state()
        self.viewer.layers.selection = set(layers)
        self.viewer.layers.remove_selected()
        return True

    def rest(self) -> bool:
        """Wait until everything is saved that is saved by itself."""
        rest(self.app)
        self.journal.tell(rest=True, life=self.life)
        return True


def rest(app: Any) -> None:
    """Wait until no autosave is due and none is being written."""
    from qtpy.QtCore import QThreadPool

    for _ in range(2):
        until = (
            time.monotonic() + DELAY + 0.27
        )  # prompts settle a quarter of a second after an edit
        while time.monotonic() < until:
            app.processEvents()
            time.sleep(0.002)
        QThreadPool.globalInstance().waitForDone()
        app.processEvents()


def kill() -> None:
    """End at once, as the system does where memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def state_of(workspace: Any) -> Tree:
    """Describe the work on the image worked on, in words that a session can be described in."""
    image = workspace.image()
    prompts = [p for axis in image.axes for p in workspace.prompts.read_all(axis)]
    labels = workspace.own("labels")
    return described(
        prompts,
        workspace.masks.standing(),
        None if labels is None else labels.data,
        [i for axis in image.axes for i in workspace.masks.planes(axis)],
    )


def of_session(session: Any) -> Tree:
    """Describe what was saved."""
    masks = [one["index"] for one in session.choices.get("masks", [])]
    return described(session.prompts, session.accepted, session.labels, masks)


def described(prompts: Any, accepted: Any, labels: Any, masks: list[int]) -> Tree:
    """Describe work: what lies on which plane, by hashes."""
    planes = {} if labels is None else {
        str(i): digest(np.asarray(plane, np.int64).tobytes())
        for i, plane in enumerate(np.asarray(labels).reshape(-1, *np.shape(labels)[-2:]))
        if plane.any()
    }  # fmt: skip
    return {
        "prompts": {f"{p.axis} {p.index}": digest(repr(p).encode()) for p in prompts if p.objects},
        "accepted": sorted(a.prompts.index for a in accepted),
        "labels": planes,
        "masks": sorted(masks),
    }


def digest(data: bytes) -> str:
    """Shorten what is compared."""
    return hashlib.sha256(data).hexdigest()[:12]


# In the process that comes after


def look(kinds: list[tuple[str, int | None]], answer: Path) -> None:
    """Open images, and list what is offered for each."""
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QApplication

    from napari_cam_sam.plugin.session import manager
    from napari_cam_sam.plugin.state.preferences import Preferences
    from napari_cam_sam.plugin.viewer.attach import workspace_of

    off = Preferences(autosave=False)
    manager.preferences = lambda: off
    app = QApplication.instance() or QApplication([])
    offers: dict[str, list[Tree]] = {}
    for kind, frame in kinds:
        viewer = ViewerModel()
        viewer.add_image(pixels(kind), name=kind)
        workspace = workspace_of(viewer)
        if frame is not None:
            viewer.dims.set_point(0, frame)
            workspace.shown.look_at_plane()
        there = offers.setdefault(f"{kind} {frame}", [])
        for _ in range(50):
            heard(app)
            found = workspace.sessions.left
            if found is None:
                break
            for one in (found, *getattr(found, "older", ())):
                whole = one.whole() if hasattr(one, "whole") else one.session
                there.append(of_session(whole))
            workspace.sessions.discard(found)  # the next that was left is offered then
    answer.write_text(json.dumps(offers))


def heard(app: Any) -> None:
    """Wait until threads are done and heard."""
    from qtpy.QtCore import QThreadPool

    for _ in range(2):
        QThreadPool.globalInstance().waitForDone()
        app.processEvents()


# In the process that drives both


def in_process(work: Any) -> int:
    """Do something in a process of its own; give how it ended, a signal as a negative number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def holds(one: Tree, other: Tree) -> bool:
    """Tell whether one state has something on every plane where another has."""
    return all(set(other[part]) <= set(one[part]) for part in other)


def losses(lines: list[Tree], offers: dict[str, list[Tree]], masks: bool) -> list[str]:
    """List what was at rest and is not offered.

    Parameters
    ----------
    lines : list
        The journal.
    offers : dict
        By kind of image and frame.
    masks : bool
        Whether sessions hold masks that were not accepted.
    """
    parts = ("prompts", "accepted", "labels", *(("masks",) if masks else ()))

    def cut(state: Tree) -> Tree:
        # An accepted mask waits no more, and is not missed where it did.
        whole = state | {"masks": sorted({*state["masks"], *state["accepted"]})}
        return {part: whole[part] for part in parts}

    timelines: dict[str, list[Tree]] = {}
    of: dict[str, str] = {}
    rested: dict[str, list[int]] = {}
    for line in lines:
        if "state" in line:
            states, state = timelines.setdefault(line["at"], []), cut(line["state"])
            of[line["at"]] = f"{line['kind']} {line['frame']}".replace("same pixels", "volume")
            if not states or states[-1] != state:
                states.append(state)
        elif line.get("rest"):
            # Of the window that rests: what an earlier one had not saved is gone with it.
            own = f"{line['life']}."
            for at, states in ((a, s) for a, s in timelines.items() if a.startswith(own)):
                rested.setdefault(at, []).append(len(states) - 1)
        elif "taken" in line:
            # What was brought back goes on as other work: where that is at rest, it is in that.
            found = cut(line["taken"])
            for at in [
                at for at in rested if of[at] == line["of"].replace("same pixels", "volume")
            ]:
                if holds(found, timelines[at][rested[at][-1]]):
                    del rested[at]
    pool: dict[str, list[Tree]] = collections.defaultdict(list)
    for key, found in offers.items():
        pool[key.replace("same pixels", "volume")] += [cut(one) for one in found]
    lost = []
    for at, indices in rested.items():
        states, there = timelines[at], pool[of[at]]
        last = states[indices[-1]]
        newer = any(one in there for one in states[indices[-1] :])
        if any(last.values()) and not newer and not any(holds(one, last) for one in there):
            lost.append(f"{at}: at rest, and not offered: {last}")
        less = [i for i in range(len(states) - 1) if not holds(states[i + 1], states[i])]
        lost += [
            f"{at}: replaced by less, and not offered: {states[i]}"
            for i in set(indices[:-1])
            if 0 < sum(j >= i for j in less) < KEPT and any(states[i].values())
            if not any(holds(one, states[i]) for one in there)
        ]
    return lost


def sequence(seed: int, operations: int, masks: bool) -> Tree:
    """Run one sequence; give what was done and what was lost."""
    with tempfile.TemporaryDirectory(prefix="autosaves-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ["NAPARI_CAM_SAM_SESSIONS"] = str(folder / "autosaves")
        os.environ["NAPARI_CAM_SAM_CACHE"] = str(folder / "cache")
        lives = 1 + (random.Random(seed).random() < 0.25)
        ends = [
            in_process(lambda life=life: Life(seed, life, folder, operations).run())
            for life in range(lives)
        ]
        text = (folder / "journal.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        kinds = sorted({(x["kind"], x["frame"]) for x in lines if "state" in x}, key=str)
        answer = folder / "offers.json"
        looked = in_process(lambda: look(kinds, answer))
        offers = json.loads(answer.read_text()) if looked == 0 else {}
        lost = losses(lines, offers, masks)
        if looked:
            lost.append(f"the process that looks ended with {looked}")
        lost += [f"a window ended with {end}" for end in ends if end not in (0, -signal.SIGKILL)]
    return {
        "operations": [x["op"] for x in lines if x.get("done")],
        "raised": [x for x in lines if "raised" in x],
        "kills": ends.count(-signal.SIGKILL),
        "closed": ends.count(0),
        "rests": sum(bool(x.get("rest")) for x in lines),
        "offers": sum(map(len, offers.values())),
        "lost": lost,
    }


def main(argv: list[str] | None = None) -> int:
    """Run sequences and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--operations", type=int, default=24, help="most of one sequence")
    parser.add_argument("--show", action="store_true", help="each loss as it is found")
    given = parser.parse_args(argv)
    # Imported once, before any window: each process is a copy of this one.
    import napari._qt.qt_main_window
    import napari.components  # noqa: F401

    import napari_cam_sam
    import napari_cam_sam.pipeline.outputs
    from napari_cam_sam.plugin.segment import segment_dock  # noqa: F401
    from napari_cam_sam.plugin.session import manager  # noqa: F401
    from napari_cam_sam.plugin.state import workspace  # noqa: F401
    from napari_cam_sam.plugin.state.mask_layers import MaskLayers

    masks = hasattr(MaskLayers, "held")
    total: collections.Counter[str] = collections.Counter()
    kinds: collections.Counter[str] = collections.Counter()
    losing, begun = [], time.monotonic()
    for seed in range(given.first, given.first + given.sequences):
        found = sequence(seed, given.operations, masks)
        kinds.update(found["operations"])
        for name in ("kills", "closed", "rests", "offers"):
            total[name] += found[name]
        total["lost"] += len(found["lost"])
        total["raised"] += len(found["raised"])
        if found["lost"]:
            losing.append(seed)
        if given.show:
            for line in (*found["lost"], *(x["raised"] for x in found["raised"])):
                print(f"{seed}: {line}", flush=True)
    print(f"package      {Path(napari_cam_sam.__file__).parent}" if given.show else "", end="\n")
    print(f"sequences    {given.sequences}, seeds from {given.first}")
    print(f"operations   {sum(kinds.values())}: " + ", ".join(f"{v} {k}" for k, v in kinds.items()))
    print(f"ends         {total['kills']} killed, {total['closed']} closed")
    print(f"came to rest {total['rests']} times")
    print(f"offered      {total['offers']} saves in {given.sequences} later processes")
    print(f"exceptions   {total['raised']}")
    print(f"losses       {total['lost']}, in sequences {losing}")
    print(f"seconds      {time.monotonic() - begun:.0f}")
    return 1 if total["lost"] or total["raised"] else 0


if __name__ == "__main__":
    sys.exit(main())
