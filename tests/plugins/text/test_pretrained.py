"""Checkpoints in the formats of others: what is loaded answers as the original does."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sfumato.denoisers import TokenNetwork
from sfumato.errors import CheckpointError, InvalidOptionError, ShapeError
from sfumato.processes import Absorbing
from sfumato_text.backbones.dit import DiT
from sfumato_text.backbones.llama import BidirectionalLlama
from sfumato_text.backbones.masked_lms import Bert, EuroBert, MaskedLM, ModernBert
from sfumato_text.backbones.pretrained import load, load_dit

transformers = pytest.importorskip("transformers")

V, D, H, N = 23, 16, 2, 2
SPECIAL = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}


def ids(length: int = 9, most: int = V) -> Tensor:
    return torch.randint(5, most, (2, length), generator=torch.Generator().manual_seed(1))


def everywhere(x: Tensor) -> Tensor:
    return torch.ones_like(x, dtype=torch.bool)


def shaken(module: nn.Module) -> nn.Module:
    """Away from zeros and ones, which hide what is mixed up."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return module.eval()


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models

    words = [*SPECIAL.values(), "[UNK]", *(f"w{i}" for i in range(V - 5))]
    table = {word: number for number, word in enumerate(words)}
    inner = Tokenizer(models.WordLevel(table, unk_token="[UNK]"))
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", **SPECIAL
    )
    fast.save_pretrained(folder)


SIZES = {
    "vocab_size": V, "hidden_size": D, "num_attention_heads": H, "num_hidden_layers": N,
    "intermediate_size": 24, "max_position_embeddings": 40, "pad_token_id": 0,
}  # fmt: skip


