"""The digits: a fixed split, damaged files that are named, and the full MNIST where it can be had."""

import gzip
import hashlib
import re
import struct
import sys

import numpy as np
import pytest
import torch

from minidiff.data import DataError, LabeledDigits, load_digits
from minidiff.data import digits as source
from minidiff.tools import generator_for


def test_the_split_is_4500_and_500_balanced_and_disjoint(digits):
    assert digits.train.shape == (4500, 1, 32, 32) and digits.val.shape == (500, 1, 32, 32)
    assert torch.bincount(digits.train_labels).tolist() == [450] * 10
    assert torch.bincount(digits.val_labels).tolist() == [50] * 10
    train = {p.numpy().tobytes() for p in digits.train}
    assert not any(p.numpy().tobytes() in train for p in digits.val)


def test_pictures_lie_between_minus_one_and_one_with_an_empty_frame(digits):
    assert digits.train.min() == -1 and digits.train.max() == 1
    frame = digits.train.clone()
    frame[:, :, 2:-2, 2:-2] = -1
    assert bool((frame == -1).all())
    assert digits.train.std().item() == pytest.approx(0.53, abs=0.03)


def test_labeled_digits_give_each_picture_with_its_label():
    labels = torch.tensor([3, 1, 4, 1, 5, 9, 2])
    pictures = torch.linspace(-1, 1, 7)[:, None, None, None].expand(7, 3, 5, 3)        # the brightness names the row
    drawn, attributes = LabeledDigits(pictures, labels).sample(1_001, generator_for(0))
    rows = (3 * drawn[:, 0, 0, 0] + 3).round().long()
    assert torch.equal(drawn, pictures[rows]) and torch.equal(attributes, labels[rows, None])
    assert torch.bincount(rows, minlength=7).min() > 100
    assert LabeledDigits(pictures, labels).checksum != LabeledDigits(pictures, labels.flip(0)).checksum


def test_damaged_and_missing_digits_are_named(tmp_path):
    good = source.EMBEDDED.read_bytes()
    bad = bytearray(good)
    bad[1000] ^= 1
    for content in (b"", good[:5000], bytes(bad)):
        (tmp_path / "mnist_5k.npz").write_bytes(content)
        with pytest.raises(DataError, match="damaged.*git checkout"):
            source._load_embedded(tmp_path / "mnist_5k.npz")
    with pytest.raises(DataError, match="missing"):
        source._load_embedded(tmp_path / "other.npz")


def test_without_a_network_full_mnist_is_one_line_and_the_embedded_digits(tmp_path, capsys):
    digits = load_digits(full=True, root=tmp_path)
    said = capsys.readouterr().err.strip()
    assert len(digits.train) == 4500
    assert len(said.splitlines()) == 1 and "going on with the 5,000 embedded digits" in said


@pytest.fixture(scope="module")
def torchvision_imports():
    """torchvision beside a CPU build of torch can lack its compiled half: declare the operators it looks for."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for _ in range(30):
        try:
            import torchvision  # noqa: F401
            return library
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            library.define(f"{missing[1]}(Tensor x) -> Tensor")
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]
    raise AssertionError("torchvision asks for ever more operators")


def write_idx(path, array):
    """An IDX file, as MNIST's: two zero bytes, type 8 (bytes), the rank, the sizes, the data."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.tobytes())


def write_mnist(root, counts=(60_000, 10_000)):
    """Random pictures in the form of MNIST -> the checksums of the four files."""
    rng = np.random.default_rng(0)
    for name, n in zip(("train", "t10k"), counts, strict=True):
        write_idx(root / f"MNIST/raw/{name}-images-idx3-ubyte", rng.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        write_idx(root / f"MNIST/raw/{name}-labels-idx1-ubyte", (np.arange(n) % 10).astype(np.uint8))
    return {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in (root / "MNIST/raw").iterdir()}


def test_full_mnist_is_read_from_idx_files(tmp_path, torchvision_imports, capsys, monkeypatch):
    written = write_mnist(tmp_path)
    assert written.keys() == source.MNIST_MD5.keys()
    monkeypatch.setattr(source, "MNIST_MD5", written)              # of these files: the real ones lie elsewhere
    digits = load_digits(full=True, root=tmp_path)
    assert capsys.readouterr().err == ""
    assert digits.train.shape == (60_000, 1, 32, 32) and digits.val.shape == (10_000, 1, 32, 32)
    first = np.random.default_rng(0).integers(0, 256, (60_000, 28, 28), dtype=np.uint8)[0]
    torch.testing.assert_close(digits.train[0, 0, 2:-2, 2:-2], torch.from_numpy(first).float() / 127.5 - 1)
    assert digits.train_labels[:12].tolist() == [*range(10), 0, 1]


@pytest.mark.parametrize("damage", ["truncated", "too few", "not idx", "one bit"])
def test_a_damaged_idx_file_is_one_line_and_the_embedded_digits(tmp_path, torchvision_imports, capsys, monkeypatch,
                                                                damage):
    written = write_mnist(tmp_path, (60_000, 10_000) if damage != "too few" else (600, 100))
    if damage != "too few":
        monkeypatch.setattr(source, "MNIST_MD5", written)
    file = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:1_000_000])
    if damage == "not idx":
        file.write_bytes(gzip.compress(b"hello"))
    if damage == "one bit":
        flipped = bytearray(file.read_bytes())
        flipped[30_000_000] ^= 4
        file.write_bytes(flipped)
    digits = load_digits(full=True, root=tmp_path)
    said = capsys.readouterr().err.strip()
    assert len(digits.train) == 4500 and len(said.splitlines()) == 1 and "embedded" in said and "MNIST" in said
