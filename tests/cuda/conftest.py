"""Where these tests compute: CUDA, or a pretended device if ``SFUMATO_PRETEND`` is set."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from pretended import pretended

REAL = torch.cuda.is_available()
PRETEND = not REAL and bool(os.environ.get("SFUMATO_PRETEND"))


@pytest.fixture
def device() -> Iterator[str]:
    """The device that is compared with the CPU, in full single precision (no TF32)."""
    if PRETEND:
        with pretended() as found:
            yield str(found)
        return
    if not REAL:
        pytest.skip("needs a CUDA device; SFUMATO_PRETEND=1 pretends one")
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield "cuda"
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products


@pytest.fixture
def cuda(device: str) -> str:
    """The same where only the real one will do."""
    if not REAL:
        pytest.skip("needs a CUDA device")
    return device
