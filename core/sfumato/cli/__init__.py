"""The command ``sfumato``: what the Python API can do, from a shell.

A command checks everything before it computes, in the order plugin, operator, options, prior,
input, output; writes its outputs whole or not at all; and answers once, for people or, with
``--json``, for scripts. What goes wrong because of what was typed, or of a file, is one line on
standard error and exit code 2. A traceback means a bug in sfumato or a plugin.

Commands are registered by import path, so that help, the version and the list of plugins need no
torch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from sfumato.cli.answers import complain, deliver
from sfumato.cli.commands import run
from sfumato.cli.failures import explained
from sfumato.records import recorded_command

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 2 for errors, 130 if interrupted.

    Args:
        arguments: Without the program's name; those of the process if not given.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in typed
    try:
        with recorded_command(typed):
            answer = run(typed)
        if answer is not None:
            deliver(answer, as_json=as_json)
    except BrokenPipeError:  # the reader, such as ``head``, has seen enough
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
        return 0
    except KeyboardInterrupt:
        complain("KeyboardInterrupt", "interrupted; nothing was overwritten", as_json=as_json)
        return 130
    except Exception as error:
        line = explained(error)
        if line is None:
            raise
        complain(type(error).__name__, line, as_json=as_json)
        return 2
    return 0
