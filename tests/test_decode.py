"""Encoded images become pixels: geometry, colours, and the range of values."""

import io
import json
import struct
import threading
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import photograph, run_script
from PIL import Image

from common import load_dataset
from datafiles import decode as decoding
from datafiles.decode import decode


def encoded(image, suffix="png", **options):
    buffer = io.BytesIO()
    image.save(buffer, {"jpg": "JPEG"}.get(suffix, suffix.upper()), **options)
    return buffer.getvalue()


def pixels_of(image, suffix="png", size=32, crop=False, **options):
    return decode(io.BytesIO(encoded(image, suffix, **options)), size, crop)[0]


def test_an_image_of_the_right_size_is_kept_as_it_is():
    image = photograph(1, (64, 64))
    pixels = pixels_of(image, size=64)
    assert pixels.shape == (3, 64, 64) and pixels.dtype == np.uint8
    assert np.array_equal(pixels.transpose(1, 2, 0), np.asarray(image))


def test_larger_images_are_antialiased_and_squashed_to_a_square():
    image = photograph(2, (256, 192))
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    bicubic = dict(mode="bicubic", antialias=True, align_corners=False)
    reference = F.interpolate(x, (64, 64), **bicubic)[0].clamp(0, 255)
    pixels = torch.from_numpy(pixels_of(image, size=64)).float()
    assert (pixels - reference).abs().max() < 3 and (pixels - reference).abs().mean() < 0.5
    aliased = F.interpolate(x, (64, 64))[0]
    assert (pixels - aliased).abs().mean() > 2


