"""A noise schedule that is learned (Kingma et al., 2021, § 5 and appendix H).

ρ = ln σ/α is a monotone network of t between two ends,

    ρ(t) = ρ₀ + (ρ₁ − ρ₀) (f(t) − f(t₀))/(f(1) − f(t₀)),    f = l₁(t) + l₃(sigmoid(l₂(l₁(t)))),

with weights above 0. The bound in continuous time depends on the ends alone; what is between them
sets the variance of its estimate, and is trained to make that small.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.errors import InvalidOptionError
from sfumato.processes.schedules import Schedule

__all__ = ["Learned", "Monotone"]


class Monotone(nn.Module):
    """ρ(t), increasing, in float64.

    Args:
        low: ρ₀; −13.3/2 in Kingma et al., whose γ is 2ρ.
        high: ρ₁; 5/2 there.
        width: Of the hidden layer.
        start: t₀, where ρ = ρ₀.

    Raises:
        InvalidOptionError: If the ends are not in order.
    """

    def __init__(
        self, low: float = -6.65, high: float = 2.5, *, width: int = 64, start: float = 1e-3
    ) -> None:
        super().__init__()
        if not low < high:
            raise InvalidOptionError("schedule", f"low={low}, high={high}", "use low < high")
        self.ends = nn.Parameter(torch.tensor([low, high], dtype=torch.float64))
        # steps of the sigmoids are spread over the interval; at the start f is nearly straight
        self.places = nn.Parameter(torch.linspace(-2, 12, width, dtype=torch.float64))
        self.slopes = nn.Parameter(torch.full((width,), 10.0, dtype=torch.float64))
        self.heights = nn.Parameter(torch.full((width,), -6.0, dtype=torch.float64))
        self.line = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.start = start

    def forward(self, t: Tensor) -> Tensor:
        anchors = torch.tensor([self.start, 1.0], dtype=torch.float64, device=t.device)
        low, high = self.shape_of(anchors)
        share = (self.shape_of(t) - low) / (high - low)
        found: Tensor = self.ends[0] + (self.ends[1] - self.ends[0]) * share
        return found

    def shape_of(self, t: Tensor) -> Tensor:
        """f."""
        steps = torch.sigmoid(functional.softplus(self.slopes) * t[..., None] - self.places)
        rising = functional.softplus(self.line) * t
        found: Tensor = rising + (functional.softplus(self.heights) * steps).sum(dim=-1)
        return found


@dataclass(frozen=True, eq=False)
class Learned(Schedule):
    """Variance-preserving with ρ from a network: α² = sigmoid(−2ρ), σ² = sigmoid(2ρ).

    Args:
        network: ρ(t). It is put into evaluation mode, where α and σ carry no gradient; in training
            mode they carry that of its parameters.
    """

    network: nn.Module = field(default_factory=Monotone)

    def __post_init__(self) -> None:
        self.network.eval()

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        rho = self.log_ratio(t)
        return torch.sigmoid(-2 * rho).sqrt(), torch.sigmoid(2 * rho).sqrt()

    def log_ratio(self, t: Tensor) -> Tensor:
        time = torch.as_tensor(t, dtype=torch.float64)
        wanted = self.network.training or time.requires_grad
        with torch.set_grad_enabled(wanted and torch.is_grad_enabled()):
            found: Tensor = self.network(time)
        return found

    def inverse(self, log_ratio: Tensor) -> Tensor:
        with torch.no_grad():
            return super().inverse(log_ratio)
