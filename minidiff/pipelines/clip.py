"""CLIP, trained on captioned digits."""

from minidiff.data.augment import shift
from minidiff.data.captions import caption_index, drop_words, every_caption, is_true_of, sentence, tokenize
from minidiff.models.clip import Clip, ClipConfig, contrastive_loss
from minidiff.tools.checks import check_dataset, check_number
from minidiff.tools.runtime import budget
from minidiff.training.checkpoint import load_model
from minidiff.training.loop import Recipe


def recipe(captioned, seed=0, config=ClipConfig(), steps=None, batch=None, lr=2e-3, terse=0.25):
    """Train both towers on captioned digits and their captions, one word in four left out."""
    check_dataset(captioned, 3, 32, 32)
    device, batch = captioned.labels.device, budget(full=512, small=256, fast=64, given=batch)
    check_number("terse", terse, 0, 1)
    every = tokenize([sentence(said) for said in every_caption()]).to(device)       # (1408, L)

    def loss_of(model, generator):
        pictures, attributes = captioned.sample(batch, generator)
        said = drop_words(attributes, terse, generator)
        captions = model.embed_tokens(every[caption_index(said)])
        logits = model.logits(model.embed_pictures(shift(pictures, 2, generator)), captions)
        return contrastive_loss(logits, is_true_of(said, attributes))

    return Recipe("clip", lambda: Clip(config), config, loss_of,
                  budget(full=2_000, small=600, fast=30, given=steps), batch, lr, seed, weight_decay=0.05,
                  objective={"data": captioned.checksum, "terse": terse}, device=device)


def load(path):
    """The trained CLIP in a checkpoint."""
    return load_model(path, Clip, ClipConfig)[0]
