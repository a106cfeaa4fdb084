"""Handwritten digits as one tensor.  Nothing is downloaded unless you ask for all of MNIST."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from minidiff.tools.checks import check, check_digits, check_labels, check_shape
from minidiff.tools.files import FileError, checksum, one_line

EMBEDDED = Path(__file__).resolve().parent / "mnist_5k.npz"
CHECKOUT = Path(__file__).resolve().parents[2]
DOWNLOADS = CHECKOUT / "data" if (CHECKOUT / "pyproject.toml").exists() else Path.home() / ".cache" / "minidiff"
SHA256 = "305e8353153694ee64a4e70fc6b8369f9de6d159dbf69c5978ed48d5120b72d5"
MNIST_MD5 = {"train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
             "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
             "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
             "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637"}


class DataError(FileError):
    """A data file is missing or damaged; the message says which, and how to repair it."""


@dataclass(frozen=True, eq=False)
class Digits:
    """Pictures (N, 1, 32, 32) in [-1, 1] and their labels (N,), for training and for validation."""

    train: torch.Tensor
    train_labels: torch.Tensor
    val: torch.Tensor
    val_labels: torch.Tensor


class LabeledDigits:
    """Pictures (N, C, H, W) of digits in [-1, 1] with labels (N,), and random batches of them."""

    def __init__(self, pictures, labels):
        check_digits(pictures, "C")
        check_labels("labels", labels, len(pictures))
        self.pictures, self.labels, self.checksum = pictures, labels, checksum(pictures, labels)[:16]

    def sample(self, size, generator):
        """A random batch -> pictures (B, C, H, W), labels (B, 1)."""
        rows = torch.randint(len(self.labels), (size,), generator=generator, device=self.labels.device)
        return self.pictures[rows], self.labels[rows, None]


def to_pictures(pixels):
    """Bytes (N, 28, 28) in 0..255 -> pictures (N, 1, 32, 32) in [-1, 1], padded with background.

    >>> to_pictures(torch.full((1, 28, 28), 255, dtype=torch.uint8))[0, 0, 0:4, 2].tolist()
    [-1.0, -1.0, 1.0, 1.0]
    """
    pixels = torch.as_tensor(pixels)
    check_shape("pixels", pixels, "N", "H", "W")
    low, high = pixels.aminmax() if pixels.numel() else (0, 255)
    check(0 <= low <= high <= 255 and not (pixels.is_floating_point() and 0 < high <= 1),
          f"pixels are bytes in 0..255, got {float(low):g} to {float(high):g}. Already in [0, 1] or [-1, 1]?")
    ink = pixels.float()[:, None] / 255
    return F.pad(ink, (2, 2, 2, 2)) * 2 - 1


def load_digits(full=False, root=DOWNLOADS):
    """The embedded 4,500 + 500 digits, or with `full` all of MNIST (60,000 + 10,000, downloaded once).

    Where full MNIST cannot be had (no torchvision, no network, a damaged file) one line on stderr says why,
    and the embedded digits are returned.
    """
    if full:
        try:
            return _load_mnist(Path(root))
        except Exception as error:       # torchvision fails in many ways; each of them means the same to us
            reason = (str(error).splitlines() or [""])[0][:150]
            print(f"Full MNIST is not available ({type(error).__name__}: {reason}); "
                  "going on with the 5,000 embedded digits. "
                  f"If {Path(root) / 'MNIST'} holds half a download, delete it.", file=sys.stderr)
    return _load_embedded(EMBEDDED)


def _load_embedded(path):
    if not path.exists():
        raise DataError(f"{path} is missing. It is part of the repository: git checkout minidiff/data/mnist_5k.npz")
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({one_line(error)}). "
                        "Restore it: git checkout minidiff/data/mnist_5k.npz") from error
    if found != SHA256:
        raise DataError(f"{path} is damaged: its sha256 begins {found[:12]}, expected {SHA256[:12]}. "
                        "Restore it: git checkout minidiff/data/mnist_5k.npz")
    with np.load(path, allow_pickle=False) as file:
        pixels, labels, val = file["pixels"], file["labels"], file["validation"]
    pictures, labels = to_pictures(pixels), torch.from_numpy(labels).long()
    return Digits(pictures[~val], labels[~val], pictures[val], labels[val])


def _load_mnist(root):
    from torchvision.datasets import MNIST  # here, not above: its compiled half can be missing

    train, val = (MNIST(root, train=part, download=True) for part in (True, False))
    for name, md5 in MNIST_MD5.items():                          # torchvision checks downloads, not what lies there
        if hashlib.md5((root / "MNIST/raw" / name).read_bytes(), usedforsecurity=False).hexdigest() != md5:
            raise DataError(f"{name} is damaged")
    return Digits(to_pictures(train.data), train.targets, to_pictures(val.data), val.targets)
