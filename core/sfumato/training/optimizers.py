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
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.training.configs import TrainConfig

__all__ = ["Muon", "optimizer"]

A, B, C = 3.4445, -4.7750, 2.0315
MOMENTUM = 0.95
STEPS = 5


class Muon(torch.optim.AdamW):
    """AdamW whose groups with ``muon`` set are moved by Muon; their ``lr`` is Muon's own.

    A group's rate follows the schedule in proportion to its ``peak``. Both decay the weights by
    lr·weight_decay a step. Matrices of one shape are orthogonalised together: on a GPU the time of
    a small network's step is that of starting the products.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        kept = [group["params"] for group in self.param_groups]
        for group in self.param_groups:
            if group["muon"]:
                alike: dict[tuple[torch.Size, torch.device], list[Tensor]] = {}
                for p in group["params"]:
                    if p.grad is not None:
                        alike.setdefault((p.shape, p.device), []).append(p)
                for stack in alike.values():
                    self.move(stack, group["lr"], group["weight_decay"])
                group["params"] = []  # AdamW passes over them
        try:
            found: float | None = super().step(closure)
        finally:
            for group, params in zip(self.param_groups, kept, strict=True):
                group["params"] = params
        return found

    def move(self, matrices: list[Tensor], lr: float, decay: float) -> None:
        """One step of Muon with Nesterov's momentum for matrices of one shape."""
        for p in matrices:
            if "momentum" not in self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
                self.state[p]["step"] = torch.zeros(())  # AdamW's loader looks for it
        averages = [self.state[p]["momentum"] for p in matrices]
        slopes: list[Tensor] = [p.grad for p in matrices]  # type: ignore[misc]
        torch._foreach_lerp_(averages, slopes, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(slopes, averages, MOMENTUM)
        directions = orthogonal(torch.stack(ahead)).unbind()
        rows, columns = matrices[0].shape
        torch._foreach_mul_(matrices, 1 - lr * decay)
        torch._foreach_add_(matrices, directions, alpha=-lr * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: Float[Tensor, "*batch m n"]) -> Float[Tensor, "*batch m n"]:
    """U Vᵀ of a matrix U S Vᵀ, with singular values between 0.7 and 1.2 in place of 1."""
    tall = matrix.shape[-2] > matrix.shape[-1]
    wide = matrix.mT if tall else matrix
    X = wide.bfloat16() if wide.dtype == torch.float32 else wide
    X = X / X.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = X @ X.mT
        X = A * X + (B * gram + C * gram @ gram) @ X
    found: Tensor = X.mT if tall else X
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
