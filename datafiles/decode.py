"""Encoded images become uint8 pixels of one size."""

import io

import numpy as np
from PIL import Image, ImageOps


def decode(data, size, crop):
    """An encoded image as uint8 [3, size, size], RGB, or None where it does not decode.

    Turned upright by its EXIF tag. Squashed to a square, or, with crop, the middle square is cut
    out first. Resized with an antialiased bicubic filter. Transparency turns white.
    """
    try:
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if image.mode.startswith("I"):  # 16 bits a pixel
            values = np.asarray(image).clip(0, 65535) / 257
            image = Image.fromarray(values.round().astype(np.uint8))
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        image = image.convert("RGB")
        image = image.resize(
            (size, size), Image.Resampling.BICUBIC, middle(image) if crop else None
        )
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
    except Exception:  # every decoder has errors of its own
        return None


def middle(image):
    """The largest square in the middle of an image: left, top, right, bottom."""
    side = min(image.size)
    left, top = ((length - side) / 2 for length in image.size)
    return left, top, left + side, top + side
