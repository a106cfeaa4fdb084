"""What is wrong with an outcome, in words: its type, its shape, its numbers, and where."""

import numpy as np
import torch
from torch.testing import assert_close

from minidiff.tools.checks import kind_of


def difference(expected, got, tolerance=1e-4):
    """The first thing in which an outcome differs from what was expected; "" where nothing does.

    Looked at in this order: type, shape, dtype (any float will do for a float), value.  Numbers may differ by
    tolerance (1 + |expected|).  Tuples, lists and dicts are compared part by part.

    >>> difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))
    'the largest error is 0.5 at [1]: expected 2, got 2.5'
    """
    if isinstance(expected, (dict, list, tuple)):
        return _in_parts(expected, got, tolerance)
    if isinstance(expected, str) or expected is None:
        return "" if expected == got else f"expected {expected!r}, got {got!r:.80}"
    plain = isinstance(got, (bool, int, float, np.number))
    expected, wanted = torch.as_tensor(expected).cpu(), kind_of(expected)
    if not torch.is_tensor(got) and not (plain and expected.ndim == 0):
        hint = "; `torch.tensor` or `torch.stack` makes a tensor of numbers" if plain or isinstance(got, list) else ""
        return f"expected {wanted}, got {kind_of(got)}{hint}"
    got = torch.as_tensor(got).detach().cpu()
    if got.shape != expected.shape:
        wanted = f"the shape {tuple(expected.shape)}" if expected.ndim else "a single number"
        return f"expected {wanted}, got the shape {tuple(got.shape)}"
    if _family(expected) != _family(got) and not (plain and expected.is_floating_point()):
        hint = "; integers lose what stands behind the point" if expected.is_floating_point() else ""
        hint = "; `eigvals` are complex by type only: take `.real`" if got.is_complex() else hint
        return f"expected {_family(expected)}, got {_family(got)} ({str(got.dtype)[6:]}){hint}"
    if expected.is_complex():
        expected, got = ({"the real part": x.real, "the imaginary part": x.imag} for x in (expected, got))
        return _in_parts(expected, got, tolerance)
    expected, got = expected.double(), got.double()
    try:
        assert_close(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    except AssertionError:
        return _in_numbers(expected, got)
    return ""


def _family(tensor):
    if tensor.is_floating_point():
        return "floating-point numbers"
    return "complex numbers" if tensor.is_complex() else "True and False" if tensor.dtype == torch.bool else "integers"


def _in_parts(expected, got, tolerance):
    named = isinstance(expected, dict)
    if not isinstance(got, dict if named else (list, tuple)) or len(got) != len(expected):
        return f"expected {kind_of(expected)}, got {kind_of(got)}"
    if named and set(expected) != set(got):
        return f"expected the parts {', '.join(map(str, expected))}, got {', '.join(map(str, got))}"
    for part in expected if named else range(len(expected)):
        if words := difference(expected[part], got[part], tolerance):
            return f"{part if named else f'at [{part}]'}: {words}"
    return ""


def _in_numbers(expected, got):
    """What is wrong with numbers that are not close, at the worst place."""
    odd = expected.isfinite() & ~got.isfinite()
    error = ((got - expected).abs() / (1 + expected.abs())).nan_to_num()
    index = np.unravel_index(int((odd.double() if odd.any() else error).argmax()), error.shape)
    place = f" at [{', '.join(map(str, index))}]" if index else ""
    should, came = expected[index].item(), got[index].item()
    if np.isnan(came):
        return (f"there is NaN, no number{',' if place else ''}{place}: usual reasons are 0 / 0, the root or logarithm "
                "of a negative number, or a softmax where everything is -inf")
    if odd.any():
        return f"there is an infinite number{place}: usual reasons are a division by zero or the logarithm of zero"
    return f"the largest error is {abs(came - should):.4g}{place}: expected {should:.5g}, got {came:.5g}"
