"""What a denoiser is trained on."""

import torch

from minidiff.inputs import check_alike, check_given, check_number, check_share, check_whole
from minidiff.schedule import add_noise

WEIGHTS = {                            # times a squared error in eps, this is the squared error in eps, v or x0
    "eps": lambda a: torch.ones_like(a),
    "v": lambda a: 1 / a,                                        # v - v' = (eps - eps') / sqrt(alpha_bar)
    "min-snr": lambda a: (5 * (1 - a) / a).clamp_max(1),         # of x0 times min(SNR, 5)  [Hang et al. 2023, eq. 8]
    "x0": lambda a: (1 - a) / a,                                 # x0 - x0' = -(eps - eps') sigma / sqrt(alpha_bar)
}


def denoising_loss(denoise, x0, t, eps, schedule, cond=None, weight="v"):
    """Squared error of the predicted noise, a value per picture: weight(t) mean((denoise(xt, t) - eps)^2).
    [DDPM eq. 14; weights: Salimans & Ho 2022, section 4]

    x0, eps (B, ...), t (B,) levels in 1..S -> (B,).  The weight says in which coordinate the error is
    measured: "eps" is DDPM's simple loss, "x0" counts the error of the clean picture, "v" the sum of both
    (1 / alpha_bar = 1 + (1 - alpha_bar) / alpha_bar), which for a network that predicts v is the plain squared
    error of its output (the default).

    >>> from minidiff.schedule import Schedule
    >>> half = Schedule(alpha_bar=torch.tensor([1.0, 0.64]))
    >>> x, t = torch.zeros(1, 2), torch.tensor([1])
    >>> denoising_loss(lambda xt, t, cond: xt * 0, x, t, torch.ones(1, 2), half, weight="eps")
    tensor([1.])
    """
    if weight not in WEIGHTS:
        raise ValueError(f"weight {weight!r}: expected one of {', '.join(WEIGHTS)}")
    xt = add_noise(x0, t, eps, schedule)
    guess = denoise(xt, t, cond)
    check_alike(guess=guess, eps=eps)
    error = (guess - eps).square().flatten(1).mean(1)            # (B,)
    return WEIGHTS[weight](schedule.alpha_bar.to(x0.device)[t]) * error


def draw_levels(n, schedule, generator, middle=None, width=1.0):
    """Levels t (n,) in 1..S to train on.  Without `middle` each level is as likely as any other.

    With it seven in eight crowd around S sigmoid(middle): t = S sigmoid(middle + width z), z normal  [Esser et al.
    2024, eq. 19], and are stratified: one draw from each n-th of the distribution, so that no batch is all noise or all
    picture [Kingma et al. 2021, app. I.1].  One in eight is any level, so that none is forgotten.
    """
    check_given("draw_levels", generator=generator)
    check_whole("the number of levels to draw", n)
    check_number("width", width)
    device = generator.device
    alike = torch.randint(1, schedule.levels + 1, (n,), generator=generator, device=device)
    if middle is None:
        return alike
    check_number("middle", middle, -50, 50)                     # beyond, a sigmoid is 0 or 1
    u = (torch.arange(n, device=device) + torch.rand(n, generator=generator, device=device)) / n
    z = torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))             # the normal numbers below which a share u lies
    crowd = (schedule.levels * torch.sigmoid(middle + width * z)).ceil().long()
    return torch.where(torch.arange(n, device=device) % 8 == 4, alike, crowd)


def drop_condition(cond, null, p, generator):
    """Replace the condition of a share p of the batch by the null condition, so that one network learns
    both with and without a caption.  [Ho & Salimans 2022, algorithm 1]

    cond (B, ...), null (1, ...) or (...) -> (B, ...)
    """
    check_share("p", p)
    check_given("drop_condition", cond=cond, null=null)
    if null.shape[-1] != cond.shape[-1] or null.ndim > cond.ndim:
        raise ValueError(f"null stands for one of the conditions {tuple(cond.shape)}, got {tuple(null.shape)}")
    drop = torch.rand(len(cond), generator=generator, device=cond.device) < p
    return torch.where(drop.view(-1, *[1] * (cond.ndim - 1)), null, cond)
