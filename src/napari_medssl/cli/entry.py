"""The way in: parse the command line, run the command, turn its outcome into an exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from napari_medssl.cli.display import Human, Json, Sink
from napari_medssl.cli.parser import build_parser
from napari_medssl.config import ConfigError
from napari_medssl.errors import MedsslError
from napari_medssl.events import Failed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

DONE, FAILED, BAD_USAGE, STOPPED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `medssl` command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after ``medssl``; those of the process by default.

    Returns
    -------
    int
        0 done, 1 failed, 2 wrong command line or setting, 130 stopped (what was learned is kept).
    """
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as end:  # argparse has printed help, the version, or what is wrong
        return int(end.code or 0)
    if args.command is None:
        parser.print_help(sys.stderr)
        return BAD_USAGE
    from napari_medssl.cli.commands import COMMANDS  # not needed for --help

    sink: Sink = Json() if args.json else Human()
    try:
        return COMMANDS[args.command](args, sink)
    except ConfigError as error:
        sink(Failed(error=error.message, advice=error.advice))
        return BAD_USAGE
    except MedsslError as error:
        sink(Failed(error=error.message, advice=error.advice))
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nAborted. What the last checkpoint holds is kept.\n")
        return STOPPED
