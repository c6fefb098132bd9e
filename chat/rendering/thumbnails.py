"""Thumbnails of pictures, within limits of memory. Only rendering processes load this: they can be killed."""

import base64
import io
import struct

from PIL import Image, ImageOps

SIDE = 512  # pixels
# Of the decoded picture: 128 MB of memory. Photos have up to 200 million, as JPEG, which is decoded at an
# eighth of its size.
PIXELS_MAX = 32_000_000
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "AVIF")
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is before the smaller decoding of JPEG


def thumbnail_of(path: str) -> str | None:
    """Return the picture as WebP in base64, turned as its EXIF data say.

    Return None if it has too many pixels, or cannot be decoded.
    """
    try:
        shown = _reduced(path)
    # Pillow raises all of these for broken pictures.
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, struct.error):
        return None
    if shown is None:
        return None
    buffer = io.BytesIO()
    shown.save(buffer, "WEBP", quality=80)  # without EXIF data: it may say where the picture was taken
    return base64.b64encode(buffer.getvalue()).decode()


def _reduced(path: str) -> Image.Image | None:
    with Image.open(path, formats=FORMATS) as image:
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        if image.width * image.height > PIXELS_MAX:
            return None
        image.thumbnail((SIDE, SIDE))
        turned = ImageOps.exif_transpose(image)
        return turned.convert("RGBA" if turned.has_transparency_data else "RGB")