@pytest.mark.parametrize("size", [(96, 32), (32, 96)])
def test_crop_takes_the_middle(size):
    image = Image.new("RGB", size, "red")
    left, top = ((length - 32) // 2 for length in size)
    image.paste("lime", (left, top, left + 32, top + 32))
    cropped, squashed = pixels_of(image, crop=True), pixels_of(image)
    assert (cropped[1] == 255).all() and (cropped[0] == 0).all()
    assert squashed[0].max() == 255 and squashed[1].max() == 255


def test_orientation_of_a_camera_is_followed():
    upright = photograph(3, (64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    turned = pixels_of(upright.transpose(Image.Transpose.ROTATE_90), "jpg", exif=exif, quality=100)
    plain = pixels_of(upright, "jpg", quality=100)
    assert np.abs(turned.astype(int) - plain).mean() < 2


def exif(*entries):
    """An EXIF block: a TIFF header, and a directory of (tag, type, count, value)."""
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + bytes(4)


TURNED = (0x0112, 3, 1, 6)  # orientation: a quarter
BROKEN = {
    "cut off": exif(TURNED)[:20],
    "points beyond its end": exif(TURNED, (0x8769, 4, 1, 2**31 - 1)),
    "cannot be written again": exif(TURNED, (0x8769, 4, 1, 26), (0x9003, 2, 2**20, 1)),
    "no TIFF": b"Exif\0\0XX*\0\x08\0\0\0" + exif(TURNED)[14:],
}


@pytest.mark.parametrize("block", BROKEN)
def test_a_broken_exif_block_is_passed_over(block):
    image = photograph(3, (48, 48))
    plain, turned = (image.transpose(turn) if turn else image for turn in (None, 4))
    found = pixels_of(image, "jpg", exif=BROKEN[block], quality=100).astype(int)
    distances = [np.abs(found - pixels_of(other, "png")).mean() for other in (plain, turned)]
    assert min(distances) < 4


def test_a_broken_exif_block_prints_nothing(tmp_path):
    write_ramps(tmp_path, np.uint8, 255, ".png")
    image = photograph(3, (48, 48))
    image.save(tmp_path / "noon" / "x.jpg", exif=BROKEN["cut off"])
    options = ["--dataset", "folder", "--data-dir", tmp_path, "--image-size", 32]
    done = run_script("prepare", *options)
    assert done.returncode == 0 and done.stderr == ""
    assert "train: dusk 6, noon 7;" in done.stdout


def test_grey_palette_cmyk_and_sixteen_bit_images_become_rgb():
    image = photograph(4, (32, 32))
    grey = np.asarray(image.convert("L"))
    for mode in ("L", "LA"):
        assert np.array_equal(pixels_of(image.convert(mode)), np.stack([grey] * 3))
    sixteen = Image.fromarray(grey.astype(np.uint16) * 257)
    assert sixteen.mode.startswith("I;16")
    assert np.array_equal(pixels_of(sixteen), np.stack([grey] * 3))
    rgb = np.asarray(image).transpose(2, 0, 1).astype(int)
    assert np.abs(pixels_of(image.quantize(256)) - rgb).mean() < 8
    assert np.abs(pixels_of(image.convert("CMYK"), "jpg", quality=100) - rgb).mean() < 8


def test_transparency_turns_white():
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 16, 32))
    pixels = pixels_of(image)
    assert (pixels[:, :, 20:] == 255).all()
    assert (pixels[0, :, :12] == 0).all() and (pixels[2, :, :12] == 255).all()


# The range of values


def ramp(seed):
    """Values from 0 to 1, a gradient that differs with the seed. float [24, 24]"""
    rows, columns = np.mgrid[0:24, 0:24] / 23
    return (rows + (1 + seed % 5) * columns) / (2 + seed % 5)


def write_ramps(folder, dtype, white, suffix, darker=()):
    """Two categories of 8 images of values 0 … white; those in darker reach a fiftieth of it."""
    for category in ("dusk", "noon"):
        (folder / category).mkdir(parents=True)
        for seed in range(8):
            values = ramp(seed) * white / (50 if seed in darker else 1)
            if dtype != np.float32:
                values = values.round()
            path = folder / category / f"{seed}{suffix}"
            Image.fromarray(values.astype(dtype)).save(path)
    return folder


TYPES = {
    "float 0 to 1": (np.float32, 1, ".tif"),
    "float 0 to 255": (np.float32, 255, ".tif"),
    "float 0 to 65535": (np.float32, 65535, ".tif"),
    "32-bit integers 0 to 255": (np.int32, 255, ".tif"),
    "32-bit integers 0 to 65535": (np.int32, 65535, ".tif"),
    "10 of 16 bits": (np.uint16, 1023, ".png"),
    "12 of 16 bits": (np.uint16, 4095, ".png"),
    "16 of 16 bits": (np.uint16, 65535, ".png"),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("darker", [(), (2, 3, 5)])
def test_values_of_every_type_give_the_same_picture_as_8_bits(tmp_path, kind, darker, capsys):
    dtype, white, suffix = TYPES[kind]
    write_ramps(tmp_path / "wide", dtype, white, suffix, darker)
    write_ramps(tmp_path / "eight", np.uint8, 255, suffix, darker)
    wide, eight = (
        [
            load_dataset("folder", tmp_path / name, split, image_size=32)[0]
            for split in ("train", "test")
        ]
        for name in ("wide", "eight")
    )
    output = capsys.readouterr().out
    for ours, theirs in zip(wide, eight):
        assert np.abs(np.asarray(ours).astype(int) - theirs).max() <= 2
    assert f"white is {white}" in output and "nearly constant" not in output


@pytest.mark.parametrize("twice", [False, True])
def test_floats_beyond_their_range_are_cut_off_or_left_out(tmp_path, twice, capsys):
    """An image of another range lets all of them be decoded twice, which changes nothing."""
    write_ramps(tmp_path, np.float32, 255, ".tif")
    images = {"dusk/0": ramp(0) * 255 * 1.05 - 5, "dusk/1": ramp(1) * (1 if twice else 255)}
    images |= {"noon/x": ramp(0) - 99, "noon/y": ramp(0) * 1e9, "noon/z": ramp(0) * np.nan}
    for name, values in images.items():
        Image.fromarray(values.astype(np.float32)).save(tmp_path / f"{name}.tif")
    assert len(load_dataset("folder", tmp_path, "train", image_size=32)[0]) == 12
    output = capsys.readouterr().out
    assert ("decoding again" in output) == twice
    assert "white is 255" in output and "left out, as no image: 3 .tif" in output
    assert "float values from -99 to -98, expected 0 to one of [" in output


# Large images


def png_header(width, height):
    """The beginning of a PNG that says that the image is so large."""
    chunk = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\1\0\0\0\0"
    check = zlib.crc32(chunk).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0d" + chunk + check + b"\0\0\0\x64IDAT"


def test_images_of_too_many_pixels_are_left_out(tmp_path):
    write_ramps(tmp_path, np.uint8, 255, ".png")
    for name, size in [("under", (15_000, 15_000)), ("over", (20_000, 20_000))]:
        (tmp_path / "noon" / f"{name}.png").write_bytes(png_header(*size))
    load_dataset("folder", tmp_path, "train", image_size=32)
    (summary,) = (tmp_path / ".cache").glob("*/summary.json")
    left_out = json.loads(summary.read_text())["left_out"]
    assert "400000000 pixels) exceeds limit of 300000000" in left_out["noon/over.png"]
    assert "pixels" not in left_out["noon/under.png"]  # which is damaged, but not too large


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    with decoding.ONE_LARGE:
        pixels_of(photograph(1))  # which is small, and does not wait
        monkeypatch.setattr(decoding, "LARGE", 80 * 60 - 1)
        thread = threading.Thread(target=pixels_of, args=[photograph(1)])
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(60)
    assert not thread.is_alive()
