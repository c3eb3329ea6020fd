"""Blocking. The command `syncd`: parse, ask the daemon, print. The library does the work.

`main` is the only place that turns exceptions into messages and exit codes. Imports are kept few on purpose: the time a
person waits for `syncd status` is mostly the time Python needs to load modules.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

_INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line of this process."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Errors are printed: three lines, or one object with --json."""
    import typer

    from syncd.cli.root import application

    try:
        code = application().main(args=list(arguments), prog_name="syncd", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        print(file=sys.stderr)
        return _INTERRUPTED
    except typer.Exit as end:
        return end.exit_code
    except BrokenPipeError:
        from syncd.cli.terminal import standard_streams_survive_closing

        standard_streams_survive_closing()
        return 1
    except Exception as error:  # the command line's own border: whatever it is, a person gets three lines
        from syncd.cli.failure import print_failure

        return print_failure(error, arguments)
