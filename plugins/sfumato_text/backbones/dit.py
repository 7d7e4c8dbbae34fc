"""The diffusion transformer of MDLM, SEDD and BD3-LM, in plain torch.

The original code needs a GPU for its attention kernel; the mathematics does not. Names of the
weights are theirs, so that their checkpoints load:

    vocab_embed.embedding, sigma_map.mlp.{0,2}, blocks.i.{norm1, attn_qkv, attn_out, norm2,
    mlp.{0,2}, adaLN_modulation}, output_layer.{norm_final, linear, adaLN_modulation}

(Sahoo et al., 2024; Lou, Meng & Ermon, 2024; Arriola et al., 2025; Peebles & Xie, 2023). Whether a
network returns ln p(x₀ | x_t), as MDLM's, or the log-ratios ln p_t(… v …)/p_t(x_t) of an absorbing
process, as SEDD's, makes no difference once it is normalised over the clean tokens: the ratios are
p(x₀ = v | x_t) times a number that all tokens share.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sfumato.denoisers import TokenNetwork
from sfumato.errors import InvalidOptionError
from sfumato.processes import Categorical
from sfumato_text.backbones.attention import attend, rotate, rotations

__all__ = ["DiT"]

FREQUENCIES = 128
"""Pairs of sine and cosine that the noise level is written with."""


class Embedding(nn.Module):
    def __init__(self, entries: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(entries, width) * 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        return self.embedding[ids]


class Clock(nn.Module):
    """The noise level as a vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first = nn.Linear(2 * FREQUENCIES, width)
        self.mlp = nn.Sequential(first, nn.SiLU(), nn.Linear(width, width))

    def forward(self, sigma: Tensor) -> Tensor:
        steps = torch.arange(FREQUENCIES, device=sigma.device).double() / FREQUENCIES
        angles = sigma.double()[:, None] * 10_000.0**-steps
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1).to(next(self.parameters()))
        found: Tensor = functional.silu(self.mlp(waves))
        return found


class Norm(nn.Module):
    """LayerNorm without a bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (x.shape[-1],)) * self.weight


class Block(nn.Module):
    def __init__(self, width: int, heads: int, clock: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = Norm(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.norm2 = Norm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        self.adaLN_modulation = modulation(clock, 6 * width)

    def forward(
        self, x: Tensor, c: Tensor | None, turn: tuple[Tensor, Tensor], allowed: Tensor
    ) -> Tensor:
        batch, length, _ = x.shape
        parts = modulated(self.adaLN_modulation, c, 6)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = parts
        split = self.attn_qkv(self.norm1(x) * (1 + scale) + shift)
        q, k, v = split.view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = attend(rotate(q, turn), rotate(k, turn), v, allowed)
        x = x + gate * self.attn_out(seen.transpose(1, 2).flatten(2))
        found: Tensor = x + gate_mlp * self.mlp(self.norm2(x) * (1 + scale_mlp) + shift_mlp)
        return found


class Output(nn.Module):
    def __init__(self, width: int, entries: int, clock: int) -> None:
        super().__init__()
        self.norm_final = Norm(width)
        self.linear = nn.Linear(width, entries)
        self.adaLN_modulation = modulation(clock, 2 * width)

    def forward(self, x: Tensor, c: Tensor | None) -> Tensor:
        shift, scale = modulated(self.adaLN_modulation, c, 2)
        found: Tensor = self.linear(self.norm_final(x) * (1 + scale) + shift)
        return found


class DiT(nn.Module):
    """Logits of every entry of the vocabulary.

    Args:
        entries: Of the vocabulary, MASK among them as the last: K + 1.
        width: Of the states.
        heads: Of attention.
        layers: How many blocks.
        clock: Width of the vector that tells the noise level; 0 for a network without.
        timed: Whether that level is told; else it is always told σ = 0, as MDLM's
            ``time_conditioning=False`` does.
        block: Length of the blocks of BD3-LM: a place sees its own block and those before it. 0
            lets it see everything.

    Raises:
        InvalidOptionError: If ``heads`` does not divide ``width`` into even parts.
    """

    def __init__(
        self,
        *,
        entries: int,
        width: int,
        heads: int,
        layers: int,
        clock: int = 128,
        timed: bool = False,
        block: int = 0,
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise InvalidOptionError(
                "dit", f"width={width}, heads={heads}", "use a width that 2·heads divides"
            )
        self.timed, self.block, self.turned = timed, block, width // heads
        self.vocab_embed = Embedding(entries, width)
        self.sigma_map = Clock(clock) if clock else None
        self.blocks = nn.ModuleList(Block(width, heads, clock) for _ in range(layers))
        self.output_layer = Output(width, entries, clock)

    def denoiser(self, process: Categorical) -> TokenNetwork:
        """This network as a denoiser."""
        return TokenNetwork(self, process, clock="noise" if self.timed else "")

    def forward(
        self,
        ids: Int[Tensor, "batch length"],
        valid: Bool[Tensor, "batch length"],
        sigma: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch length entries"]:
        """Logits.

        Args:
            ids: Tokens.
            valid: Which places exist.
            sigma: Total noise −ln α of each item; needed by a timed network.
        """
        x = self.vocab_embed(ids)
        if not self.timed or sigma is None:
            sigma = torch.zeros(len(ids), device=ids.device)
        c = None if self.sigma_map is None else self.sigma_map(sigma)
        turn = rotations(ids.shape[1], self.turned, x)
        allowed = self.allowed(valid)
        for block in self.blocks:
            x = block(x, c, turn, allowed)
        logits: Tensor = self.output_layer(x, c)
        return logits

    def allowed(self, valid: Tensor) -> Tensor:
        """Which places each may attend to."""
        place = torch.arange(valid.shape[1], device=valid.device)
        seen = valid[:, None, :] | (place[:, None] == place)
        if self.block:
            seen = seen & (place[:, None] // self.block >= place // self.block)
        return seen[:, None]


def modulation(clock: int, width: int) -> nn.Linear | None:
    """Shifts, scales and gates from the clock; they begin at 0."""
    if not clock:
        return None
    made = nn.Linear(clock, width)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)
    return made


def modulated(layer: nn.Linear | None, c: Tensor | None, parts: int) -> tuple[Tensor, ...]:
    """Parts of the modulation, ``[batch, 1, width]``; without one, shift 0, scale 0 and gate 1."""
    if layer is None or c is None:
        blank = torch.zeros(())
        return tuple(blank + (k % 3 == 2) for k in range(parts))
    found: Tensor = layer(c)
    return found[:, None].chunk(parts, dim=-1)
