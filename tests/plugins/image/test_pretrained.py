"""Priors from and to diffusers folders: same network, same steps, same picture."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from sfumato.codecs import Affine
from sfumato.errors import (
    CheckpointError,
    InvalidOptionError,
    OutputExistsError,
    UnsupportedError,
)
from sfumato.noise import Streams
from sfumato.priors import Prior
from sfumato.processes import Gaussian, Table
from sfumato.samplers import DDIM, DDPM, run
from sfumato_image.pretrained import from_diffusers, grid_from_timesteps, to_diffusers

SIDE = 8
UNet2DModel = diffusers.UNet2DModel  # imported here, not inside the first test


@pytest.fixture(autouse=True)
def quiet_diffusers() -> Iterator[None]:
    level = diffusers.utils.logging.get_verbosity()
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    yield
    diffusers.utils.logging.set_verbosity(level)


def tiny(**config: Any) -> diffusers.UNet2DModel:
    settings = {
        "sample_size": SIDE, "in_channels": 3, "out_channels": 3, "layers_per_block": 1,
        "block_out_channels": (8, 16), "norm_num_groups": 4, "attention_head_dim": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return UNet2DModel(**(settings | config)).eval()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder as ``DDIMPipeline.save_pretrained`` does."""

    def write(
        *, unet: dict[str, Any] | None = None, kind: str = "DDIMScheduler", safe: bool = True,
        **scheduler: Any,
    ) -> Path:  # fmt: skip
        folder = tmp_path / "checkpoint"
        tiny(**(unet or {})).save_pretrained(folder / "unet", safe_serialization=safe)
        getattr(diffusers, kind)(**scheduler).save_pretrained(folder / "scheduler")
        return folder

    return write


def theirs(
    folder: Path, noise: torch.Tensor, steps: int, label: torch.Tensor | None = None
) -> tuple[torch.Tensor, diffusers.DDIMScheduler]:
    """The loop of ``DDIMPipeline``, which cannot take labels or given noise itself."""
    unet = diffusers.UNet2DModel.from_pretrained(folder / "unet")
    scheduler = diffusers.DDIMScheduler.from_pretrained(folder / "scheduler")
    scheduler.set_timesteps(steps)
    x = noise
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = unet(x, t, class_labels=label).sample
            x = scheduler.step(output, t, x, use_clipped_model_output=True).prev_sample
    return x, scheduler


def ours(
    prior: Prior, noise: torch.Tensor, scheduler: Any, label: torch.Tensor | None = None
) -> torch.Tensor:
    grid = grid_from_timesteps(
        scheduler.timesteps.tolist(),
        scheduler.config.num_train_timesteps,
        to_data=scheduler.config.set_alpha_to_one,
    )
    condition = None if label is None else {"label": label}
    streams = Streams.count(0, noise.shape[0])
    return run(DDIM(), prior.denoiser, noise, grid, streams, condition=condition)


def noise_of(batch: int = 2, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, SIDE, SIDE, generator=generator)


