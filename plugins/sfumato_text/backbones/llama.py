"""A Llama whose places see both sides: LLaDA, Dream, and Llamas to be made into such.

RMSNorm, rotary positions, grouped keys and SwiGLU (Touvron et al., 2023) without the causal mask
(Nie et al., 2025; Ye et al., 2025). Weights have the names of transformers' Llama, so folders of
its family load as they are; ``sfumato_text.backbones.pretrained`` translates LLaDA's names.
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

__all__ = ["BidirectionalLlama"]


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, groups: int, head: int, bias: bool) -> None:
        super().__init__()
        self.heads, self.groups, self.head = heads, groups, head
        self.q_proj = nn.Linear(width, heads * head, bias=bias)
        self.k_proj = nn.Linear(width, groups * head, bias=bias)
        self.v_proj = nn.Linear(width, groups * head, bias=bias)
        self.o_proj = nn.Linear(heads * head, width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], allowed: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            project(x).view(batch, length, -1, self.head).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        many = self.heads // self.groups
        k, v = rotate(k, turn).repeat_interleave(many, dim=1), v.repeat_interleave(many, dim=1)
        seen = attend(rotate(q, turn), k, v, allowed)
        found: Tensor = self.o_proj(seen.transpose(1, 2).flatten(2))
        return found


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return found


class Layer(nn.Module):
    def __init__(self, attention: Attention, mlp: MLP, width: int, eps: float) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(width, eps=eps)
        self.self_attn = attention
        self.post_attention_layernorm = nn.RMSNorm(width, eps=eps)
        self.mlp = mlp

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], allowed: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn, allowed)
        found: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return found


class BidirectionalLlama(nn.Module):
    """Logits of every entry of the vocabulary.

    Args:
        entries: Of the vocabulary.
        width: Of the states.
        heads: Of attention.
        layers: How many.
        hidden: Width inside the gated layers.
        groups: Heads of keys and values; as many as ``heads`` if 0.
        head: Width of a head; width/heads if 0.
        base: Of the rotary angles.
        eps: Of the norms.
        bias: Whether queries, keys and values have a bias (Qwen2, Dream).
        mask: Number of MASK in the vocabulary; the number after the last token if not given.
        suppressed: Entries that are never data.
        right_shift: Whether output i − 1 is about place i, as in networks that predicted the next
            token and Dream.

    Raises:
        InvalidOptionError: If ``groups`` does not divide ``heads``, or a head's width is odd.
    """

    def __init__(
        self,
        *,
        entries: int,
        width: int,
        heads: int,
        layers: int,
        hidden: int,
        groups: int = 0,
        head: int = 0,
        base: float = 10_000.0,
        eps: float = 1e-5,
        bias: bool = False,
        mask: int | None = None,
        suppressed: tuple[int, ...] = (),
        right_shift: bool = False,
    ) -> None:
        super().__init__()
        groups, head = groups or heads, head or width // heads
        if heads % groups or head % 2:
            raise InvalidOptionError(
                "llama", f"heads={heads}, groups={groups}, head={head}",
                "groups must divide heads, and a head's width be even",
            )  # fmt: skip
        self.turned, self.base = head, base
        self.mask, self.suppressed, self.right_shift = mask, tuple(suppressed), right_shift
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(entries, width)
        self.model.layers = nn.ModuleList(
            Layer(Attention(width, heads, groups, head, bias), MLP(width, hidden), width, eps)
            for _ in range(layers)
        )
        self.model.norm = nn.RMSNorm(width, eps=eps)
        self.lm_head = nn.Linear(width, entries, bias=False)

    def denoiser(self, process: Categorical) -> TokenNetwork:
        """This network as a denoiser."""
        never = self.suppressed if self.mask is None else (*self.suppressed, self.mask)
        return TokenNetwork(
            self, process, right_shift=self.right_shift, mask_id=self.mask, suppressed=never
        )

    def forward(
        self, ids: Int[Tensor, "batch length"], valid: Bool[Tensor, "batch length"]
    ) -> Float[Tensor, "batch length entries"]:
        """Logits; ``valid`` says which places exist."""
        x: Tensor = self.model.embed_tokens(ids)  # type: ignore[operator]
        place = torch.arange(ids.shape[1], device=ids.device)
        allowed = (valid[:, None, :] | (place[:, None] == place))[:, None]
        turn = rotations(ids.shape[1], self.turned, x, base=self.base)
        for layer in self.model.layers:  # type: ignore[union-attr]
            x = layer(x, turn, allowed)
        logits: Tensor = self.lm_head(self.model.norm(x))  # type: ignore[operator]
        return logits
