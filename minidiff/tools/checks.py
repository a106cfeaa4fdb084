"""What may come in: one-line checks for the doors, where something enters from a person, or where torch would be
wrong in silence.  Each says what came, what was expected and, where it helps, the usual reason, as a ValueError."""

import math
import operator

import torch


def kind_of(value):
    """What a value is, as one says it: "a tensor (3, 5) of float32", "a list of 3", "an int", "a function"."""
    if torch.is_tensor(value):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype)[6:]}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
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
    """A tensor of so many axes; a size that is a letter may be anything, a number only that, "1 or 3" either."""
    def fits(size, n):
        return str(n) in str(size).split(" or ") if str(size)[0].isdigit() else True

    good = torch.is_tensor(x) and x.ndim == len(sizes) and all(map(fits, sizes, x.shape))
    check(good, f"{name} must be a tensor ({', '.join(map(str, sizes))}), got {kind_of(x)}")


def check_alike(**tensors):
    """Tensors of one shape: others are often stretched to fit in silence, and every picture mixed with every other."""
    shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in tensors.items())
    check(len({x.shape for x in tensors.values()}) == 1, f"{' and '.join(tensors)} must have one shape, got {shapes}")


def check_pictures(pictures, channels="C", *size, name="pictures", most=10.0):
    """Float pictures (B, C, H, W) in [-1, 1], light on black: not bytes, not [0, 1] with a gray ground, no paper, no
    NaN.  What was drawn may overshoot a little.  It waits for the device, so it stands at doors and in no step of a
    training."""
    try:
        check_shape(name, pictures, "B", channels, *(size or ("H", "W")))
    except ValueError as error:
        raise ValueError(f"{error}{picture_hint(pictures)}") from None
    check(pictures.is_floating_point(), f"{name} are float tensors in [-1, 1], got {kind_of(pictures)}: bytes in "
          "0..255? Divide by 127.5 and subtract 1")
    if not pictures.numel():
        return
    low, high = pictures.detach().aminmax()
    check(-most < low and high < most, f"{name} lie in [-1, 1], got {float(low):g} to {float(high):g}. Bytes in "
          "0..255? Divide by 127.5 and subtract 1. NaN? Usual reason: a training that went astray")
    gray, bright = (ground_shows(pictures.detach(), above).float().mean() > 0.5 for above in (-0.5, 0.3))
    check(not gray or low < 0, f"{name} have a gray ground, and nothing is below 0: pictures in [0, 1]? Multiply by 2 "
          "and subtract 1")
    check(not bright, f"{'this picture has' if len(pictures) == 1 else 'most of these pictures have'} a bright ground, "
          "and the networks know light ink on black; `data.open_picture` turns it")


def picture_hint(x):
    """The usual reason why something is no batch of pictures, in words."""
    if not torch.is_tensor(x):
        return "; `data.open_picture` makes one of a file, a PIL image or an array"
    if x.ndim == 3:
        return "; a single picture? `picture[None]` is a batch of one"
    if x.ndim == 4 and x.shape[-1] in (1, 3, 4):
        return "; channels last? `pictures.permute(0, 3, 1, 2)` puts them first"
    return "; is one of them opacity? `data.open_picture` takes it out" if x.ndim == 4 and x.shape[1] in (2, 4) else ""


def ground_shows(pictures, above):
    """Which pictures (B, C, H, W) have a ground brighter than `above`, such as a scan of paper -> (B,) bool: their rim
    is even, and something on it is much darker or lighter.  Noise is not even, and a machine that has hardly learned
    draws on a ground of about 0."""
    gray = pictures.float().mean(1)                              # (B, H, W)
    rim = torch.cat([gray[:, :2].flatten(1), gray[:, -2:].flatten(1), gray[:, :, :2].flatten(1),
                     gray[:, :, -2:].flatten(1)], 1)
    ground = rim.median(1).values[:, None]
    even = ((rim - ground).abs() < 0.25).float().mean(1) > 0.8
    ink = ((gray.flatten(1) - ground).abs() > 0.5).float().mean(1) > 0.01
    return (ground[:, 0] > above) & even & ink


def check_digits(pictures, channels=1, *size):
    """Digits to be trained on: at least one, real ones, on a ground of -1."""
    check_pictures(pictures, channels, *size, name="digits", most=1.01)
    check(len(pictures) > 0, f"digits: an empty set, got {kind_of(pictures)}; there is nothing to train on")
    check(pictures.min() < 0, "digits lie in [-1, 1] with the background at -1, and nothing is below "
          f"0 in {kind_of(pictures)}: pictures in [0, 1]? Multiply by 2 and subtract 1")


def check_examples(name, x, *sizes, say="points of std 1"):
    """What a denoiser is trained on, looked at once: floats, at least one, finite, about as wide as the noise."""
    check_shape(name, x, *sizes)
    check(x.is_floating_point(), f"{name} must be floats ({', '.join(map(str, sizes))}), got {kind_of(x)}: bytes in "
          "0..255? Divide by 127.5 and subtract 1")
    check(x.numel() > 0, f"{name}: an empty set, got {kind_of(x)}; there is nothing to train on")
    check(bool(x.isfinite().all()), f"there is NaN or infinity in {name} {tuple(x.shape)}")
    wide, most = x.float().square().mean().sqrt(), x.abs().max()
    check(wide <= 10 and most < 100, f"{name}: expected {say}, which noise of std 1 can drown; got values of size "
          f"{wide:.3g}, up to {most:g}: bytes in 0..255? Divide by 127.5 and subtract 1, or by their std")


def check_labels(name, labels, n, classes=10):
    """One whole number below `classes` for each of n."""
    check(torch.is_tensor(labels) and labels.shape == (n,), f"{n} pictures take as many {name}, a tensor ({n},), got "
          f"{kind_of(labels)}")
    check_rows(name, labels[:, None], [classes], unsaid=False)


def check_dataset(data, channels, *size, columns=4, classes=10):
    """A data set to be trained on: it has `sample(batch, generator)`, of which one batch is looked at."""
    hint = "the first of what `load_captioned_digits()` gives" if isinstance(data, (tuple, list)) else (
        "`LabeledDigits(pictures, labels)` joins digits and labels, for the classifier")
    check(all(hasattr(data, name) for name in ("sample", "labels", "checksum")) and not isinstance(data, type),
          f"expected a data set, such as `CaptionedDigits`, got {kind_of(data)}; {hint}")
    generator = torch.Generator(data.labels.device).manual_seed(0)
    pictures, attributes = data.sample(16, generator)
    check_pictures(pictures, channels, *size, name="pictures of the data set", most=1.01)
    good = torch.is_tensor(attributes) and attributes.ndim == 2 and attributes.shape[1] >= columns
    check(good, f"the pictures of this data set need {columns} attributes each (digit, color, stroke, lean), got "
          f"{kind_of(attributes)} from {kind_of(data)}; `CaptionedDigits` has them")
    check_rows("digits of the data set", attributes[:, :1], [classes], unsaid=False)


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
