"""What may come in: checks for the first lines of a function, so that a mistake is named where it is made.

Each says what came, what was expected, and where it helps the usual reason, as a ValueError.  Shapes and plain numbers
cost nothing and are looked at everywhere; the values of a tensor only where nothing runs many times a second.
"""

import math
import operator
from dataclasses import fields

import torch


def kind_of(value):
    """What a value is, as one says it: "a tensor (3, 5) of float32", "a list of 3", "an int", "a function"."""
    if torch.is_tensor(value):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype)[6:]}"
    if isinstance(value, (list, tuple, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    name = "function" if callable(value) else "string" if isinstance(value, str) else type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}" if value is not None else "None"


def bounds(least, most):
    """How bounds are said."""
    if most < math.inf:
        return f" from {least:g} to {most:g}"
    return f" of at least {least:g}" if least > -math.inf else ""


def check_whole(name, value, least=1, most=math.inf):
    """A whole number within bounds -> it; 3.0 is not one, a numpy or torch integer is."""
    try:
        number = operator.index(value)
    except TypeError:
        number = math.nan
    if not least <= number <= most:
        raise ValueError(f"{name} must be a whole number{bounds(least, most)}, got {value!r:.60}")
    return number


def check_number(name, value, least=0, most=math.inf, reason=""):
    """A finite number within bounds."""
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError, RuntimeError):                # no number, or many of them
        number = math.nan
    if not (math.isfinite(number) and least <= number <= most):
        raise ValueError(f"{name} must be a finite number{bounds(least, most)}, got {value!r:.60}{reason}")


def check_share(name, p):
    """A probability."""
    check_number(name, p, 0, 1, ": it is a share, one half is 0.5 and not 50")


def check_shape(name, x, *sizes):
    """A tensor of so many axes; a size that is a letter may be anything, a size that is a number only that."""
    if not torch.is_tensor(x) or x.ndim != len(sizes) or any(
            not isinstance(size, str) and size != n for size, n in zip(sizes, x.shape)):
        wanted = ", ".join(map(str, sizes)) + "," * (len(sizes) == 1)
        raise ValueError(f"{name} must be a tensor ({wanted}), got {kind_of(x)}")


def check_alike(**tensors):
    """Tensors of one shape: others are often stretched to fit in silence, and every picture mixed with every other."""
    if len({tuple(x.shape) for x in tensors.values()}) > 1:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in tensors.items())
        raise ValueError(f"{' and '.join(tensors)} must have one shape, got {shapes}")


def check_as_many(**things):
    """Lists or tensors of one length."""
    if len({len(x) for x in things.values()}) > 1:
        counts = ", ".join(f"{len(x)} {name}" for name, x in things.items())
        raise ValueError(f"there must be as many {' as '.join(things)}, got {counts}")


def check_shares(things, shares):
    """Probabilities, one for each of some things, that sum to 1."""
    check_as_many(things=things, shares=shares)
    if not (bool((shares >= 0).all()) and abs(shares.sum().item() - 1) < 1e-4):
        raise ValueError(f"shares are at least 0 and sum to 1, got {shares.min():.4g} to {shares.max():.4g}, with "
                         f"the sum {shares.sum():.6g}: counts? Divide by their sum")


def check_given(who, **things):
    """Arguments that may be left out elsewhere, and not here."""
    for name, value in things.items():
        if value is None:
            raise ValueError(f"{who} needs `{name}`, and got none")


def check_mask(mask, of_looks=False):
    """A tensor of True and False; one that says who may look at whom lets everybody look at something."""
    if not torch.is_tensor(mask) or mask.dtype != torch.bool:
        raise ValueError(f"a mask is a tensor of True and False (bool), got {kind_of(mask)}; `mask > 0.5` makes one")
    if of_looks and not bool(mask.any(-1).all()):                # their weights could not sum to one: NaN
        raise ValueError("this mask hides everything from some query; True is where looking is allowed (or `~mask`?)")


def check_float(name, x):
    """A tensor of floating-point numbers: whole numbers lose what stands behind the point."""
    if not torch.is_tensor(x) or not x.is_floating_point():
        raise ValueError(f"{name} must be a float tensor, got {kind_of(x)}; `.float()` makes one")


def check_finite(name, x, reason="a training that went astray, or a division by zero before"):
    """A float tensor without NaN and infinity."""
    check_float(name, x)
    if not bool(x.isfinite().all()):
        odd = "NaN" if bool(x.isnan().any()) else "an infinite number"
        raise ValueError(f"there is {odd} in {name}. Usual reason: {reason}")


