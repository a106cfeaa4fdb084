"""Which levels to draw through, and which to train on."""

import torch

from minidiff.tools.checks import check_whole


def spaced_levels(schedule, steps, start=None):
    """`steps` + 1 levels from `start` (S if not given) down to 0, evenly spaced.

    >>> from minidiff.diffusion import Schedule
    >>> spaced_levels(Schedule.cosine(1000), 4)
    [1000, 750, 500, 250, 0]
    """
    start = schedule.levels if start is None else check_whole("the first level", start, 1, schedule.levels)
    check_whole("steps", steps, 1, start)
    return torch.linspace(start, 0, steps + 1).round().long().tolist()


def karras_levels(schedule, steps, start=None, rho=7, highest=80.0, lowest=0.02):
    """At most `steps` + 1 levels from `start` (S if not given) down to 0: long strides where the noise is middling,
    short ones near both ends.  The noise of the i-th, in units of the signal, k = noise / signal, is
    (highest^(1/rho) + i / (steps - 1) (lowest^(1/rho) - highest^(1/rho)))^rho     [EDM eq. 5]

    >>> from minidiff.diffusion import Schedule
    >>> karras_levels(Schedule.cosine(1000), 6)
    [1000, 977, 923, 683, 171, 13, 0]
    """
    first = spaced_levels(schedule, 1, start)[0]
    k = schedule.noise / schedule.signal                         # (S + 1,)
    ends = torch.tensor([min(highest, k[first].item()), lowest], dtype=torch.float64) ** (1 / rho)
    wanted = torch.lerp(ends[0], ends[1], torch.linspace(0, 1, steps, dtype=torch.float64)) ** rho
    nearest = (k - wanted[:, None]).abs().argmin(1).clamp_max(first).tolist()
    return [first, *sorted(set(nearest[1:]) - {0, first}, reverse=True), 0]


def spaced_by_snr(schedule, count, first=2):
    """Rising levels from `first` to S, at most `count`, evenly spaced in the logarithm of the signal-to-noise ratio.

    >>> from minidiff.diffusion import Schedule
    >>> spaced_by_snr(Schedule.cosine(1000), 5)
    [2, 36, 499, 965, 1000]
    """
    log_snr = schedule.snr[first:].log()
    wanted = torch.linspace(log_snr[0].item(), log_snr[-1].item(), count, dtype=torch.float64)
    return (first + torch.searchsorted(-log_snr, -wanted).clamp_max(len(log_snr) - 1)).unique().tolist()


def sample_levels(n, schedule, generator, logit_mean=None, logit_std=1.0):
    """Levels t (n,) in 1..S to train on.  Without `logit_mean` each level is as likely as any other.

    With it seven in eight crowd around S sigmoid(logit_mean): t = S sigmoid(logit_mean + logit_std z), z normal
    [Esser et al. 2024, eq. 19], and are stratified: one draw from each n-th of the distribution, so that no batch is
    all noise or all picture [Kingma et al. 2021, app. I.1].  One in eight is any level, so that none is forgotten.
    """
    device = generator.device
    alike = torch.randint(1, schedule.levels + 1, (n,), generator=generator, device=device)
    if logit_mean is None:
        return alike
    u = (torch.arange(n, device=device) + torch.rand(n, generator=generator, device=device)) / n
    z = torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))             # the normal numbers below which a share u lies
    crowd = (schedule.levels * torch.sigmoid(logit_mean + logit_std * z)).ceil().long()
    return torch.where(torch.arange(n, device=device) % 8 == 4, alike, crowd)
