"""What needs no torch starts fast and imports none."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

Answer = Callable[[], dict]
Failure = Callable[..., str]


@pytest.mark.parametrize(
    "typed",
    [["--help"], ["--version"], ["plugins"], ["reconstruct", "--help"], ["finetune", "--help"]],
    ids=" ".join,
)
def test_help_version_and_the_list_of_plugins_import_no_torch(typed: list[str]) -> None:
    code = (
        "import sys; from sfumato.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or ('torch' in sys.modules or 'numpy' in sys.modules) * 3)"
    )
    done = subprocess.run([sys.executable, "-c", code, *typed], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_list_of_plugins_takes_less_than_a_second() -> None:
    command = [sys.executable, "-m", "sfumato", "plugins"]

    def seconds() -> float:  # of the processor, so that other jobs on the machine do not count
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 1.0