def check_pictures(pictures, channels="C", *size, name="pictures", digits=False):
    """Float pictures (B, C, H, W) in [-1, 1], or a little beyond.  `digits`: drawn on a background, which is -1."""
    check_shape(name, pictures, "B", channels, *(size or ("H", "W")))
    if not pictures.is_floating_point():
        raise ValueError(f"{name} are float tensors in [-1, 1], got {kind_of(pictures)}: bytes in 0..255? "
                         "Divide by 127.5 and subtract 1")
    if pictures.numel():
        check_range(pictures, name, digits)


def check_range(pictures, name="pictures", digits=False):
    """The values of pictures: named are NaN, bytes, and for digits [0, 1]."""
    low, high = (end.item() for end in pictures.detach().aminmax())
    if high > 10:                                                # noisy pictures reach 4, bytes 255
        raise ValueError(f"{name} lie in [-1, 1], got values up to {high:.0f}: bytes in 0..255? "
                         "Divide by 127.5 and subtract 1")
    if not (math.isfinite(low) and math.isfinite(high)):
        check_finite(name, pictures)
    if digits and low >= 0:
        raise ValueError(f"{name} lie in [-1, 1] with the background at -1, got {low:g} to {high:g} and nothing below "
                         "0: pictures in [0, 1]? Multiply by 2 and subtract 1")


def check_rows(name, rows, sizes, unsaid=True):
    """Integers (..., k), column by column counted from 0 and below its size; -1, a word unsaid, only where allowed."""
    columns = "digit, color, stroke, lean, " if len(sizes) == 4 else ""
    try:
        rows = torch.as_tensor(rows)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}: expected integers, {columns}got {rows!r:.60}") from None
    rule = f"{columns}counted from 0, each below {', '.join(map(str, sizes))}, "
    rule += "-1 where the word is unsaid" if unsaid else "with no word unsaid" if columns else "none below 0"
    if rows.is_floating_point() or rows.dtype == torch.bool or rows.shape[-1:] != (len(sizes),):
        raise ValueError(f"{name}: expected integers (..., {len(sizes)}), {rule}; got {kind_of(rows)}")
    wrong = (rows < (-1 if unsaid else 0)) | (rows >= torch.tensor(sizes, device=rows.device))
    if wrong.any():
        raise ValueError(f"{name}: {rule}; got {rows[wrong.any(-1)][0].tolist()}")
    return rows


def check_ids(ids, words, length):
    """Token ids (B, L) of a vocabulary of so many words, at most so many in a row."""
    check_shape("token ids", ids, "B", "L")
    if ids.is_floating_point() or ids.dtype == torch.bool or ids.shape[1] > length:
        raise ValueError(f"token ids are integers (B, L) with L of at most {length}, as `tokenize` makes them; "
                         f"got {kind_of(ids)}")
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < words:
        raise ValueError(f"token ids run from 0 to {words - 1}, got {int(ids.min())}..{int(ids.max())}")


def check_config(config, zero=(), widths=None):
    """The sizes in a configuration: whole numbers, and lists of them, of at least 1 (the fields in `zero`: 0)."""
    if widths is not None and len(config.widths) != widths:
        raise ValueError(f"the picture is halved {widths} times, with a width each time; got {config.widths}")
    for field in fields(config):
        value, name = getattr(config, field.name), f"{type(config).__name__}.{field.name}"
        if field.type is tuple:
            if not isinstance(value, (tuple, list)) or not value:
                raise ValueError(f"{name} must be a tuple with an entry for each size, got {value!r:.60}")
            for i, entry in enumerate(value):
                check_whole(f"{name}[{i}]", entry, int(field.name not in zero))
        elif field.type is int:
            check_whole(name, value, int(field.name not in zero))


def check_loss(loss):
    """What a training step goes down: a single number -> it."""
    if not torch.is_tensor(loss) or loss.numel() != 1:
        raise ValueError(f"the loss must be a tensor of a single number, got {kind_of(loss)}: is `.mean()` missing?")
    return loss


def check_training(recipe):
    """The numbers of a training recipe."""
    check_whole("steps of a training", recipe.steps)
    check_whole("batch of a training", recipe.batch)
    check_whole("the seed", recipe.seed, -math.inf)
    check_number("the learning rate", recipe.lr)
    check_share("warmup", recipe.warmup)
    check_number("weight_decay", recipe.weight_decay)
    if recipe.ema is not None:
        check_share("ema", recipe.ema)
    if recipe.decay not in ("cosine", "linear"):
        raise ValueError(f"decay {recipe.decay!r}: expected cosine or linear")
