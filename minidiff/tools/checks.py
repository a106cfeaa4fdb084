"""What may come in: one-line checks for the doors, where something enters from a person, or where torch would be
wrong in silence.  Each says what came, what was expected and, where it helps, the usual reason, as a ValueError."""

import math
import operator

import torch


def kind_of(value):
    """What a value is, as one says it: "a tensor (3, 5) of float32", "a list of 3", "an int", "a function"."""
    if torch.is_tensor(value):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype)[6:]}"
    if isinstance(value, (list, tuple, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    name = "function" if callable(value) else "string" if isinstance(value, str) else type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}" if value is not None else "None"


def check(condition, message):
    """Refuse what does not hold."""
    if not condition:
        raise ValueError(message)


def check_whole(name, value, least=1, most=math.inf):
    """A whole number within bounds -> it; 3.0 is not one, a numpy or torch integer is."""
    try:
        number = operator.index(value)
    except TypeError:
        number = math.nan
    bounds = f"from {least} to {most}" if most < math.inf else f"of at least {least}"
    check(least <= number <= most, f"{name} must be a whole number {bounds}, got {value!r:.60}")
    return number


def check_number(name, value, least=0, most=math.inf):
    """A finite number within bounds; a share runs from 0 to 1, one half is 0.5 and not 50."""
    good = isinstance(value, (int, float)) and math.isfinite(value) and least <= value <= most
    bounds = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
    check(good, f"{name} must be a finite number {bounds}, got {value!r:.60}")


def check_shape(name, x, *sizes):
    """A tensor of so many axes; a size that is a letter may be anything, a size that is a number only that."""
    good = torch.is_tensor(x) and x.ndim == len(sizes) and all(
        isinstance(size, str) or size == n for size, n in zip(sizes, x.shape, strict=True))
    check(good, f"{name} must be a tensor ({', '.join(map(str, sizes))}), got {kind_of(x)}")


def check_alike(**tensors):
    """Tensors of one shape: others are often stretched to fit in silence, and every picture mixed with every other."""
    shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in tensors.items())
    check(len({x.shape for x in tensors.values()}) == 1, f"{' and '.join(tensors)} must have one shape, got {shapes}")


def check_pictures(pictures, channels="C", *size, name="pictures"):
    """Float pictures (B, C, H, W) in [-1, 1]: not bytes, not [0, 1] with a gray ground, no NaN.  It waits for the
    device, so it stands at doors and in no step of a training."""
    check_shape(name, pictures, "B", channels, *(size or ("H", "W")))
    check(pictures.is_floating_point(), f"{name} are float tensors in [-1, 1], got {kind_of(pictures)}: bytes in "
          "0..255? Divide by 127.5 and subtract 1")
    low, high = pictures.detach().aminmax() if pictures.numel() else (-1.0, 1.0)
    check(-10 < low and high < 10, f"{name} lie in [-1, 1], got {float(low):g} to {float(high):g}. Bytes in 0..255? "
          "Divide by 127.5 and subtract 1. NaN? Usual reason: a training that went astray")


def check_digits(pictures, channels=1, *size):
    """Digits to be trained on: pictures whose background is -1."""
    check_pictures(pictures, channels, *size, name="digits")
    check(len(pictures) and pictures.min() < 0, "digits lie in [-1, 1] with the background at -1, and nothing is below "
          f"0 in {kind_of(pictures)}: pictures in [0, 1]? Multiply by 2 and subtract 1")


def check_rows(name, rows, sizes, unsaid=True):
    """Integers (..., k), column by column counted from 0 and below its size; -1, a word unsaid, only where allowed."""
    try:
        rows = torch.as_tensor(rows)
    except (TypeError, ValueError, RuntimeError):
        rows = torch.zeros(0)
    whole = not rows.is_floating_point() and rows.dtype != torch.bool and rows.shape[-1:] == (len(sizes),)
    columns = "digit, color, stroke, lean, each " if len(sizes) == 4 else ""
    rule = f"{columns}from {-1 if unsaid else 0}{' (unsaid)' if unsaid else ''} to below {', '.join(map(str, sizes))}"
    check(whole, f"{name}: expected integers (..., {len(sizes)}), {rule}; got {kind_of(rows)}")
    wrong = (rows < (-1 if unsaid else 0)) | (rows >= torch.tensor(sizes, device=rows.device))
    check(not wrong.any(), f"{name}: {rule}; got {rows[wrong.any(-1)][:1].tolist()}")
    return rows