@pytest.mark.parametrize("family", ["bert", "modernbert", "roberta", "eurobert"])
def test_a_masked_language_model_answers_as_the_original(tmp_path: Path, family: str) -> None:
    extra = {"num_key_value_heads": 1} if family == "eurobert" else {}
    ends = {"cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.AutoConfig.for_model(family, **SIZES, **extra, **ends)
    original = shaken(transformers.AutoModelForMaskedLM.from_config(config))
    original.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    found = load(tmp_path)
    x = ids()
    with torch.no_grad():
        expected = original(input_ids=x, attention_mask=torch.ones_like(x)).logits
        assert torch.allclose(found.network(x, everywhere(x)), expected, atol=1e-5)
    assert (found.backbone, found.tokens) == ("masked-lm", V)
    assert found.options["mask"] == 3
    assert set(found.options["suppressed"]) >= {0, 1, 2, 4}


def test_what_was_loaded_is_built_again_from_its_options_and_weights(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model("bert", **SIZES)
    shaken(transformers.AutoModelForMaskedLM.from_config(config)).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    found = load(tmp_path)
    save_file(found.network.state_dict(), tmp_path / "prior.safetensors")  # refuses shared tensors
    again = MaskedLM(**json.loads(json.dumps(found.options))).eval()
    again.load_state_dict(load_file(tmp_path / "prior.safetensors"))
    x = ids()
    with torch.no_grad():
        assert torch.equal(again(x, everywhere(x)), found.network(x, everywhere(x)))


def test_as_a_denoiser_it_uses_its_own_mask_and_never_says_special_tokens(tmp_path: Path) -> None:
    config = transformers.AutoConfig.for_model("bert", **SIZES)
    shaken(transformers.AutoModelForMaskedLM.from_config(config)).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    found = load(tmp_path)
    denoiser: TokenNetwork = found.network.denoiser(Absorbing(found.tokens))  # type: ignore[operator]
    x = ids()
    x[:, 4] = V
    own = x.clone()
    own[:, 4] = 3
    with torch.no_grad():
        p = denoiser(x, denoiser.process.level(0.5)).probs[:, 4]
        logits = found.network(own, everywhere(own))[:, 4]
    logits[:, [0, 1, 2, 3, 4]] = -torch.inf
    assert torch.allclose(p, logits.softmax(dim=-1), atol=1e-6)


@pytest.mark.parametrize("kind", [Bert, ModernBert, EuroBert])
@torch.no_grad()
def test_networks_from_scratch_see_both_sides_and_no_padding(kind: Any) -> None:
    network = shaken(kind(tokens=V, width=D, heads=H, layers=N))
    x = ids()
    base = network(x, everywhere(x))
    assert base.shape == (2, 9, V + 1)
    other = x.clone()
    other[:, 4] = 5 + (x[:, 4] - 4) % 10
    moved = (network(other, everywhere(x)) - base).abs().amax(dim=-1)
    assert bool((moved[:, [0, 8]] > 0).all())
    for rest in (0, 7):
        padded = torch.cat([x, torch.full((2, 5), rest)], dim=1)
        valid = torch.cat([everywhere(x), torch.zeros((2, 5), dtype=torch.bool)], dim=1)
        assert torch.allclose(network(padded, valid)[:, :9], base, atol=1e-5)


def test_a_text_longer_than_the_positions_is_refused() -> None:
    network = Bert(tokens=V, width=D, heads=H, layers=1, length=16)
    x = ids(17)
    with pytest.raises(ShapeError, match="at most 16 tokens"):
        network(x, everywhere(x))


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="model_type='abacus'"):
        MaskedLM(config={"model_type": "abacus"})


def write_llama(folder: Path, **settings: Any) -> nn.Module:
    sizes = {k: v for k, v in SIZES.items() if k != "pad_token_id"}
    config = transformers.LlamaConfig(**sizes, num_key_value_heads=1, rope_theta=500.0, **settings)
    config._attn_implementation = "eager"
    original = shaken(transformers.LlamaForCausalLM(config))
    original.save_pretrained(folder, max_shard_size="4KB")
    return original


def bidirectional(original: nn.Module, x: Tensor) -> Tensor:
    """Logits of transformers' Llama under a mask that hides nothing."""
    open_mask = torch.zeros((len(x), 1, x.shape[1], x.shape[1]))
    with torch.no_grad():
        logits: Tensor = original(input_ids=x, attention_mask=open_mask).logits
    return logits


@pytest.mark.parametrize("tied", [False, True])
def test_a_llama_answers_as_the_original_under_an_open_mask(tmp_path: Path, tied: bool) -> None:
    original = write_llama(tmp_path, tie_word_embeddings=tied)
    found = load(tmp_path, mask=4)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    x = ids()
    with torch.no_grad():
        answer = found.network(x, everywhere(x))
    assert torch.allclose(answer, bidirectional(original, x), atol=1e-5)
    assert found.options["right_shift"]
    again = BidirectionalLlama(**json.loads(json.dumps(found.options)))
    again.load_state_dict(found.network.state_dict())


@torch.no_grad()
def test_a_bidirectional_llama_sees_no_padding(tmp_path: Path) -> None:
    write_llama(tmp_path)
    network = load(tmp_path, mask=4).network
    x = ids()
    padded = torch.cat([x, torch.full((2, 4), 7)], dim=1)
    valid = torch.cat([everywhere(x), torch.zeros((2, 4), dtype=torch.bool)], dim=1)
    assert torch.allclose(network(padded, valid)[:, :9], network(x, everywhere(x)), atol=1e-5)


LLADA = {
    "model.embed_tokens": "wte", "model.norm": "ln_f", "lm_head": "ff_out",
    "self_attn.q_proj": "q_proj", "self_attn.k_proj": "k_proj", "self_attn.v_proj": "v_proj",
    "self_attn.o_proj": "attn_out", "mlp.gate_proj": "ff_proj", "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ff_norm",
}  # fmt: skip


def test_a_folder_with_the_names_of_llada_answers_as_the_llama_that_it_is(tmp_path: Path) -> None:
    original = write_llama(tmp_path / "llama")
    weights = {}
    for name, value in original.state_dict().items():
        block = name.removeprefix("model.layers.").split(".")[0]
        short = name.removesuffix(".weight").removeprefix(f"model.layers.{block}.")
        where = f"blocks.{block}." if name.startswith("model.layers.") else ""
        weights[f"model.transformer.{where}{LLADA[short]}.weight"] = value.clone()
    wide = torch.cat([weights["model.transformer.wte.weight"], torch.zeros(3, D)])
    weights["model.transformer.wte.weight"] = wide  # embedding_size may exceed vocab_size
    head = weights["model.transformer.ff_out.weight"]
    weights["model.transformer.ff_out.weight"] = torch.cat([head, torch.zeros(3, D)])
    folder = tmp_path / "llada"
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    config = {
        "model_type": "llada", "d_model": D, "n_heads": H, "n_kv_heads": 1, "n_layers": N,
        "mlp_hidden_size": 24, "vocab_size": V, "embedding_size": V + 3, "rope_theta": 500.0,
        "rms_norm_eps": original.config.rms_norm_eps, "mask_token_id": 4,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    found = load(folder)
    x = ids()
    with torch.no_grad():
        answer = found.network(x, everywhere(x))[..., :V]
    assert torch.allclose(answer, bidirectional(original, x), atol=1e-5)
    assert (found.tokens, found.options["mask"]) == (V, 4)
    assert not found.options["right_shift"]


def dit_weights(seed: int = 0, clock: int = 12) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return 0.4 * torch.randn(shape, generator=generator)

    found = {"vocab_embed.embedding": random(V, D)}
    for part, shape in (("0", (clock, 256)), ("2", (clock, clock))):
        found |= {f"sigma_map.mlp.{part}.weight": random(*shape)}
        found |= {f"sigma_map.mlp.{part}.bias": random(clock)}
    for i in range(N):
        b = f"blocks.{i}."
        found |= {
            f"{b}norm1.weight": 1 + random(D), f"{b}attn_qkv.weight": random(3 * D, D),
            f"{b}attn_out.weight": random(D, D), f"{b}norm2.weight": 1 + random(D),
            f"{b}mlp.0.weight": random(4 * D, D), f"{b}mlp.0.bias": random(4 * D),
            f"{b}mlp.2.weight": random(D, 4 * D), f"{b}mlp.2.bias": random(D),
            f"{b}adaLN_modulation.weight": random(6 * D, clock),
            f"{b}adaLN_modulation.bias": random(6 * D),
        }  # fmt: skip
    return found | {
        "output_layer.norm_final.weight": 1 + random(D), "output_layer.linear.weight": random(V, D),
        "output_layer.linear.bias": random(V),
        "output_layer.adaLN_modulation.weight": random(2 * D, clock),
        "output_layer.adaLN_modulation.bias": random(2 * D),
    }  # fmt: skip


def dit_reference(w: dict[str, Tensor], x: Tensor, sigma: Tensor) -> Tensor:
    """The DiT of MDLM as its paper's appendix has it, rotary turns as complex numbers."""

    def norm(h: Tensor, weight: Tensor) -> Tensor:
        centred = h - h.mean(dim=-1, keepdim=True)
        return weight * centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()

    def turned(h: Tensor) -> Tensor:  # [batch, length, heads, D/H]
        half = D // H // 2
        angle = torch.arange(h.shape[1])[:, None] / 10_000 ** (torch.arange(half) / half)
        z = torch.complex(h[..., :half], h[..., half:])
        z = z * torch.polar(torch.ones_like(angle), angle)[None, :, None]
        return torch.cat([z.real, z.imag], dim=-1)

    angle = sigma[:, None] * torch.exp(-math.log(10_000) * torch.arange(128) / 128)
    c = torch.cat([angle.cos(), angle.sin()], dim=-1)
    c = c @ w["sigma_map.mlp.0.weight"].T + w["sigma_map.mlp.0.bias"]
    c = nn.functional.silu(c) @ w["sigma_map.mlp.2.weight"].T + w["sigma_map.mlp.2.bias"]
    c = nn.functional.silu(c)
    h = w["vocab_embed.embedding"][x]
    for i in range(N):
        own = {k.removeprefix(f"blocks.{i}."): v for k, v in w.items() if f"blocks.{i}." in k}
        six = (c @ own["adaLN_modulation.weight"].T + own["adaLN_modulation.bias"])[:, None]
        s1, g1, a1, s2, g2, a2 = six.chunk(6, dim=-1)
        qkv = (norm(h, own["norm1.weight"]) * (1 + g1) + s1) @ own["attn_qkv.weight"].T
        q, k, v = qkv.reshape(*x.shape, 3, H, D // H).unbind(dim=2)
        scores = torch.einsum("bqhd,bkhd->bhqk", turned(q), turned(k)) / math.sqrt(D // H)
        seen = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(dim=-1), v).reshape(*x.shape, D)
        h = h + a1 * (seen @ own["attn_out.weight"].T)
        m = (norm(h, own["norm2.weight"]) * (1 + g2) + s2) @ own["mlp.0.weight"].T
        m = nn.functional.gelu(m + own["mlp.0.bias"], approximate="tanh")
        h = h + a2 * (m @ own["mlp.2.weight"].T + own["mlp.2.bias"])
    last = c @ w["output_layer.adaLN_modulation.weight"].T
    shift, scale = (last + w["output_layer.adaLN_modulation.bias"])[:, None].chunk(2, dim=-1)
    h = norm(h, w["output_layer.norm_final.weight"]) * (1 + scale) + shift
    return h @ w["output_layer.linear.weight"].T + w["output_layer.linear.bias"]


def write_lightning(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A checkpoint as MDLM's trainer writes it: last weights, and their average as a list."""
    last, average = dit_weights(0), dit_weights(1)
    stored = {f"backbone.{name}": value for name, value in last.items()}
    stored["backbone.rotary_emb.inv_freq"] = torch.rand(4)
    torch.save(
        {"state_dict": stored, "ema": {"decay": 0.9999, "shadow_params": [*average.values()]}}, path
    )
    return last, average


@pytest.mark.parametrize("average", [True, False])
@torch.no_grad()
def test_a_checkpoint_of_mdlm_answers_as_its_equations(tmp_path: Path, average: bool) -> None:
    weights = write_lightning(tmp_path / "best.ckpt")[average]
    found = load_dit(tmp_path / "best.ckpt", heads=H, average=average)
    x = ids()
    expected = dit_reference(weights, x, torch.zeros(2))
    assert torch.allclose(found.network(x, everywhere(x)), expected, atol=1e-4)
    assert found.tokens == V - 1


@torch.no_grad()
def test_a_checkpoint_of_sedd_is_told_the_noise(tmp_path: Path) -> None:
    weights = dit_weights(2)
    torch.save(
        {"model": {f"module.{k}": v for k, v in weights.items()}, "step": 7}, tmp_path / "c.pth"
    )
    found = load_dit(tmp_path, heads=H, timed=True)
    denoiser: TokenNetwork = found.network.denoiser(Absorbing(found.tokens))  # type: ignore[operator]
    x = ids(most=V - 1)
    x[:, 3:6] = V - 1
    alpha = torch.tensor([0.7, 0.2], dtype=torch.float64)
    log_probs = denoiser(x, denoiser.process.level(1 - alpha)).log_probs[:, 3:6]
    logits = dit_reference(weights, x, -alpha.log().float())[:, 3:6, : V - 1]
    assert torch.allclose(log_probs, logits.log_softmax(dim=-1), atol=1e-4)


@torch.no_grad()
def test_a_dit_sees_no_padding_and_no_later_block(tmp_path: Path) -> None:
    save_file({f"backbone.{k}": v for k, v in dit_weights().items()}, tmp_path / "m.safetensors")
    network = load_dit(tmp_path, heads=H).network
    x = ids()
    padded = torch.cat([x, torch.full((2, 4), 7)], dim=1)
    valid = torch.cat([everywhere(x), torch.zeros((2, 4), dtype=torch.bool)], dim=1)
    assert torch.allclose(network(padded, valid)[:, :9], network(x, everywhere(x)), atol=1e-5)
    blocks = load_dit(tmp_path, heads=H, block=3).network
    other = x.clone()
    other[:, 4] = 5 + (x[:, 4] - 4) % 10
    moved = (blocks(other, everywhere(x)) - blocks(x, everywhere(x))).abs().amax(dim=(0, 2)) > 0
    assert moved.tolist() == [False] * 3 + [True] * 6


@torch.no_grad()
def test_a_dit_without_a_clock_has_no_modulation() -> None:
    network = shaken(DiT(entries=V, width=D, heads=H, layers=N, clock=0))
    assert not [name for name, _ in network.named_parameters() if "adaLN" in name]
    x = ids()
    assert torch.isfinite(network(x, everywhere(x))).all()


class Trap:
    def __reduce__(self) -> Any:
        return (print, ("this must not run",))


def test_what_is_no_checkpoint_is_refused_with_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": Trap()}, tmp_path / "trap.ckpt")
    with pytest.raises(CheckpointError, match=r"trap.ckpt.*more than tensors"):
        load_dit(tmp_path / "trap.ckpt")
    assert "must not run" not in capsys.readouterr().out
    (tmp_path / "bad.safetensors").write_bytes(b"12345678 no tensors")
    with pytest.raises(CheckpointError, match="damaged"):
        load_dit(tmp_path / "bad.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no weights of a diffusion transformer"):
        load_dit(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no such folder"):
        load(tmp_path / "nowhere" / "at" / "all")
    write_lightning(tmp_path / "short.ckpt")
    stored = torch.load(tmp_path / "short.ckpt", weights_only=True)
    stored["ema"]["shadow_params"].pop()
    torch.save(stored, tmp_path / "short.ckpt")
    with pytest.raises(CheckpointError, match="average=False"):
        load_dit(tmp_path / "short.ckpt", heads=H)


def test_a_folder_that_says_nowhere_what_mask_is_is_refused(tmp_path: Path) -> None:
    write_llama(tmp_path)
    with pytest.raises(CheckpointError, match="give mask="):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="none of its 23 entries"):
        load(tmp_path, mask=V)


def test_scaled_rotary_positions_are_refused(tmp_path: Path) -> None:
    write_llama(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_parameters"] = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 500.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="scaled"):
        load(tmp_path, mask=4)
