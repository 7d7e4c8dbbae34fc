"""A folder of pictures: what an item depends on, what is held out, what is skipped."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sfumato.errors import InvalidOptionError, UnreadableFileError
from sfumato.training.feeds import Data
from sfumato_image import PLUGIN
from sfumato_image.datasets import Pictures

Pixels = NDArray[np.uint8]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def write_ramp(path: Path, height: int = 40, width: int = 60) -> None:
    """Every pixel tells its column (red) and its row (green)."""
    rows, columns = np.mgrid[:height, :width]
    Image.fromarray(np.stack([columns, rows, 0 * rows], -1).astype(np.uint8)).save(path)


def test_the_contract_of_training_is_met(folder_of_photographs: Path) -> None:
    data = PLUGIN.dataset(folder_of_photographs, size=16)
    assert isinstance(data, Data)
    item = data.item(0, seeded(0))
    assert item.shape == (3, 16, 16)
    assert item.dtype == torch.float32
    assert item.min() >= 0
    assert item.max() <= 1
    assert data.card["pictures"] == len(data)


def test_damaged_files_are_skipped_and_listed_with_the_reason(folder_of_photographs: Path) -> None:
    data = Pictures(folder_of_photographs, size=16, validation=0)
    assert len(data) == 6
    reasons = {path.name: why for path, why in data.skipped}
    assert reasons.keys() == {"cut.png", "empty.jpg"}
    assert "damaged or cut short" in reasons["cut.png"]
    assert "it is empty" in reasons["empty.jpg"]


def test_damage_found_on_the_way_is_noted_and_the_next_picture_steps_in(
    folder_of_photographs: Path,
) -> None:
    data = Pictures(folder_of_photographs, size=16, validation=0, verify=False)
    assert len(data) == 8
    assert not data.skipped
    for index in range(len(data)):
        assert data.item(index, seeded(index)).shape == (3, 16, 16)
    assert {path.name for path, _ in data.skipped} == {"cut.png", "empty.jpg"}


def test_an_item_depends_on_index_and_generator_only(folder_of_photographs: Path) -> None:
    one = Pictures(folder_of_photographs, size=16, scales=(0.5, 1), rotations=True)
    two = Pictures(folder_of_photographs, size=16, scales=(0.5, 1), rotations=True, cache=0)
    before = torch.random.get_rng_state()
    for index in (3, 0, 2, 0):
        two.item(index, seeded(9))
    for index in range(len(one)):
        assert torch.equal(one.item(index, seeded(5)), two.item(index, seeded(5)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_windows_are_unbiased_and_reach_every_corner(tmp_path: Path) -> None:
    write_ramp(tmp_path / "ramp.png")
    data = Pictures(tmp_path, size=20, flips=False, validation=0)
    generator = seeded(0)
    places = {
        tuple((255 * data.item(0, generator)[:2, 0, 0]).round().int().tolist()) for _ in range(4000)
    }
    columns, rows = ({place[axis] for place in places} for axis in (0, 1))
    # 41 × 21 places; a given column is missed by 4000 draws with probability e^−97
    assert columns == set(range(41))
    assert rows == set(range(21))


def test_half_of_the_windows_are_mirrored_and_a_quarter_stands(tmp_path: Path) -> None:
    write_ramp(tmp_path / "ramp.png")
    generator, count = seeded(0), 2000
    flipped = Pictures(tmp_path, size=20, validation=0)
    share = np.mean(
        [bool((d := flipped.item(0, generator)[0])[0, 0] > d[0, -1]) for _ in range(count)]
    )
    turned = Pictures(tmp_path, size=20, validation=0, flips=False, rotations=True)
    upright = np.mean(
        [bool((d := turned.item(0, generator)[0])[0, 0] < d[0, -1]) for _ in range(count)]
    )
    assert share == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(count))
    assert upright == pytest.approx(0.25, abs=5 * 0.44 / np.sqrt(count))


def test_a_window_at_full_scale_is_the_pixels_themselves(tmp_path: Path) -> None:
    write_ramp(tmp_path / "ramp.png")
    item = Pictures(tmp_path, size=20, validation=0).item(0)
    expected = torch.arange(20, 40).expand(20, 20)
    assert torch.equal((255 * item[0]).round().int(), expected.int())


def test_smaller_scales_show_more_of_the_picture(tmp_path: Path) -> None:
    write_ramp(tmp_path / "ramp.png")
    item = Pictures(tmp_path, size=20, validation=0, scales=(0.5, 0.5)).item(0)
    assert item.shape == (3, 20, 20)
    span = 255 * (item[0, 0, -1] - item[0, 0, 0])
    assert span.item() == pytest.approx(38, abs=1)


def test_held_out_pictures_are_apart_and_one_more_moves_at_most_one(
    folder_of_photographs: Path, photograph: Pixels
) -> None:
    def names(data: Pictures | None) -> set[str]:
        assert data is not None
        return {entry.path.name for entry in data.entries}

    data = Pictures(folder_of_photographs, size=16, validation=0.34)
    train, held = names(data), names(data.validation())
    assert len(held) == 2
    assert not train & held
    other_seeds = [
        names(Pictures(folder_of_photographs, size=16, validation=0.34, seed=s).validation())
        for s in range(1, 6)
    ]
    assert any(other != held for other in other_seeds)
    Image.fromarray(photograph).save(folder_of_photographs / "birds" / "later.png")
    again = Pictures(folder_of_photographs, size=16, validation=0.34)
    assert len((names(again.validation()) - {"later.png"}) ^ held) <= 1


def test_without_validation_there_is_none(folder_of_photographs: Path) -> None:
    assert Pictures(folder_of_photographs, size=16, validation=0).validation() is None


def test_a_single_picture_is_split_into_two_parts(tmp_path: Path) -> None:
    write_ramp(tmp_path / "ramp.png", width=100)
    data = Pictures(tmp_path / "ramp.png", size=20, validation=0.3)
    held = data.validation()
    assert held is not None
    generator = seeded(0)
    seen = max(int(255 * data.item(0, generator)[0].max() + 0.5) for _ in range(200))
    kept = min(int(255 * held.item(0, generator)[0].min() + 0.5) for _ in range(200))
    assert seen == 69
    assert kept == 70


def test_sub_folders_are_classes(folder_of_photographs: Path) -> None:
    data = Pictures(folder_of_photographs, size=16, labels=True, validation=0)
    assert data.classes == ("birds", "cats")
    for index, entry in enumerate(data.entries):
        item: Any = data.item(index, seeded(0))
        assert item["x"].shape == (3, 16, 16)
        assert data.classes[int(item["label"])] == entry.path.parent.name


def test_a_pattern_names_files(folder_of_photographs: Path) -> None:
    data = Pictures(f"{folder_of_photographs}/**/*.png", size=16, validation=0)
    assert {entry.path.name for entry in data.entries} == {"a.png", "e.png", "f.png"}


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_converted_to_the_channels_asked_for(
    folder_of_photographs: Path, channels: int
) -> None:
    data = Pictures(folder_of_photographs, size=16, channels=channels, validation=0)
    assert all(data.item(i).shape == (channels, 16, 16) for i in range(len(data)))


def test_grey_is_the_luma_that_pillow_computes(tmp_path: Path, photograph: Pixels) -> None:
    image = Image.fromarray(photograph)
    image.save(tmp_path / "a.png")
    found = Pictures(tmp_path, size=48, channels=1, validation=0).item(0)
    expected = np.asarray(image.convert("L"))[:, 8:56]
    assert np.abs(found[0].numpy() * 255 - expected).max() <= 1.01


def test_sixteen_bits_are_not_reduced_to_eight(tmp_path: Path) -> None:
    import tifffile

    pixels = np.arange(400, dtype=np.uint16).reshape(20, 20)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
    item = Pictures(tmp_path, size=20, channels=1, validation=0).item(0)
    assert torch.equal((item[0] * 65535).round().int(), torch.arange(400).view(20, 20).int())


def test_the_cache_is_bounded_and_forgets_the_oldest(folder_of_photographs: Path) -> None:
    one = 48 * 64 * 3
    data = Pictures(folder_of_photographs, size=16, validation=0, cache=2 * one)
    for index in range(len(data)):
        data.item(index)
        assert data.cache.used == sum(p.nbytes for p in data.cache.held.values()) <= 2 * one
    newest = [entry.path for entry in data.entries[-2:]]
    assert list(data.cache.held) == newest


def test_workers_get_the_set_without_its_cache(folder_of_photographs: Path) -> None:
    data = Pictures(folder_of_photographs, size=16)
    sent = pickle.dumps(data)
    assert len(sent) < 48 * 64 * 3  # less than one decoded picture
    assert torch.equal(pickle.loads(sent).item(1, seeded(3)), data.item(1, seeded(3)))


def test_pictures_that_are_too_small_are_skipped(folder_of_photographs: Path) -> None:
    Image.new("RGB", (15, 40)).save(folder_of_photographs / "small.png")
    data = Pictures(folder_of_photographs, size=16, validation=0)
    assert any("15×40 pixels, less than the 16" in why for _, why in data.skipped)


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(UnreadableFileError, match="there are no pictures"):
        Pictures(tmp_path)
    with pytest.raises(UnreadableFileError, match="no such file or folder"):
        Pictures(tmp_path / "nowhere")


def test_a_folder_of_damaged_pictures_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UnreadableFileError, match=r"none of its 1 pictures .*a\.png: "):
        Pictures(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"channels": 2}, {"scales": (0, 1)}, {"scales": (1, 2)}, {"validation": 1.0}],
)
def test_options_without_sense_are_refused(
    folder_of_photographs: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidOptionError):
        Pictures(folder_of_photographs, **options)


def test_the_card_changes_with_the_files(folder_of_photographs: Path, photograph: Pixels) -> None:
    before = Pictures(folder_of_photographs, size=16, validation=0).card["sha256"]
    assert Pictures(folder_of_photographs, size=16, validation=0).card["sha256"] == before
    Image.fromarray(255 - photograph).save(folder_of_photographs / "birds" / "a.png")
    assert Pictures(folder_of_photographs, size=16, validation=0).card["sha256"] != before
