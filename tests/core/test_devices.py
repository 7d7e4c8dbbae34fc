"""Names of devices, checked before anything is moved there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from pretended import pretended
from torch.overrides import TorchFunctionMode

from sfumato.devices import available
from sfumato.errors import InvalidOptionError


def test_a_device_that_is_there_is_told_with_its_index() -> None:
    assert available("cpu") == available(torch.device("cpu")) == torch.device("cpu")
    with pretended() as device:
        assert device.index == 0
        assert available(device.type) == device


def test_auto_is_cuda_where_torch_finds_some(monkeypatch: pytest.MonkeyPatch) -> None:
    there = torch.cuda.is_available()
    assert available("auto").type == ("cuda" if there else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    if there:
        assert available("auto").type == "cuda"
    else:
        with pytest.raises(InvalidOptionError, match="'cuda' cannot be used"):
            available("auto")


@pytest.mark.parametrize("name", ["cuda:97", "meta", "xpu:97", "hip", "warp"])
def test_a_device_that_is_not_there_is_refused_in_one_line(name: str) -> None:
    # torch reports these as errors of different types
    with pytest.raises(InvalidOptionError, match=f"'{name}' cannot be used") as caught:
        available(name)
    assert "try cpu, or auto" in str(caught.value)
    assert "\n" not in str(caught.value)


class SingleOnly(TorchFunctionMode):
    """A device without float64, such as Apple's."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if (kwargs or {}).get("dtype") is torch.float64:
            raise TypeError("this device has no float64.")
        return func(*args, **(kwargs or {}))


def test_a_device_without_double_precision_is_refused() -> None:
    with SingleOnly(), pytest.raises(InvalidOptionError, match=r"\(this device has no float64\)"):
        available("cpu")
