"""The digit classifier, which judges what others draw, and any other network that reads digits."""

from torch.nn import functional as F

from minidiff.data.augment import jitter
from minidiff.models.classifier import Classifier, ClassifierConfig
from minidiff.tools.checks import check_dataset
from minidiff.tools.runtime import budget
from minidiff.training.checkpoint import load_model
from minidiff.training.loop import Recipe


def recipe(digits, seed=0, config=ClassifierConfig(), steps=None, batch=None, lr=3e-3, network=Classifier):
    """Train a classifier on jittered digits; it never sees a generated picture.

    digits: whatever has sample(batch, generator) -> pictures, attributes, the digit in the first column, and a
    checksum: `CaptionedDigits`, or `LabeledDigits(pictures, labels)`.  network(config): B pictures -> (B, 10) logits.
    """
    side = 32 if network is Classifier else getattr(config, "size", None)
    check_dataset(digits, getattr(config, "channels", "1 or 3"), *([side, side] if side else []), columns=1,
                  classes=getattr(config, "classes", 10))
    batch = budget(full=256, small=128, fast=64, given=batch)

    def loss_of(model, generator):
        pictures, attributes = digits.sample(batch, generator)
        return F.cross_entropy(model(jitter(pictures, generator)), attributes[:, 0], label_smoothing=0.05)

    return Recipe("classifier", lambda: network(config), config, loss_of,
                  budget(full=2_000, small=1_000, fast=30, given=steps), batch, lr, seed, weight_decay=0.05, ema=0.99,
                  objective={"data": digits.checksum, "network": network.__name__}, device=digits.labels.device)


def load(path):
    """The trained classifier in a checkpoint."""
    return load_model(path, Classifier, ClassifierConfig)[0]
