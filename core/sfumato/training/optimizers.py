"""Optimisers: AdamW, and Muon for the matrices inside a network.

Muon (Jordan et al., 2024) replaces the averaged gradient G = U S Vᵀ of a matrix by U Vᵀ, so that
all directions are learnt at the same speed. Five steps of a quintic iteration,

    X ← a X + (b A + c A²) X,      A = X Xᵀ,

bring the singular values of G/‖G‖ near 1. Embeddings, vectors and the layer that makes the output
stay with AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.training.configs import TrainConfig

__all__ = ["Muon", "optimizer"]

A, B, C = 3.4445, -4.7750, 2.0315
MOMENTUM = 0.95
STEPS = 5


class Muon(torch.optim.AdamW):
    """AdamW whose groups with ``muon`` set are moved by Muon; their ``lr`` is Muon's own.

    A group's rate follows the schedule in proportion to its ``peak``.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        kept = [group["params"] for group in self.param_groups]
        for group in self.param_groups:
            if group["muon"]:
                for p in group["params"]:
                    if p.grad is not None:
                        self.move(p, group["lr"])
                group["params"] = []  # AdamW passes over them
        try:
            found: float | None = super().step(closure)
        finally:
            for group, params in zip(self.param_groups, kept, strict=True):
                group["params"] = params
        return found

    def move(self, p: Tensor, lr: float) -> None:
        """One step of Muon with Nesterov's momentum."""
        state = self.state[p]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(p)
            state["step"] = torch.zeros(())  # AdamW's loader looks for it
        average: Tensor = state["momentum"]
        average.lerp_(p.grad, 1 - MOMENTUM)  # type: ignore[arg-type]
        direction = orthogonal(p.grad.lerp(average, MOMENTUM))  # type: ignore[union-attr]
        p.add_(direction, alpha=-lr * max(1.0, p.shape[0] / p.shape[1]) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """U Vᵀ of a matrix U S Vᵀ, with singular values between 0.7 and 1.2 in place of 1."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    X = wide.bfloat16() if wide.dtype == torch.float32 else wide
    X = X / X.norm().clamp(min=1e-7)
    for _ in range(STEPS):
        gram = X @ X.mT
        X = A * X + (B * gram + C * gram @ gram) @ X
    found: Tensor = X if matrix.shape[0] <= matrix.shape[1] else X.mT
    return found.to(matrix.dtype)


def optimizer(
    network: nn.Module, trainable: Mapping[str, Tensor], config: TrainConfig
) -> torch.optim.Optimizer:
    """The optimiser of a run.

    Args:
        network: What is trained.
        trainable: Those of its parameters that are.
        config: Says which optimiser.
    """
    common: dict[str, Any] = {"betas": config.betas, "weight_decay": config.weight_decay}
    if not config.muon:
        return torch.optim.AdamW(list(trainable.values()), config.lr, **common)
    inside = {id(p) for p in matrices(network)}
    muon = [p for p in trainable.values() if id(p) in inside]
    others = [p for p in trainable.values() if id(p) not in inside]
    groups: list[dict[str, Any]] = [
        {"params": others, "lr": config.lr, "peak": config.lr, "muon": False},
        {"params": muon, "lr": config.muon, "peak": config.muon, "muon": True},
    ]
    return Muon([group for group in groups if group["params"]], config.lr, **common)


def matrices(network: nn.Module) -> list[Tensor]:
    """Weights of the linear layers but the last, and without those that are an embedding too."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    embeddings = {id(e.weight) for e in network.modules() if isinstance(e, nn.Embedding)}
    return [layer.weight for layer in layers[:-1] if id(layer.weight) not in embeddings]
