"""CLIP: the word "seven" and the picture of a seven land at the same place.  [Radford et al. 2021]"""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.blocks import Down, ResBlock, norm
from minidiff.captions import (
    SIZES,
    UNSAID,
    WORDS,
    caption_index,
    drop_words,
    every_caption,
    is_true_of,
    sentence,
    tokenize,
)
from minidiff.checkpoint import load_weights
from minidiff.inputs import check_alike, check_finite, check_pictures, check_shape, check_whole
from minidiff.runtime import budget, seed_all
from minidiff.train import Recipe
from minidiff.transformer import TextConfig, TextEncoder, end_state


@dataclass(frozen=True)
class ClipConfig:
    widths: tuple = (32, 64, 96)                                 # image tower at 16 x 16, 8 x 8 and 4 x 4
    text: TextConfig = field(default_factory=TextConfig)
    embed_width: int = 64                                        # of the space that both towers share


class ImageTower(nn.Module):
    """Pictures (B, 3, 32, 32) -> embeddings (B, D): residual convolutions, then the mean over places."""

    def __init__(self, widths, embed_width):
        super().__init__()
        layers, width = [], 3
        for wide in widths:
            check_whole("each of the widths", wide)
            layers += [Down(width, wide), ResBlock(wide, wide)]
            width = wide
        self.net = nn.Sequential(*layers, norm(width), nn.SiLU(), nn.AvgPool2d(2), nn.Flatten())
        self.out = nn.Linear(4 * width, embed_width)
        self.to(memory_format=torch.channels_last)               # which a CPU reads faster

    def forward(self, pictures):
        return self.out(self.net(pictures))


class Clip(nn.Module):
    """Two towers and a temperature.  Embeddings are vectors (B, D) of length one."""

    def __init__(self, config=ClipConfig()):
        super().__init__()
        self.config = config
        self.image = ImageTower(config.widths, config.embed_width)
        self.text = TextEncoder(config.text)
        self.text_out = nn.Linear(config.text.width, config.embed_width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())  # logits = exp(log_scale) cosine

    def embed_pictures(self, pictures):
        """Pictures (B, 3, 32, 32) in [-1, 1] -> (B, D) of length one."""
        side = 4 * 2 ** len(self.config.widths)                  # 32: each width halves, down to 4
        check_shape("pictures for CLIP", pictures, "B", 3, side, side)
        if not self.training:                                    # there no step waits for a look at the values
            check_pictures(pictures)
        return F.normalize(self.image(pictures).float(), dim=-1)

    def embed_tokens(self, ids):
        """Caption token ids (B, L) -> (B, D) of length one."""
        return F.normalize(self.text_out(end_state(self.text(ids), ids)).float(), dim=-1)

    def embed_captions(self, captions):
        """Sentences -> (B, D) of length one."""
        return self.embed_tokens(tokenize(captions).to(self.log_scale.device))

    def text_states(self, captions):
        """Sentences -> one state per token (B, L, D), what a denoiser looks at; [""] is the null condition."""
        return self.text(tokenize(captions).to(self.log_scale.device)).float()

    def logits(self, picture_embeddings, caption_embeddings):
        """Similarity of each picture with each caption, sharpened by the learned temperature -> (B, M)."""
        return self.log_scale.exp().clamp(max=100) * picture_embeddings @ caption_embeddings.T


def contrastive_loss(logits, positive):
    """Each picture finds its captions, each caption its pictures; several may be right.  [SupCon eq. 2, CLIP fig. 3]

    loss = -mean over rows of mean over positives of log softmax(logits), and the same along columns, halved.
    logits (B, M), positive (B, M) bool with at least one True in each row and column.

    >>> contrastive_loss(torch.zeros(4, 4), torch.eye(4, dtype=torch.bool)).item()     # ln 4
    1.3862943649291992
    """
    check_alike(logits=logits, positive=positive)
    if not bool(positive.any(0).all() and positive.any(1).all()):
        raise ValueError("each picture and each caption needs at least one true partner in the batch")

    def one_way(scores, right):
        target = right / right.sum(1, keepdim=True)
        return -(target * scores.log_softmax(1)).sum(1).mean()

    return (one_way(logits, positive) + one_way(logits.T, positive.T)) / 2