@pytest.mark.parametrize("clip", [False, True], ids=["unclipped", "clipped"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_our_ddim_is_theirs(checkpoint: Callable[..., Path], prediction: str, clip: bool) -> None:
    folder = checkpoint(prediction_type=prediction, clip_sample=clip)
    expected, scheduler = theirs(folder, noise_of(), 20)
    found = ours(from_diffusers(folder), noise_of(), scheduler)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


TABLES = {
    "linear": {},
    "scaled linear": {
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
        "set_alpha_to_one": False, "steps_offset": 1,
    },
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "trained": {
        "num_train_timesteps": 100, "trained_betas": [0.001 + 0.0005 * k for k in range(100)],
    },
    "zero terminal SNR": {
        "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
        "prediction_type": "v_prediction",
    },
    "last step to the first entry": {"set_alpha_to_one": False},
    "trailing": {"timestep_spacing": "trailing"},
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_every_table_and_spacing_is_understood(checkpoint: Callable[..., Path], name: str) -> None:
    folder = checkpoint(**{"clip_sample": False, **TABLES[name]})
    expected, scheduler = theirs(folder, noise_of(), 10)
    found = ours(from_diffusers(folder), noise_of(), scheduler)
    scale = expected.abs().max()
    torch.testing.assert_close(found / scale, expected / scale, atol=1e-4, rtol=1e-4)


def test_the_output_is_that_of_their_pipeline(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint(prediction_type="epsilon", clip_sample=False)
    pipeline = diffusers.DDIMPipeline(
        unet=diffusers.UNet2DModel.from_pretrained(folder / "unet"),
        scheduler=diffusers.DDIMScheduler.from_pretrained(folder / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    expected = pipeline(2, generator, num_inference_steps=20, output_type="np").images
    prior = from_diffusers(folder)
    found = prior.codec.decode(ours(prior, noise_of(), pipeline.scheduler)).clamp(0, 1)
    torch.testing.assert_close(
        found.permute(0, 2, 3, 1), torch.from_numpy(expected), atol=1e-4, rtol=0
    )


def test_class_conditional_networks_are_told_the_class(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint(unet={"num_class_embeds": 4}, clip_sample=False)
    label = torch.tensor([3, 1])
    expected, scheduler = theirs(folder, noise_of(), 10, label)
    prior = from_diffusers(folder)
    assert prior.classes == 4
    found = ours(prior, noise_of(), scheduler, label)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    other = ours(prior, noise_of(), scheduler, torch.tensor([2, 1]))
    assert not torch.allclose(other[0], found[0], atol=1e-4)


@pytest.mark.parametrize("classes", [None, 4])
def test_a_label_is_required_exactly_where_there_are_classes(
    checkpoint: Callable[..., Path], classes: int | None
) -> None:
    denoiser = from_diffusers(checkpoint(unet={"num_class_embeds": classes})).denoiser
    condition = {"label": torch.tensor([0, 1])} if classes is None else None
    with pytest.raises(InvalidOptionError, match="label"):
        denoiser(noise_of(), denoiser.process.level(0.5), condition)


def test_learned_variances_are_interpolated_as_theirs_are(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint(
        unet={"out_channels": 6}, kind="DDPMScheduler", variance_type="learned_range",
        clip_sample=False, num_train_timesteps=50, beta_end=0.2,
    )  # fmt: skip
    prior = from_diffusers(folder)
    assert prior.denoiser.head == "interpolation"
    scheduler = diffusers.DDPMScheduler.from_pretrained(folder / "scheduler")
    unet = diffusers.UNet2DModel.from_pretrained(folder / "unet")
    streams = Streams.count(0, 1)
    shared = streams.generators[0].clone_state()
    expected = noise_of(1)
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = unet(expected, t).sample
            expected = scheduler.step(output, t, expected, generator=shared).prev_sample
    grid = grid_from_timesteps(scheduler.timesteps.tolist(), 50)
    found = run(DDPM("learned"), prior.denoiser, noise_of(1), grid, streams)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_any_number_of_channels_and_old_weight_files_are_read(
    checkpoint: Callable[..., Path], channels: int
) -> None:
    folder = checkpoint(
        unet={"in_channels": channels, "out_channels": channels}, safe=False, clip_sample=False
    )
    assert list((folder / "unet").glob("*.bin"))
    prior = from_diffusers(folder)
    assert prior.shape == (channels, SIDE, SIDE)
    expected, scheduler = theirs(folder, noise_of(1, channels), 5)
    torch.testing.assert_close(
        ours(prior, noise_of(1, channels), scheduler), expected, atol=1e-4, rtol=1e-4
    )


def test_learned_time_embeddings_are_looked_up_by_step(checkpoint: Callable[..., Path]) -> None:
    unet = {"time_embedding_type": "learned", "num_train_timesteps": 1000}
    folder = checkpoint(unet=unet, clip_sample=False)
    expected, scheduler = theirs(folder, noise_of(), 5)
    found = ours(from_diffusers(folder), noise_of(), scheduler)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_a_network_without_a_size_takes_any(checkpoint: Callable[..., Path]) -> None:
    prior = from_diffusers(checkpoint(unet={"sample_size": None}))
    assert prior.shape == (3, None, None)
    assert prior.network.multiple == 2


ROUND_TRIPS = {
    "plain": ({}, {}),
    "v": ({}, {"prediction_type": "v_prediction", "beta_schedule": "squaredcos_cap_v2"}),
    "classes": ({"num_class_embeds": 3}, {"clip_sample": False}),
    "learned variance": ({"out_channels": 6}, {"clip_sample_range": 2.0}),
    "trained": ({}, {"num_train_timesteps": 3, "trained_betas": [0.1, 0.2, 0.3]}),
}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_there_and_back_is_the_same_prior(
    checkpoint: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    unet, scheduler = ROUND_TRIPS[name]
    prior = from_diffusers(checkpoint(unet=unet, **scheduler))
    again = from_diffusers(to_diffusers(prior, tmp_path / "again"))
    assert again.process == prior.process
    assert again.shape == prior.shape
    assert again.options["classes"] == prior.options["classes"]
    fields = ("prediction", "head", "range", "noise_label")
    assert all(getattr(again.denoiser, f) == getattr(prior.denoiser, f) for f in fields)
    for found, expected in zip(again.network.parameters(), prior.network.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_what_we_write_opens_in_diffusers(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    prior = from_diffusers(checkpoint(prediction_type="v_prediction"))
    folder = to_diffusers(prior, tmp_path / "again")
    pipeline = diffusers.DDPMPipeline.from_pretrained(folder)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    bars = torch.tensor(prior.process.schedule.alphas_cumprod)
    torch.testing.assert_close(pipeline.scheduler.alphas_cumprod, bars)


def test_a_table_changed_by_hand_is_written_as_betas(
    checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    prior = from_diffusers(checkpoint())
    schedule = Table((0.9, 0.5, 0.1))
    denoiser = dataclasses.replace(prior.denoiser, process=Gaussian(schedule))
    changed = dataclasses.replace(prior, denoiser=denoiser)
    again = from_diffusers(to_diffusers(changed, tmp_path / "again"))
    assert again.process.schedule.alphas_cumprod == pytest.approx((0.9, 0.5, 0.1), rel=1e-6)


def test_the_prior_is_stored_and_loaded_as_ours(
    checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    prior = Prior.from_diffusers(checkpoint(unet={"num_class_embeds": 3}))
    again = Prior.load(prior.save(tmp_path / "prior"), plugin="image")
    level = prior.process.level(0.5)
    condition = {"label": torch.tensor([0, 2])}
    with torch.no_grad():
        expected = prior.denoiser(noise_of(), level, condition).mean
        assert torch.equal(again.denoiser(noise_of(), level, condition).mean, expected)


def weights(folder: Path) -> Path:
    return next((folder / "unet").glob("*.safetensors"))


def drop_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(weights(folder))
    state.pop("conv_in.weight")
    save_file(state, weights(folder))


def poison_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(weights(folder))
    state["conv_in.bias"][0] = torch.nan
    save_file(state, weights(folder))


def change(folder: Path, file: str, **values: Any) -> None:
    path = folder / file
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | values))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "half the weights": (
        lambda f: weights(f).write_bytes(weights(f).read_bytes()[:1000]), "damaged"),
    "no weights": (lambda f: weights(f).unlink(), "there is no diffusion_pytorch_model"),
    "a weight is missing": (drop_a_weight, "1 missing keys, such as conv_in.weight"),
    "a weight is NaN": (poison_a_weight, "not finite"),
    "no configuration": (lambda f: (f / "unet/config.json").unlink(), "config.json is missing"),
    "broken json": (lambda f: (f / "scheduler/scheduler_config.json").write_text("{"), "damaged"),
    "no scheduler": (lambda f: (f / "scheduler").rename(f / "sched"), "no folder 'scheduler'"),
    "latent": (
        lambda f: (f / "model_index.json").write_text(
            '{"_class_name": "LDMPipeline", "unet": [], "scheduler": [], "vqvae": []}'),
        "LDMPipeline has vqvae too"),
    "no table": (
        lambda f: (f / "scheduler/scheduler_config.json").write_text(
            '{"_class_name": "ScoreSdeVeScheduler"}'), "ScoreSdeVeScheduler has no table"),
    "odd table": (
        lambda f: change(f, "scheduler/scheduler_config.json", trained_betas=[0.1, -0.1, 0.1]),
        "the table of DDIMScheduler cannot be used"),
    "odd prediction": (
        lambda f: change(f, "scheduler/scheduler_config.json", prediction_type="flow"),
        "it predicts 'flow'"),
    "other sizes": (lambda f: change(f, "unet/config.json", block_out_channels=[8, 24]), "unet"),
    "odd outputs": (lambda f: change(f, "unet/config.json", out_channels=5), "unet"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_folders_say_what_is_wrong(checkpoint: Callable[..., Path], name: str) -> None:
    folder = checkpoint()
    break_, why = DAMAGE[name]
    break_(folder)
    with pytest.raises(CheckpointError, match=why):
        from_diffusers(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        from_diffusers(tmp_path / "nowhere")


def test_a_pickle_with_code_is_not_run(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    import pickle

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "was here",)

    folder = checkpoint(safe=False)
    with next((folder / "unet").glob("*.bin")).open("wb") as file:
        pickle.dump({"conv_in.weight": Malicious()}, file)
    with pytest.raises(CheckpointError):
        from_diffusers(folder)
    assert not (tmp_path / "was here").exists()


def test_an_output_folder_in_use_is_left_alone(
    checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear diary")
    with pytest.raises(OutputExistsError):
        to_diffusers(from_diffusers(checkpoint()), tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "dear diary"


def test_priors_that_diffusers_cannot_express_are_refused(
    checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    prior = from_diffusers(checkpoint())
    own = Prior.new("image", "unet", shape=(1, None, None), options={"channels": 1})
    with pytest.raises(UnsupportedError, match="UNet on EDM"):
        to_diffusers(own, tmp_path / "a")
    with pytest.raises(UnsupportedError, match="codec"):
        to_diffusers(dataclasses.replace(prior, codec=Affine()), tmp_path / "b")


@pytest.mark.parametrize("steps", [[], [5, 5], [1, 2], [1000], [3, -1]])
def test_timesteps_that_do_not_fall_are_refused(steps: list[int]) -> None:
    with pytest.raises(InvalidOptionError, match="decreasing"):
        grid_from_timesteps(steps, 1000)
