"""CLIP: the word "seven" and the picture of a seven land at the same place.  [Radford et al. 2021]"""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from minidiff.data.captions import END, tokenize
from minidiff.models.blocks import conv_tower
from minidiff.models.text_encoder import TextConfig, TextEncoder, end_state
from minidiff.tools.checks import check, check_alike, check_pictures


@dataclass(frozen=True)
class ClipConfig:
    widths: tuple = (32, 64, 96)                                 # image tower at 16 x 16, 8 x 8 and 4 x 4
    text: TextConfig = field(default_factory=TextConfig)
    embed_width: int = 64                                        # of the space that both towers share


class ImageTower(nn.Module):
    """Pictures (B, 3, 32, 32) -> embeddings (B, D): residual convolutions, then the means of the four quarters."""

    def __init__(self, widths, embed_width):
        super().__init__()
        self.net = nn.Sequential(*conv_tower(3, widths, [1] * len(widths)), nn.AvgPool2d(2), nn.Flatten())
        self.out = nn.Linear(4 * widths[-1], embed_width)

    def forward(self, pictures):
        return self.out(self.net(pictures))


class Clip(nn.Module):
    """Two towers and a temperature.  Embeddings are vectors (B, D) of length one."""

    def __init__(self, config=ClipConfig()):
        super().__init__()
        self.config, self.new_words = config, ()                 # words: see `with_word`
        self.image = ImageTower(config.widths, config.embed_width)
        self.text = TextEncoder(config.text)
        self.text_out = nn.Linear(config.text.width, config.embed_width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())  # logits = exp(log_scale) cosine

    def embed_pictures(self, pictures):
        """Pictures (B, 3, 32, 32) in [-1, 1] -> (B, D) of length one."""
        if not self.training:                                    # there no step waits for a look at the values
            check_pictures(pictures, 3, 32, 32)
        return F.normalize(self.image(pictures).float(), dim=-1)

    def embed_tokens(self, ids):
        """Caption token ids (B, L) -> (B, D) of length one."""
        if not self.training:
            check(bool((ids == END).any(1).all()), "a caption without <end> has no end state; `tokenize` writes one")
        return F.normalize(self.text_out(end_state(self.text(ids), ids)).float(), dim=-1)

    def tokens(self, captions):
        """Sentences -> token ids (B, L), its new words included."""
        return tokenize(captions, self.new_words).to(self.log_scale.device)

    def embed_captions(self, captions):
        """Sentences -> (B, D) of length one."""
        return self.embed_tokens(self.tokens(captions))

    def text_states(self, captions):
        """Sentences -> one state per token (B, L, D), what a denoiser looks at; [""] is the null condition."""
        return self.text(self.tokens(captions)).float()

    def logits(self, picture_embeddings, caption_embeddings):
        """Similarity of each picture with each caption, sharpened by the learned temperature -> (B, M)."""
        return self.log_scale.exp().clamp(max=100) * picture_embeddings @ caption_embeddings.T


def contrastive_loss(logits, positive):
    """Each picture finds its captions, each caption its pictures; several may be right.  [SupCon eq. 2, CLIP fig. 3]

    loss = -mean over rows of mean over positives of log softmax(logits), and the same along columns, halved.
    logits (B, M), positive (B, M) bool with at least one True in each row and column; without one it is NaN.

    >>> contrastive_loss(torch.zeros(4, 4), torch.eye(4, dtype=torch.bool)).item()     # ln 4
    1.3862943649291992
    """
    check_alike(logits=logits, positive=positive)

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
