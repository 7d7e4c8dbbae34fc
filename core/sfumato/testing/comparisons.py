"""How two tensors are compared: per item, relative, with a message that says which law broke."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.linalg import norm

__all__ = ["agree", "distance", "require", "same_kind"]


def require(holds: bool, subject: object, law: str, found: str = "") -> None:
    """Raises an ``AssertionError`` unless ``holds``."""
    if not holds:
        name = subject if isinstance(subject, str) else type(subject).__name__
        raise AssertionError(f"{name}: {law}{f'; {found}' if found else ''}.")


def distance(a: Tensor, b: Tensor, *, scale: Tensor | None = None) -> float:
    """Largest ‖a − b‖/‖scale‖ over the items; ``scale`` is ``b`` if not given."""
    size = norm(b if scale is None else scale).clamp(min=1e-300)
    return float((norm(a - b) / size).max())


def agree(
    a: Tensor,
    b: Tensor,
    tolerance: float,
    subject: object,
    law: str,
    *,
    scale: Tensor | None = None,
) -> None:
    """Requires equal shapes and a relative distance of at most ``tolerance``."""
    require(a.shape == b.shape, subject, law, f"shapes are {list(a.shape)} and {list(b.shape)}")
    require(bool(torch.isfinite(a).all()), subject, law, "some values are not finite")
    found = distance(a, b, scale=scale)
    expected = f"relative difference {found:.2g}, at most {tolerance:.2g} is allowed"
    require(found <= tolerance, subject, law, expected)


def same_kind(value: Tensor, x: Tensor, subject: object, what: str) -> None:
    """Requires that ``value`` has the precision and the device of ``x``."""
    real = value.real.dtype if value.is_complex() else value.dtype
    expected = x.real.dtype if x.is_complex() else x.dtype
    require(
        real == expected and value.device == x.device, subject,
        f"{what} keeps precision and device of its input",
        f"{real} on {value.device} came from {expected} on {x.device}",
    )  # fmt: skip
