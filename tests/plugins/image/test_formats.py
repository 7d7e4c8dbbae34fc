"""Picture formats: write ∘ read is the identity, headers survive, errors name the path."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sfumato.errors import (
    NotFiniteError,
    ShapeError,
    UnreadableFileError,
    UnwritableFileError,
)
from sfumato.signals import Format, Signal
from sfumato_image import PLUGIN
from sfumato_image.files.pixels import split_exif
from sfumato_image.formats import FORMATS, JPEG, PNG, TIFF

Pixels = NDArray[np.uint8]


def random_pixels(dtype: str, channels: int, size: tuple[int, int] = (5, 7)) -> NDArray[np.generic]:
    generator = np.random.default_rng(0)
    shape = size if channels == 1 else (*size, channels)
    if dtype.startswith("float"):
        return generator.uniform(-0.5, 3, shape).astype(dtype)
    return generator.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def save(path: Path, pixels: NDArray[np.generic]) -> None:
    """Writes with a library that is not under test here."""
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(pixels))
    elif path.suffix == ".tif":
        kind = "rgb" if pixels.ndim == 3 and pixels.shape[-1] > 2 else "minisblack"
        extra = (2,) if pixels.ndim == 3 and pixels.shape[-1] in (2, 4) else None
        tifffile.imwrite(path, pixels, photometric=kind, extrasamples=extra)
    else:
        Image.fromarray(pixels).save(path, lossless=True, exact=True)


def load(path: Path) -> NDArray[np.generic]:
    if path.suffix == ".png":
        return imagecodecs.png_decode(path.read_bytes())
    return tifffile.imread(path) if path.suffix == ".tif" else np.asarray(Image.open(path))


EXACT = [
    *((f".{kind}", dtype, channels) for kind in ("png", "tif")
      for dtype in ("uint8", "uint16") for channels in (1, 2, 3, 4)),
    *((".tif", dtype, channels) for dtype in ("float16", "float32") for channels in (1, 3)),
    (".webp", "uint8", 3), (".webp", "uint8", 4),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "dtype", "channels"), EXACT)
def test_what_is_read_and_written_is_the_same_numbers(
    tmp_path: Path, suffix: str, dtype: str, channels: int
) -> None:
    pixels = random_pixels(dtype, channels)
    save(tmp_path / f"in{suffix}", pixels)
    signal = PLUGIN.read(tmp_path / f"in{suffix}")
    PLUGIN.write(signal, tmp_path / f"out{suffix}")
    written = load(tmp_path / f"out{suffix}")
    assert written.dtype == pixels.dtype
    np.testing.assert_array_equal(written, pixels)


@pytest.mark.parametrize(("suffix", "dtype", "channels"), EXACT)
def test_data_are_float_channels_first_and_alpha_is_apart(
    tmp_path: Path, suffix: str, dtype: str, channels: int
) -> None:
    pixels = random_pixels(dtype, channels)
    save(tmp_path / f"in{suffix}", pixels)
    signal = PLUGIN.read(tmp_path / f"in{suffix}")
    assert signal.data.dtype == torch.float32
    assert signal.data.shape == (1 if channels <= 2 else 3, 5, 7)
    assert (signal.meta["alpha"] is not None) == (channels in (2, 4))
    stored = pixels.reshape(5, 7, -1).astype(float)
    np.testing.assert_allclose(
        signal.data[0].numpy() * signal.meta["scale"], stored[..., 0], rtol=1e-6, atol=1e-6
    )
    assert dtype.startswith("float") or (signal.data.min() >= 0 and signal.data.max() <= 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_exif_orientation_is_applied_once(
    tmp_path: Path,
    photograph: Pixels,
    exif: Callable[[int], bytes],
    suffix: str,
    orientation: int,
) -> None:
    path = tmp_path / f"in{suffix}"
    if suffix == ".tif":
        tag = [(274, 3, 1, orientation, True)]
        tifffile.imwrite(path, photograph, photometric="rgb", extratags=tag)
    else:
        Image.fromarray(photograph).save(path, exif=exif(orientation), lossless=True)
    with Image.open(path) as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert("RGB")) / 255
    signal = PLUGIN.read(path)
    again = PLUGIN.read(PLUGIN.write(signal, tmp_path / f"out{suffix}"))
    np.testing.assert_allclose(signal.data.permute(1, 2, 0), shown, atol=1e-6)
    assert signal.meta["orientation"] == orientation
    assert again.meta["orientation"] == 1
    assert again.data.shape == signal.data.shape
    assert (again.data - signal.data).abs().mean() < 0.01


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_the_rest_of_exif_is_kept(
    tmp_path: Path, photograph: Pixels, exif: Callable[[int], bytes], suffix: str
) -> None:
    Image.fromarray(photograph).save(tmp_path / f"in{suffix}", exif=exif(6))
    PLUGIN.write(PLUGIN.read(tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        tags = image.getexif()
        assert tags[0x0112] == 1
        assert tags[0x010F] == "A camera"
        assert tags.get_ifd(0x8769)[0x9003] == "2021:07:14 10:11:12"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_the_colour_profile_is_kept(
    tmp_path: Path, photograph: Pixels, srgb: bytes, suffix: str
) -> None:
    Image.fromarray(photograph).save(tmp_path / f"in{suffix}", icc_profile=srgb)
    PLUGIN.write(PLUGIN.read(tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.info["icc_profile"] == srgb


def test_the_profile_of_a_grey_picture_does_not_enter_a_coloured_one(
    tmp_path: Path, srgb: bytes
) -> None:
    grey = srgb[:16] + b"GRAY" + srgb[20:]
    signal = Signal(torch.zeros(3, 4, 4), {"icc": grey})
    assert PNG().read(PNG().write(signal, tmp_path / "out.png")).meta["icc"] is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_the_resolution_is_kept(tmp_path: Path, photograph: Pixels, suffix: str) -> None:
    Image.fromarray(photograph).save(tmp_path / f"in{suffix}", dpi=(300, 150))
    PLUGIN.write(PLUGIN.read(tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert [float(v) for v in image.info["dpi"]] == pytest.approx([300, 150], abs=0.02)


def test_text_in_a_png_is_kept(tmp_path: Path, photograph: Pixels) -> None:
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("Author", "A person")
    Image.fromarray(photograph).save(tmp_path / "in.png", pnginfo=notes)
    PNG().write(PNG().read(tmp_path / "in.png"), tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["Author"] == "A person"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA"])
def test_every_kind_of_png_shows_what_pillow_shows(
    tmp_path: Path, photograph: Pixels, mode: str
) -> None:
    image = Image.fromarray(photograph)
    image = image.convert("RGBA").quantize(16) if mode == "PA" else image.convert(mode)
    image.save(tmp_path / "in.png", **({"transparency": 3} if mode == "PA" else {}))
    signal = PNG().read(tmp_path / "in.png")
    with Image.open(tmp_path / "in.png") as stored:
        shown = np.asarray(stored.convert("RGBA")).astype(np.float32) / 255
    colours = signal.data.expand(3, -1, -1).permute(1, 2, 0)
    np.testing.assert_allclose(colours, shown[..., :3], atol=1e-6)
    if signal.meta["alpha"] is not None:
        np.testing.assert_allclose(signal.meta["alpha"][0], shown[..., 3], atol=1e-6)


def test_a_white_is_zero_tiff_is_not_a_negative(tmp_path: Path) -> None:
    pixels = random_pixels("uint8", 1)
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="miniswhite")
    signal = TIFF().read(tmp_path / "in.tif")
    np.testing.assert_allclose(signal.data[0] * 255, 255 - pixels.astype(int), atol=1e-4)


def test_a_palette_tiff_is_read_in_colour(tmp_path: Path, photograph: Pixels) -> None:
    image = Image.fromarray(photograph).quantize(16)
    image.save(tmp_path / "in.tif")
    signal = TIFF().read(tmp_path / "in.tif")
    shown = np.asarray(image.convert("RGB")) / 255
    np.testing.assert_allclose(signal.data.permute(1, 2, 0), shown, atol=1e-6)


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd", "jpeg"])
def test_lossless_tiff_compression_is_kept(
    tmp_path: Path, photograph: Pixels, compression: str | None
) -> None:
    tifffile.imwrite(tmp_path / "in.tif", photograph, photometric="rgb", compression=compression)
    signal = TIFF().read(tmp_path / "in.tif")
    TIFF().write(signal, tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        name = file.pages.first.compression.name
    expected = {None: "NONE", "lzw": "LZW", "zstd": "ZSTD"}.get(compression, "ADOBE_DEFLATE")
    assert name == expected
    assert torch.equal(TIFF().read(tmp_path / "out.tif").data, signal.data)


def test_planes_stored_one_by_one_are_read_as_colours(tmp_path: Path, photograph: Pixels) -> None:
    planes = np.moveaxis(photograph, -1, 0)
    tifffile.imwrite(tmp_path / "in.tif", planes, photometric="rgb", planarconfig="separate")
    signal = TIFF().read(tmp_path / "in.tif")
    np.testing.assert_allclose(signal.data * 255, planes, atol=1e-4)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75])
def test_jpeg_tables_are_those_of_the_file(
    tmp_path: Path, photograph: Pixels, quality: int, subsampling: int
) -> None:
    path = tmp_path / "in.jpg"
    Image.fromarray(photograph).save(path, quality=quality, subsampling=subsampling)
    coded = JPEG().read(path).meta["jpeg"]
    with Image.open(path) as image:
        assert list(coded["tables"][0]) == list(image.quantization[0])  # type: ignore[attr-defined]
        assert list(coded["tables"][1]) == list(image.quantization[1])  # type: ignore[attr-defined]
    assert coded["sampling"][0] == {0: (1, 1), 1: (2, 1), 2: (2, 2)}[subsampling]
    assert coded["sampling"][1] == (1, 1)


def test_a_restored_jpeg_is_stored_finer_than_it_was_found(
    tmp_path: Path, photograph: Pixels
) -> None:
    Image.fromarray(photograph).save(tmp_path / "in.jpg", quality=20)
    found = JPEG().read(tmp_path / "in.jpg")
    restored = found.with_data(torch.from_numpy(photograph).permute(2, 0, 1) / 255)
    again = JPEG().read(JPEG().write(restored, tmp_path / "out.jpg"))
    error = (again.data - restored.data).square().mean().sqrt()
    # uniform rounding errors of the largest step, 12, in every coefficient: 12/√12 = 3.5
    assert error < 3.5 / 255
    assert max(again.meta["jpeg"]["tables"][0]) <= 12


def test_a_fine_jpeg_keeps_its_tables_and_sampling(tmp_path: Path, photograph: Pixels) -> None:
    Image.fromarray(photograph).save(tmp_path / "in.jpg", quality=98, subsampling=2)
    found = JPEG().read(tmp_path / "in.jpg")
    again = JPEG().read(JPEG().write(found, tmp_path / "out.jpg"))
    assert again.meta["jpeg"] == found.meta["jpeg"]
    assert (again.data - found.data).abs().mean() <= 1 / 255


def test_alpha_follows_a_picture_that_grows(tmp_path: Path) -> None:
    save(tmp_path / "in.png", random_pixels("uint8", 4))
    signal = PNG().read(tmp_path / "in.png")
    grown = signal.with_data(signal.data.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert PNG().read(PNG().write(grown, tmp_path / "out.png")).meta["alpha"].shape == (1, 10, 14)


def test_a_sixteen_bit_picture_fits_into_a_jpeg_and_a_float_one_into_a_png(tmp_path: Path) -> None:
    data = torch.linspace(-0.2, 1.2, 64).reshape(1, 8, 8)
    jpeg = JPEG().read(JPEG().write(Signal(data, {"dtype": "uint16"}), tmp_path / "a.jpg"))
    png = PNG().read(PNG().write(Signal(data, {"dtype": "float32"}), tmp_path / "a.png"))
    assert jpeg.meta["dtype"] == "uint8"
    assert png.meta["dtype"] == "uint16"
    torch.testing.assert_close(png.data, data.clamp(0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_signal_without_header_is_written_with_eight_bits(
    tmp_path: Path, kind: Callable[[], Format]
) -> None:
    path = tmp_path / f"out{kind().suffixes[0]}"
    signal = kind().read(kind().write(Signal(torch.full((3, 8, 8), 0.5)), path))
    assert signal.meta["dtype"] == "uint8"
    assert (signal.data - 0.5).abs().max() <= 1 / 255


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_meet_the_protocol(kind: Callable[[], Format]) -> None:
    assert isinstance(kind(), Format)


SUFFIXES = [".png", ".jpg", ".tif", ".webp"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", ["missing", "empty", "half", "tail", "text", "folder", "other"])
def test_unreadable_files_are_named(
    tmp_path: Path, photograph: Pixels, suffix: str, content: str
) -> None:
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(photograph).save(path)
    whole = path.read_bytes()
    path.unlink()
    if content == "folder":
        path.mkdir()
    elif content == "other":
        Image.fromarray(photograph).save(path, "GIF")
    elif content != "missing":
        pieces = {"empty": b"", "half": whole[: len(whole) // 2], "tail": whole[:-20]}
        path.write_bytes(pieces.get(content, b"Dear reader, this is a text."))
    format_ = next(kind() for kind in FORMATS if suffix in kind().suffixes)
    with pytest.raises(UnreadableFileError, match=f"photo{suffix}"):
        format_.read(path)


def test_a_file_of_another_kind_is_recognised(tmp_path: Path, photograph: Pixels) -> None:
    Image.fromarray(photograph).save(tmp_path / "photo.png", "JPEG")
    with pytest.raises(UnreadableFileError, match="it is a JPEG file, not PNG; rename it"):
        PNG().read(tmp_path / "photo.png")


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_refused_with_a_hint(tmp_path: Path, photograph: Pixels, suffix: str) -> None:
    path = tmp_path / f"in{suffix}"
    Image.fromarray(photograph).convert("CMYK").save(path)
    with pytest.raises(UnreadableFileError, match="convert it to RGB first"):
        PLUGIN.read(path)


@pytest.mark.parametrize(("shape", "why"), [((4, 9, 9), "4 pictures"), ((9, 9, 6), "6 channels")])
def test_stacks_and_odd_channel_counts_are_refused(
    tmp_path: Path, shape: tuple[int, ...], why: str
) -> None:
    config = "contig" if shape[-1] == 6 else None
    pixels = np.zeros(shape, np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="minisblack", planarconfig=config)
    with pytest.raises(UnreadableFileError, match=why):
        TIFF().read(tmp_path / "in.tif")


@pytest.mark.parametrize("dtype", ["int16", "uint32", "complex64"])
def test_unusual_numbers_are_refused(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((4, 4), dtype), photometric="minisblack")
    with pytest.raises(UnreadableFileError, match=dtype):
        TIFF().read(tmp_path / "in.tif")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    with pytest.raises(UnreadableFileError, match="60000×60000 pixels are more than 179 million"):
        PNG().read(path)


def test_an_animation_is_refused(tmp_path: Path, photograph: Pixels) -> None:
    first, second = Image.fromarray(photograph), Image.fromarray(255 - photograph)
    for suffix in (".png", ".webp"):
        path = tmp_path / f"in{suffix}"
        first.save(path, save_all=True, append_images=[second])
        with pytest.raises(UnreadableFileError, match="animated"):
            PLUGIN.read(path)


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4), (5, 4, 4), (3, 0, 4)])
def test_other_shapes_are_not_written(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError):
        PNG().write(Signal(torch.zeros(shape)), tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


def test_integers_cannot_hold_nan(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match="1 of 16"):
        PNG().write(
            Signal(torch.tensor([torch.nan] + [0.0] * 15).view(1, 4, 4)), tmp_path / "a.png"
        )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left(
    tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnwritableFileError, match="out"):
        PLUGIN.write(Signal(torch.zeros(3, 8, 8)), tmp_path / "file" / f"out{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file_as_it_was(suffix: str, tmp_path: Path) -> None:
    import resource
    import signal as signals

    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"old")
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signals.signal(signals.SIGXFSZ, signals.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(UnwritableFileError, match=path.name):
            PLUGIN.write(Signal(noise), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signals.signal(signals.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_damaged_exif_block_is_no_obstacle() -> None:
    assert split_exif(b"Exif\x00\x00II*\x00\xff\xff\xff\xff") == (None, 1)


def test_a_simulated_jpeg_is_written_as_it_is_until_the_picture_changes(
    tmp_path: Path, photograph: Pixels
) -> None:
    Image.fromarray(photograph).save(tmp_path / "in.jpg", quality=10)
    content = (tmp_path / "in.jpg").read_bytes()
    found = JPEG().read(tmp_path / "in.jpg")
    simulated = Signal(found.data, {**found.meta, "encoded": content})
    assert JPEG().write(simulated, tmp_path / "a.jpg").read_bytes() == content
    changed = simulated.with_data(simulated.data.flip(2))
    assert JPEG().write(changed, tmp_path / "b.jpg").read_bytes() != content