def sigmoid_loss(logits, positive, bias):
    """Each pair alone: does this caption belong to this picture, yes or no?  [Zhai et al. 2023 (SigLIP), eq. 1]

    loss = -mean over rows of sum over columns of log sigmoid(z (logits + bias)), z = +1 where positive, else -1.
    logits (B, M), positive (B, M) bool, bias a number: no pair fits by default, so it begins far below zero.

    >>> sigmoid_loss(torch.zeros(3, 3), torch.eye(3, dtype=torch.bool), 0.0).item()   # 3 ln 2
    2.079441547393799
    """
    check_alike(logits=logits, positive=positive)
    sign = torch.where(positive, 1.0, -1.0)
    return -F.logsigmoid(sign * (logits + bias)).sum(1).mean()


def shift(pictures, pixels, generator):
    """Move each picture by up to `pixels` in both directions: an augmentation that keeps every caption true."""
    check_shape("pictures", pictures, "B", "C", "H", "W")
    check_whole("pixels", pixels, 0)
    size, device = pictures.shape[-1], pictures.device
    dy, dx = torch.randint(0, 2 * pixels + 1, (2, len(pictures), 1), generator=generator, device=device)
    padded = F.pad(pictures, (pixels,) * 4, value=-1.0)
    along = torch.arange(size, device=device)
    rows, columns = (dy + along)[:, None, :, None], (dx + along)[:, None, None, :]
    picture = torch.arange(len(pictures), device=device)[:, None, None, None]
    channel = torch.arange(pictures.shape[1], device=device)[:, None, None]
    return padded[picture, channel, rows, columns]


def recipe(wardrobe, seed=0, config=ClipConfig(), steps=None, batch=None, lr=2e-3, terse=0.25):
    """Train both towers on dressed digits and their captions, one word in four left out."""
    seed_all(seed)
    device, batch = wardrobe.labels.device, budget(full=512, small=256, fast=64, given=batch)
    model = Clip(config).to(device)
    every = tokenize([sentence(said) for said in every_caption()]).to(device)       # (1408, L)

    def loss_of(model, generator):
        pictures, attributes = wardrobe.sample(batch, generator)
        said = drop_words(attributes, terse, generator)
        captions = model.embed_tokens(every[caption_index(said)])
        logits = model.logits(model.embed_pictures(shift(pictures, 2, generator)), captions)
        return contrastive_loss(logits, is_true_of(said, attributes))

    return Recipe("clip", model, config, loss_of, budget(full=2_000, small=600, fast=30, given=steps),
                  batch, lr, seed, weight_decay=0.05)


def load(path):
    """The trained CLIP in a checkpoint."""
    def build(config):
        return Clip(ClipConfig(tuple(config["widths"]), TextConfig(**config["text"]), config["embed_width"]))

    return load_weights(path, build)[0]


def prompts():
    """A caption for each word that says nothing else: {"digit": ["a zero", ...], "color": ["a red digit", ...], ...}"""
    said = {name: torch.full((size, 4), UNSAID) for name, size in zip(WORDS, SIZES)}
    for column, rows in enumerate(said.values()):
        rows[:, column] = torch.arange(len(rows))
    return {name: [sentence(row) for row in rows] for name, rows in said.items()}


@torch.no_grad()
def read(model, pictures):
    """Zero-shot: attributes (B, 4) of pictures (B, 3, 32, 32), the best-fitting prompt of each kind.
    [CLIP section 3.1]  Like `Judge.read`, but no classifier was trained."""
    seen = model.embed_pictures(pictures)
    return torch.stack([(seen @ model.embed_captions(words).T).argmax(1) for words in prompts().values()], 1)


def recall_at(k, similarity, true):
    """Share of queries (rows) with a true match among the k most similar: similarity, true bool (B, M).

    >>> similarity = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    >>> recall_at(1, similarity, torch.tensor([[True, False, True], [False, True, False]]))
    0.5
    """
    check_alike(similarity=similarity, true=true)
    check_finite("the similarity", similarity)
    if not bool(true.any(1).all()):
        raise ValueError("a query without any true match cannot be answered: leave it out")
    best = similarity.topk(min(check_whole("k", k), similarity.shape[1]), dim=1).indices
    return true.gather(1, best).any(1).float().mean().item()
