"""What every test may use: where outside data lies, and one thread per process.

Several workers on few cores are fastest with one thread each; more would only take turns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch
from jaxtyping import install_import_hook

CHECKED = (
    "denoisers", "draws", "factors", "inverse", "likelihood", "linalg", "networks", "noise",
    "processes", "samplers",
)  # fmt: skip
"""Where shapes and dtypes in annotations are checked, while tests run and only then. Modules that
meet wrong input from people are left out: there our own errors are what is tested."""

install_import_hook([f"sfumato.{name}" for name in CHECKED], "shape_checks.checked")

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of evaluation data that is not part of the repository (``SFUMATO_DATA``)."""
    folder = os.environ.get("SFUMATO_DATA", "")
    if not Path(folder or "/nowhere").is_dir():
        pytest.skip("SFUMATO_DATA does not name a folder")
    return Path(folder)


@pytest.fixture(autouse=True)
def isolated_randomness() -> Iterator[None]:
    """Freshly initialised networks are the same in every test, whatever ran before.

    Only initialisation draws from torch's global generator; that nothing else does is a law of its
    own (``tests/laws``).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Lets an array of a wrong shape reach our own error."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
