"""A person's own pictures: the one door through which they come in.

`open_picture` turns a photo, a scan or a drawing of a digit into what the networks know, in the way MNIST was made:
light ink on black, 20 pixels long, its center of mass in the middle.  `open_square` takes any picture as it is, for
training on pictures of one's own.
"""

import os
import warnings
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.nn import functional as F

from minidiff.data.ink import BOX, SIDE, PictureError, as_mnist, find_ink, is_done
from minidiff.tools.checks import check, check_shape, kind_of
from minidiff.tools.files import one_line

WORKING = 512                                                    # the longer side at which ink is looked for
LARGEST = 80_000_000                                             # pixels: more is no photo of a digit


def open_picture(source):
    """A picture of one digit, by its file -> the picture (1, 3, 32, 32) in [-1, 1] that the networks know, and a
    sentence that says what was done to it.

    source: a PNG or JPEG file, or another that pillow reads, of any size and mode; a PIL image or an array of bytes;
    or a picture as a tensor in [-1, 1].  Ink may be dark or light.  Where it has a color, that is kept; black ink
    becomes white.
    """
    rgb, alpha, name, did = _read(source, WORKING)
    if alpha is None and is_done(rgb):
        edge = (SIDE - len(rgb)) // 2
        picture = F.pad(torch.tensor(rgb).movedim(-1, 0) * 2 - 1, (edge,) * 4, value=-1.0)
        return picture[None], f"{did}: light ink in the middle of a black ground, left as it is"
    ink, color, kind = find_ink(rgb, alpha, name)
    small, thickened = as_mnist(torch.tensor(ink))
    picture = small * torch.tensor(color)[:, None, None] * 2 - 1                       # (3, 32, 32)
    return picture[None], f"{did}: {kind}; {thickened}scaled to {BOX} pixels, and centered by its mass"


def open_square(source):
    """Any picture as it is, its middle cut out as a square -> (1, 3, 32, 32) in [-1, 1]; a transparent ground becomes
    white, or black where on white nothing would be seen."""
    rgb, alpha, _, _ = _read(source, 4 * SIDE)
    if alpha is not None:
        on_white = rgb * alpha + 1 - alpha
        rgb = on_white if on_white.std() > 0.02 else rgb * alpha
    side = min(rgb.shape[:2])
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    square = torch.tensor(rgb[top:top + side, left:left + side]).movedim(-1, 0)[None]
    return F.interpolate(square, (SIDE, SIDE), mode="bilinear", antialias=True).clamp(0, 1) * 2 - 1


# ----------------------------------------------------------------------------------------------- from a file to numbers


def _read(source, working):
    """-> colors (H, W, 3) in [0, 1], opacity (H, W, 1) or None, the name, and what was done, in words."""
    if torch.is_tensor(source):
        picture = source[0] if source.ndim == 4 and len(source) == 1 else source
        check_shape("a picture", picture, "1 or 3", "H", "W")
        check(bool(picture.isfinite().all()), "there is NaN or infinity in this picture")
        rgb = ((picture.detach().float().cpu() + 1) / 2).clamp(0, 1).expand(3, -1, -1).movedim(0, -1).numpy()
        return rgb, None, "the picture", f"{rgb.shape[1]} x {rgb.shape[0]} pixels"
    if isinstance(source, (Image.Image, np.ndarray)):
        with _blaming("the picture"):
            image = Image.fromarray(source) if isinstance(source, np.ndarray) else source
            return _pixels(image, "the picture", working)
    if not isinstance(source, (str, os.PathLike)):
        raise PictureError(f"a picture is a file, a PIL image, an array or a tensor (C, H, W), got {kind_of(source)}")
    with _blaming(source), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)                # `_pixels` looks at its size
        with Image.open(source) as image:
            return _pixels(image, str(source), working)


@contextmanager
def _blaming(source):
    """Whatever fails inside is a PictureError of one line that names the file."""
    try:
        yield
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError(f"{source} is missing: there is no such file") from None
    except IsADirectoryError:
        raise PictureError(f"{source} is a folder: expected a PNG or JPEG file") from None
    except UnidentifiedImageError:
        raise PictureError(f"{source} is not a picture that can be read here: expected a PNG or JPEG file. HEIC, SVG "
                           "and PDF have to be exported as one") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{source} is far too large: at most {LARGEST:,} pixels") from None
    except Exception as error:           # pillow fails in many ways at damaged files; each of them means the same to us
        raise PictureError(f"{source} cannot be read ({one_line(error)}): is it a whole PNG or JPEG file?") from error


def _pixels(image, name, working):
    """A PIL image, the right way up and at most `working` pixels long -> what `_read` gives."""
    _check_size(image, name)
    did = f"{image.width} x {image.height} pixels"
    if image.getexif().get(0x0112, 1) != 1:                      # the tag of its orientation
        did += ", turned as its EXIF data say"
    image.draft("RGB", (2 * working, 2 * working))               # a JPEG is read smaller, where that is enough
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):                        # 16 or 32 bits of gray, which pillow would cut off
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        scale = next((most for most in (1, 255, 65535) if values.max() <= most), values.max())
        image = Image.fromarray(values.clip(0) / scale * 255)
    elif image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    else:
        image = image.convert("RGB")
    if max(image.size) > working:
        image = image.resize([max(1, round(n * working / max(image.size))) for n in image.size], Image.Resampling.BOX)
    values = np.atleast_3d(np.asarray(image, dtype=np.float32)) / 255                  # (H, W, 1, 3 or 4)
    opaque = values.shape[2] < 4 or values[..., 3].min() == 1
    rgb = np.broadcast_to(values[..., :3], (*values.shape[:2], 3))
    return rgb, None if opaque else values[..., 3:], name, did


def _check_size(image, name):
    """Refuse what is too large, too small, or more than one picture."""
    (wide, tall), frames = image.size, getattr(image, "n_frames", 1)
    if wide * tall > LARGEST:
        raise PictureError(f"{name} is far too large: {wide} x {tall} pixels, at most {LARGEST:,} altogether")
    if max(wide, tall) < 8:
        raise PictureError(f"{name} is far too small: {wide} x {tall} pixels, at least 8 on the longer side")
    if frames > 1 and image.format != "MPO":                     # the second frame of a phone's MPO is a preview
        raise PictureError(f"{name} is an animation or has pages, {frames} of them: save the one you mean as PNG")
