"""The best possible denoiser, in closed form, where the density of the data is known: noise turns a Gaussian mixture
into a Gaussian mixture.  With std 0 the mixture is a finite data set, and this is the best denoiser of that data set.

A mixture has `means` (K, ...), one `std` and `shares` (K,), as `minidiff.data.Mixture` has.
"""

import math

import torch


def component_logits(mixture, xt, t, schedule):
    """Seen from xt at level t: the way to each noisy center (B, K, n), their variance (B, 1), and how well each
    explains xt, as logits (B, K).  Noise moves center k to signal mean_k, and its variance becomes
    signal^2 std^2 + noise^2."""
    signal, noise = (curve.flatten(1) for curve in schedule.at(t, like=xt))            # (B, 1)
    means = mixture.means.flatten(1).to(xt)                                            # (K, n)
    offset = xt.flatten(1)[:, None] - signal[:, :, None] * means                       # (B, K, n)
    variance = (signal**2 * mixture.std**2 + noise**2).clamp_min(1e-12)                # (B, 1)
    logits = mixture.shares.to(xt).log() - offset.square().sum(-1) / (2 * variance)    # (B, K)
    return offset, variance, logits


def exact_denoiser(mixture, schedule):
    """The best possible denoiser of a mixture: the mean of all noises that could have led to xt.

    eps(xt) = noise sum_k softmax_k(logits) (xt - signal mean_k) / (signal^2 std^2 + noise^2),
    logits_k = log share_k - |xt - signal mean_k|^2 / (2 (signal^2 std^2 + noise^2))
    [Bayes' rule; EDM app. B.3 for std = 0]

    For a data set this says: x0 is the mean of all pictures, weighted by a softmax of how near they are.
    """
    def denoise(xt, t, cond=None):
        offset, variance, logits = component_logits(mixture, xt, t, schedule)
        toward = torch.einsum("bk,bkn->bn", logits.softmax(1), offset) / variance      # minus the score
        _, noise = schedule.at(t, like=xt)
        return noise * toward.view_as(xt)

    return denoise


def log_density(mixture, xt, t, schedule):
    """log p_t(xt) of the noisy mixture at level t, exactly.  xt (B, ...), t (B,) -> (B,)

    Its gradient in xt is the score.  At level 0 a mixture of std 0 has no density: points have no area.
    """
    offset, variance, logits = component_logits(mixture, xt, t, schedule)
    return logits.logsumexp(1) - offset.shape[-1] / 2 * (2 * math.pi * variance[:, 0]).log()
