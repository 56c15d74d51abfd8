"""The same engine without a screen: ``napari-cam-sam COMMAND``."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence

from napari_cam_sam import __version__
from napari_cam_sam.cli.cache import add_cache_commands
from napari_cam_sam.cli.convert import add_convert_command
from napari_cam_sam.cli.demo import add_demo_command
from napari_cam_sam.cli.measure import add_measure_command
from napari_cam_sam.cli.metrics import add_metrics_command
from napari_cam_sam.cli.models import add_models_command
from napari_cam_sam.cli.printing import warnings_as_notes
from napari_cam_sam.cli.prompts import add_prompts_command
from napari_cam_sam.cli.replay import add_replay_command
from napari_cam_sam.cli.run import add_run_command
from napari_cam_sam.cli.series import add_series_command
from napari_cam_sam.cli.shared import Parser
from napari_cam_sam.cli.study import add_study_command
from napari_cam_sam.cli.study_report import add_report_command
from napari_cam_sam.cli.train import add_train_command
from napari_cam_sam.cli.trust import add_trust_command
from napari_cam_sam.errors import DEBUG_VARIABLE, CamSamError, show_traceback
from napari_cam_sam.text import PRINTED

__all__ = ["main"]

# In the order of --help.
_COMMANDS = (
    add_demo_command,
    add_run_command,
    add_trust_command,
    add_metrics_command,
    add_measure_command,
    add_prompts_command,
    add_series_command,
    add_convert_command,
    add_replay_command,
    add_models_command,
    add_cache_commands,
    add_study_command,
    add_report_command,
    add_train_command,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        By default the process's own arguments.

    Returns
    -------
    int
        0; 2 after one line on standard error for what a user can put right; 1 after one line for
        a fault of ours, see `DEBUG_VARIABLE`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A console of an old code page shows "?" for what it lacks, and goes on.
            stream.reconfigure(errors=PRINTED)
    try:
        arguments = _parser().parse_args(argv)
        arguments.argv = list(sys.argv[1:] if argv is None else argv)
        command: Callable[[argparse.Namespace], None] = arguments.command
        with warnings_as_notes():
            command(arguments)
    except CamSamError as error:
        return _refused(str(error), error, 2)
    except KeyboardInterrupt as stop:
        print(f"napari-cam-sam: stopped; {str(stop) or 'nothing was written'}.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output, e.g. `head`, has seen enough.
        sys.stderr.close()
        return 0
    except MemoryError as error:
        return _refused("The memory does not suffice: close other programs.", error, 2)
    except OSError as error:
        where = "" if error.filename is None else f" ({error.filename})"
        return _refused(f"{error.strerror or error}{where}.", error, 2)
    except Exception as error:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _refused(
            f"unexpected {text[:300].rstrip('.')}. Please report it with what "
            f"{DEBUG_VARIABLE}=1 shows before this line.",
            error,
            1,
        )
    return 0


def _refused(sentence: str, error: BaseException, status: int) -> int:
    """Print one line on standard error, after the traceback where it is asked for."""
    if status == 1 or not isinstance(error, CamSamError):
        show_traceback(error)
    print("napari-cam-sam: " + " ".join(sentence.split()), file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="napari-cam-sam",
        description="From an image to class activation maps, prompts, Segment Anything masks and "
        "scores, without a window.",
        epilog="napari-cam-sam COMMAND --help shows the options of a command.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", title="commands", parser_class=Parser
    )
    for add in _COMMANDS:
        add(commands)
    return parser
