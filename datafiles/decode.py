"""Encoded images become uint8 pixels of one size.

The range of an image's values comes from its type and its data. Files of 8 bits a channel are taken
as they are. Files of 16-bit or 32-bit integers, and of floats, do not say what white is: white is
the end of the smallest of the RANGES that holds every image of that type in the data set.
"""

import contextlib
import threading
import warnings

import numpy as np
from PIL import Image, ImageOps

Image.MAX_IMAGE_PIXELS = 150_000_000  # Pillow refuses images of more than twice as many
warnings.filterwarnings("ignore", module="PIL")  # of large images, and of broken EXIF blocks

# Decoding takes 12 bytes a pixel, so images with more pixels wait for each other
LARGE = 30_000_000
ONE_LARGE = threading.Lock()

INTEGERS = [2**bits - 1 for bits in (8, 10, 12, 14, 16)]
RANGES = {"16-bit": INTEGERS, "32-bit": INTEGERS, "float": [1, 255, 65535]}
KINDS = {"I": "32-bit", "F": "float"}  # by Pillow's mode; "I;16" has variants of byte order
TOLERANCE = 0.1  # of the range: floats may pass it by so much, as sharpened images do


def decode(file, size, crop, whites=None):
    """Decode an image, from a path or an open file: RGB, size × size pixels.

    Turned upright by its EXIF tag, if that can be read. Squashed to a square, or, with crop, the
    middle square is cut out first. Resized with an antialiased bicubic filter. Transparency turns
    white. Of several frames or pages, the first. whites: the value of white by kind, where it is
    known.

    Raises PIL.UnidentifiedImageError for what is no image, and many errors for a damaged one.
    """
    image = Image.open(file)
    large = image.width * image.height > LARGE
    with ONE_LARGE if large else contextlib.nullcontext():
        image.load()  # so that only what is wrong with the EXIF block is passed over
        with contextlib.suppress(Exception):
            image = ImageOps.exif_transpose(image)
        kind = white = None
        if image.mode.startswith(("I", "F")):
            kind = KINDS.get(image.mode, "16-bit")
            image, white = eight_bits(np.asarray(image), kind, (whites or {}).get(kind))
        if image.has_transparency_data:
            background = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(background, image.convert("RGBA"))
        image = image.convert("RGB")
        resize = ImageOps.fit if crop else Image.Image.resize
        image = resize(image, (size, size), Image.Resampling.BICUBIC)
    pixels = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
    return pixels, kind, white


def eight_bits(values, kind, white=None):
    """Grey values of more than 8 bits as an image of 8 bits, and the value that became white.

    white: that value, where it is known; else the smallest of RANGES[kind] that holds the image.
    Raises ValueError for values that no range holds.
    """
    low, high = float(values.min()), float(values.max())
    tolerance = TOLERANCE if kind == "float" else 0
    ends = RANGES[kind] if white is None else [white]
    fitting = [end for end in ends if high <= end * (1 + tolerance)]
    if not fitting or not low >= -fitting[0] * tolerance:
        raise ValueError(f"{kind} values from {low:g} to {high:g}, expected 0 to one of {ends}")
    white = fitting[0]
    pixels = values.astype(np.float64).clip(0, white) * (255 / white)
    return Image.fromarray(pixels.round().astype(np.uint8)), white
