"""A network that says how noisy a state is (San-Roman, Nachmani & Wolf, 2021).

It looks at x_t and returns ln σ/α. With ᾱ = 1/(1 + (σ/α)²), the share of the signal in a state of
unit variance, its loss is the square of

    ln(1 − ᾱ) − ln(1 − α̂),    ln(1 − ᾱ) = −softplus(−2 ln σ/α),

which tells apart levels near the data, where a wrong one shows most.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LevelNet", "level_loss"]


class LevelNet(nn.Module):
    """A multilayer perceptron on flattened states.

    Args:
        dims: Numbers of one state.
        width: Of the hidden layers.
    """

    def __init__(self, dims: int, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dims, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, x: Float[Tensor, "batch *x"]) -> Float[Tensor, " batch"]:
        """ln σ/α of each item."""
        weight = next(self.parameters())
        found: Tensor = self.layers(x.flatten(1).to(weight)).squeeze(-1)
        return found


def level_loss(
    estimate: Float[Tensor, " batch"], log_ratio: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """The squared error of ln(1 − ᾱ), for each item.

    Args:
        estimate: ln σ/α as the network says.
        log_ratio: As it is.
    """
    true = -functional.softplus(-2 * log_ratio.to(estimate))
    return (true + functional.softplus(-2 * estimate)).square()
