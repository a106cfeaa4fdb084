"""What a denoiser is trained on."""

import torch

from minidiff.diffusion.schedule import add_noise
from minidiff.tools.checks import check, check_alike

WEIGHTS = {                            # times a squared error in eps, this is the squared error in eps, v or x0
    "eps": lambda signal, noise: torch.ones_like(signal),
    "v": lambda signal, noise: ((signal**2 + noise**2) / signal) ** 2,
    "velocity": lambda signal, noise: ((signal + noise) / signal) ** 2,
    "x0": lambda signal, noise: (noise / signal) ** 2,
    "min-snr": lambda signal, noise: (5 * (noise / signal) ** 2).clamp_max(1),        # of x0 times min(SNR, 5)
}                                                                                     # [Hang et al. 2023, eq. 8]


def denoising_loss(denoise, x0, t, eps, schedule, cond=None, weight="v"):
    """Squared error of the predicted noise, a value per picture: weight(t) mean((denoise(xt, t) - eps)^2).
    [DDPM eq. 14; weights: Salimans & Ho 2022, section 4]

    x0, eps (B, ...), t (B,) levels in 1..S -> (B,).  The weight says in which coordinate the error is
    measured: "eps" is DDPM's simple loss, "x0" counts the error of the clean picture, "v" on a schedule that keeps
    the variance the sum of both (1 / alpha_bar = 1 + (1 - alpha_bar) / alpha_bar), which for a network that predicts v
    is the plain squared error of its output (the default).

    >>> from minidiff.diffusion import Schedule
    >>> half = Schedule(torch.tensor([1.0, 0.8]), torch.tensor([0.0, 0.6]))
    >>> x, t = torch.zeros(1, 2), torch.tensor([1])
    >>> denoising_loss(lambda xt, t, cond: xt * 0, x, t, torch.ones(1, 2), half, weight="eps")
    tensor([1.])
    """
    check(weight in WEIGHTS, f"weight {weight!r}: expected one of {', '.join(WEIGHTS)}")
    xt = add_noise(x0, t, eps, schedule)
    guess = denoise(xt, t, cond)
    check_alike(guess=guess, eps=eps)                            # else each picture meets each noise, in silence
    error = (guess - eps).square().flatten(1).mean(1)            # (B,)
    return WEIGHTS[weight](*schedule.at(t, like=error)) * error


def drop_condition(cond, null, p, generator):
    """Replace the condition of a share p of the batch by the null condition, so that one network learns
    both with and without a caption.  [Ho & Salimans 2022, algorithm 1]

    cond (B, ...), null (1, ...) or (...) -> (B, ...)
    """
    drop = torch.rand(len(cond), generator=generator, device=cond.device) < p
    return torch.where(drop.view(-1, *[1] * (cond.ndim - 1)), null, cond)
