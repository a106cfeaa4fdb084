"""Denoisers and steps made from others: one that listens more, one that stays among pictures, one that is told a part.
"""

import math

import torch

from minidiff.diffusion.schedule import add_noise, from_eps, to_eps
from minidiff.tools.checks import check, check_whole


def guided(denoise, null, w, below=math.inf):
    """Classifier-free guidance, a denoiser that listens w times as much: uncond + w (cond - uncond).
    [Ho & Salimans 2022, eq. 6]

    null (1, ...): the condition that says nothing.  w = 0 ignores the condition, w = 1 is the plain conditional
    denoiser, w > 1 exaggerates.  (That paper counts from 0: its w is ours minus 1.)  below: exaggerate only the
    pictures that are below this level; above, where it is decided what will be drawn, listen plainly, so that it
    stays varied.  w = 0 ignores the condition everywhere.  [a limited interval: Kynkäänniemi et al. 2024]
    """
    def denoise_guided(xt, t, cond):
        nothing = null.expand_as(cond)
        if w == 0:
            return denoise(xt, t, nothing)
        loud = t < below                                         # (B,)
        if w == 1 or not loud.any():
            return denoise(xt, t, cond)
        uncond, with_cond = denoise(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([nothing, cond])).chunk(2)
        exaggerated = uncond + w * (with_cond - uncond)
        return torch.where(loud.view(-1, *[1] * (xt.ndim - 1)), exaggerated, with_cond)

    return denoise_guided


def guidance_target(cond, uncond, w):
    """The shares (K,) that guidance aims at: cond^w uncond^(1 - w), divided by their sum.
    [p(x | c) p(c | x)^(w - 1) by Bayes: Ho & Salimans 2022, section 3.1]

    cond, uncond (K,): the shares of K kinds with and without the condition, where nothing else tells them apart.

    >>> guidance_target(torch.tensor([0.75, 0.25]), torch.tensor([0.5, 0.5]), 2)      # 9/16 against 1/16
    tensor([0.9000, 0.1000])
    """
    check(cond.shape == uncond.shape and bool((uncond > 0).all()), "for each kind a share with the condition, and one "
          f"without it that is not 0; got {cond.tolist()} and {uncond.tolist()}")
    return (w * cond.log() + (1 - w) * uncond.log()).softmax(-1)


def guided_away(denoise, without, null, w, below=math.inf):
    """Guidance away from another denoiser: without(xt, null) + w (denoise(xt, cond) - without(xt, null)).

    It exaggerates all that `denoise` is told and `without` is not: the caption, and for example a sketch that only
    `denoise` is shown.  null (1, ...): the condition that says nothing.  below: exaggerate only below this level.
    """
    def denoise_guided(xt, t, cond):
        told, loud = denoise(xt, t, cond), t < below             # (B, ...), (B,)
        if not loud.any():
            return told
        alone = without(xt, t, null.expand_as(cond))
        return torch.where(loud.view(-1, *[1] * (xt.ndim - 1)), alone + w * (told - alone), told)

    return denoise_guided


def doubly_guided(denoise, null, null_source, by_source, by_text):
    """A denoiser that listens to a given picture and to a sentence, each as much as it should:
    e(0, 0) + s_I (e(source, 0) - e(0, 0)) + s_T (e(source, text) - e(source, 0)).          [InstructPix2Pix eq. 3]

    denoise(xt, t, cond, source); null (1, ...): the sentence that says nothing, null_source (1, ...): the picture that
    shows nothing.  The guided denoiser takes cond and source as a pair.
    """
    def denoise_guided(xt, t, both):
        cond, source = both
        nothing, blank = null.expand_as(cond), null_source.expand_as(source)
        three = denoise(xt.repeat(3, 1, 1, 1), t.repeat(3), torch.cat([nothing, nothing, cond]),
                        torch.cat([blank, source, source]))
        alone, seen, told = three.chunk(3)
        return alone + by_source * (seen - alone) + by_text * (told - seen)

    return denoise_guided


def in_windows(denoise, size, overlap):
    """A denoiser of longer films xt (B, F, ...), made from one of films of `size` frames: it is asked about windows
    that overlap, and where several answer, their mean counts.
    [of panoramas: Bar-Tal et al. 2023, MultiDiffusion eq. 5]
    """
    check_whole("the overlap of windows", overlap, 0, size - 1)

    def denoise_windows(xt, t, cond=None):
        frames = xt.shape[1]
        check(frames >= size, f"a film of {frames} frames is shorter than a window of {size}")
        starts = [*range(0, frames - size, size - overlap), frames - size]
        total, count = torch.zeros_like(xt), torch.zeros(frames, device=xt.device)
        for start in starts:
            total[:, start:start + size] += denoise(xt[:, start:start + size], t, cond)
            count[start:start + size] += 1
        return total / count.view(-1, *[1] * (xt.ndim - 2))

    return denoise_windows


def clipped(denoise, schedule):
    """A denoiser whose picture stays among the pictures: its x0 is cut to [-1, 1], and eps is what follows from that.
    For pixels; latents know no such bounds.     [static thresholding: Saharia et al. 2022, section 2.3]
    """
    def denoise_clipped(xt, t, cond=None):
        x0 = from_eps(denoise(xt, t, cond), xt, t, schedule, "x0")
        return to_eps(x0.clamp(-1, 1), xt, t, schedule, "x0")

    return denoise_clipped


def inpainting(step, known, mask, again=1):
    """A step that is told a part of the picture: after it the known pixels are put back, noised to its level.
    [RePaint eq. 8]  known (B, ...), mask (B, ...) or (...), True where the picture is known.

    again: how often each step is taken, with noise up from s to t in between, so that what is invented comes to terms
    with what is known.  [RePaint algorithm 1]
    """
    def step_inpainting(denoise, xt, t, s, schedule, cond=None, noise=None):
        (signal_t, noise_t), (signal_s, noise_s) = schedule.curves[t], schedule.curves[s]
        up = signal_t / signal_s                                 # what of the signal a walk from s up to t keeps
        added = math.sqrt(noise_t**2 - up**2 * noise_s**2)
        for turn in range(again):
            xs = step(denoise, xt, t, s, schedule, cond=cond, noise=noise)
            there = add_noise(known, torch.full((len(xt),), s, device=xt.device), noise(), schedule)
            xs = torch.where(mask, there, xs)
            if turn + 1 < again:
                xt = up * xs + added * noise()
        return xs

    return step_inpainting
