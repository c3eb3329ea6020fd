"""Blocking. The command `syncd`: parse, ask the daemon, print. The library does the work.

`main` is the only place that turns exceptions into messages and exit codes. Imports are kept few on purpose: the time a
person waits for `syncd status` is mostly the time Python needs to load modules.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn

_INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line of this process."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Errors are printed: three lines, or one object with --json."""
    gc.disable()  # what is loaded stays: looking for circles in it is a tenth of a command's time (`session.Command`)
    from syncd.cli.parsing import understood

    try:
        run = understood(arguments)
        code = _with_typer(arguments) if run is None else run()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, EOFError):
        print(file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        from syncd.cli.terminal import standard_streams_survive_closing

        standard_streams_survive_closing()
        return 1
    except Exception as error:  # the command line's own border: whatever it is, a person gets three lines
        from syncd.cli.failure import print_failure

        return print_failure(error, arguments)


def _with_typer(arguments: Sequence[str]) -> object:
    import typer

    from syncd.cli.root import application

    try:
        return application().main(args=list(arguments), prog_name="syncd", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except typer.Exit as end:
        return end.exit_code
