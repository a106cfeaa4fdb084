"""What is wrong with an outcome, in words: its type, its shape, its numbers, and where."""

from dataclasses import fields, is_dataclass

import numpy as np
import torch

from minidiff.tools.checks import kind_of


def numbers_in(value):
    """All tensors, numbers and strings in some arguments, those inside lists, dicts and dataclasses too."""
    if is_dataclass(value):
        value = [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in numbers_in(part)]
    return [value] if torch.is_tensor(value) or isinstance(value, (int, float, str)) else []


def difference(expected, got, tolerance=1e-4, where=""):
    """The first thing in which an outcome differs from what was expected; "" where nothing does.

    Looked at in this order: type, shape, dtype (any float will do for a float), not-a-number, value; numbers may differ
    by tolerance (1 + |expected|).  Tuples, lists and dicts are compared part by part.

    >>> difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))
    'the largest error is 0.5 at [1]: expected 2, got 2.5'
    """
    at = f"{where}: " if where else ""
    if isinstance(expected, (dict, list, tuple)):
        return _difference_of_parts(expected, got, tolerance, at)
    if isinstance(expected, str) or expected is None:
        return "" if expected == got else f"{at}expected {expected!r}, got {got!r:.80}"
    plain = isinstance(got, (bool, int, float, np.number))
    expected, wanted = torch.as_tensor(expected).cpu(), kind_of(expected)
    if not torch.is_tensor(got) and not (plain and expected.ndim == 0):
        hint = "; `torch.tensor` or `torch.stack` makes a tensor of numbers" if plain or isinstance(got, list) else ""
        return f"{at}expected {wanted}, got {kind_of(got)}{hint}"
    got = torch.as_tensor(got).detach().cpu()
    if got.shape != expected.shape:
        wanted = f"the shape {tuple(expected.shape)}" if expected.ndim else "a single number"
        return f"{at}expected {wanted}, got the shape {tuple(got.shape)}"
    if _family(expected) != _family(got) and not (plain and _family(expected) == "floating-point numbers"):
        cut = "; integers lose what stands behind the point" if expected.is_floating_point() and not plain else ""
        cut = "; `eigvals` are complex by type only: take `.real`" if got.is_complex() else cut
        return f"{at}expected {_family(expected)}, got {_family(got)} ({str(got.dtype)[6:]}){cut}"
    return _difference_of_numbers(expected.double(), got.double(), tolerance, at)


def _family(tensor):
    if tensor.dtype == torch.bool:
        return "True and False"
    return "floating-point numbers" if tensor.is_floating_point() else "complex numbers" if tensor.is_complex() else (
        "integers")


def _difference_of_parts(expected, got, tolerance, at):
    if isinstance(expected, dict) != isinstance(got, dict) or not isinstance(got, (dict, list, tuple)):
        return f"{at}expected {kind_of(expected)}, got {kind_of(got)}"
    if len(expected) != len(got) or (isinstance(expected, dict) and set(expected) != set(got)):
        return f"{at}expected {_names(expected)}, got {_names(got)}"
    keys = expected if isinstance(expected, dict) else range(len(expected))
    parts = (difference(expected[k], got[k], tolerance, k if isinstance(k, str) else f"at [{k}]") for k in keys)
    return next((f"{at}{part}" for part in parts if part), "")


def _names(parts):
    return f"the parts {', '.join(map(str, parts))}" if isinstance(parts, dict) else f"{len(parts)} parts"


def _difference_of_numbers(expected, got, tolerance, at):
    error = (got - expected).abs() / (1 + expected.abs())
    error[(got == expected) | (got.isnan() & expected.isnan())] = 0                    # infinities of one sign, too
    if not got.numel() or bool((error <= tolerance).all()):
        return ""
    odd = ~got.isfinite() & expected.isfinite()
    index = np.unravel_index(int((odd.double() if odd.any() else error).argmax()), error.shape)
    place = f" at [{', '.join(map(str, index))}]" if index else ""
    if got[index].isnan():
        return (f"{at}there is NaN, no number,{place}: usual reasons are 0 / 0, the root or logarithm of a negative "
                "number, or a softmax where everything is -inf")
    if odd.any():
        return f"{at}there is an infinite number{place}: usual reasons are a division by zero or the logarithm of zero"
    should, came = expected[index].item(), got[index].item()
    return f"{at}the largest error is {abs(came - should):.4g}{place}: expected {should:.5g}, got {came:.5g}"
