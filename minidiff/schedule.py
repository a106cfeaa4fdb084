"""How much signal is left at each noise level, and the four coordinates in which one prediction can be said:

    eps    the noise that was added
    x0     the clean picture
    v      sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0: almost eps at low noise, almost -x0 at high noise
    score  the direction in which the density of noisy pictures grows fastest, the gradient of its logarithm

Each follows from any other once xt is known.
"""

import math
from dataclasses import dataclass

import torch

from minidiff.inputs import check_alike, check_float, check_number, check_whole, kind_of

KINDS = ("eps", "x0", "v", "score")
FLOOR = 1e-5                                                     # alpha_bar at level S: terminal SNR 1e-5


@dataclass(frozen=True)
class Schedule:
    """alpha_bar (S + 1,): the share of signal variance left at each level, alpha_bar[0] == 1 (clean).

    >>> Schedule.cosine(1000).terminal_snr < 1e-4
    True
    """

    alpha_bar: torch.Tensor

    def __post_init__(self):
        check_float("alpha_bar", a := self.alpha_bar)
        if a.ndim != 1 or len(a) < 2 or a[0] != 1 or not bool((a.diff() < 0).all()) or a[-1] <= 0:
            raise ValueError("alpha_bar must begin at exactly 1 and fall strictly, staying above 0; got "
                             f"{a.flatten()[:3].tolist()} ... {a.flatten()[-1:].tolist()} of shape {tuple(a.shape)}")

    @classmethod
    def cosine(cls, levels=1000):
        """alpha_bar = cos^2(pi t / 2S), after [Nichol & Dhariwal 2021, eq. 17], ending at a floor above zero."""
        check_whole("levels", levels)
        t = torch.arange(levels + 1, dtype=torch.float64, device="cpu") / levels  # also where a model is planned only
        return cls((FLOOR + (1 - FLOOR) * torch.cos(t * math.pi / 2) ** 2).float())

    @classmethod
    def linear(cls, levels=1000, first=1e-4, last=0.02):
        """alpha_bar = prod(1 - beta), beta rising evenly [DDPM section 4]; made for S = 1000, see terminal_snr."""
        check_whole("levels", levels)
        beta = torch.linspace(first, last, levels, dtype=torch.float64)
        return cls(torch.cat([torch.ones(1), torch.cumprod(1 - beta, 0).float()]))

    def rescaled(self):
        """The same schedule, stretched so that it ends in noise: sqrt(alpha_bar) shifted and scaled
        [Lin et al. 2024, algorithm 1]."""
        root = self.alpha_bar.double().sqrt()
        low = math.sqrt(FLOOR)
        return Schedule((low + (root - root[-1]) * (1 - low) / (1 - root[-1])).square().float())

    @property
    def levels(self):
        """S, the number of the noisiest level."""
        return len(self.alpha_bar) - 1

    @property
    def snr(self):
        """Signal-to-noise ratio alpha_bar / (1 - alpha_bar) at each level (S + 1,); infinite at level 0."""
        return self.alpha_bar / (1 - self.alpha_bar)

    @property
    def terminal_snr(self):
        """What is left of the signal at level S; above 1e-4 the sampler starts from something it never saw."""
        return self.snr[-1].item()

    def at(self, t, like):
        """alpha_bar at levels t (B,), shaped (B, 1, ..., 1) to multiply `like` (B, ...)."""
        check_float("what is noised", like)
        if not torch.is_tensor(t) or t.dtype not in (torch.int64, torch.int32) or t.shape != like.shape[:1]:
            raise ValueError(f"t must be {like.shape[:1].numel()} integer levels, one a picture, in a tensor; "
                             f"got {kind_of(t)}")
        if t.numel() and not 0 <= int(t.min()) <= int(t.max()) <= self.levels:
            raise ValueError(f"levels run from 0 (clean) to {self.levels} (noise); got {int(t.min())}..{int(t.max())}")
        a = self.alpha_bar.to(like.device, like.dtype)[t]
        return a.view(-1, *[1] * (like.ndim - 1))


def add_noise(x0, t, eps, schedule):
    """Noise a clean batch to level t: xt = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.  [DDPM eq. 4]

    x0, eps (B, ...), t (B,) levels in 0..S -> xt (B, ...)

    >>> half = Schedule(alpha_bar=torch.tensor([1.0, 0.64]))
    >>> add_noise(torch.tensor([[1.0]]), torch.tensor([1]), torch.tensor([[1.0]]), half)
    tensor([[1.4000]])
    """
    check_alike(x0=x0, eps=eps)
    a = schedule.at(t, like=x0)                                  # (B, 1, ..., 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * eps


def check_down(t, s, schedule, eta=0.0):
    """The two levels of a step, and how random it is."""
    if not 0 <= s < t <= schedule.levels:
        raise ValueError(f"a step goes from a level t down to a lower one s, {schedule.levels} >= t > s >= 0; "
                         f"got t = {t} and s = {s}")
    check_number("eta", eta)


def check_noisy(t, what):
    """Refuse level 0, where there is no noise to divide by."""
    if bool((t == 0).any()):
        raise ValueError(f"level 0 is clean: {what} cannot be said there, that divides by zero; ask from level 1 on")


def to_eps(prediction, xt, t, schedule, kind):
    """Say a prediction of x0, v or the score as the noise eps that it implies, given xt.

    x0:     eps = (xt - sqrt(alpha_bar) x0) / sqrt(1 - alpha_bar)      [DDPM eq. 4, solved]
    v:      eps = sqrt(1 - alpha_bar) xt + sqrt(alpha_bar) v           [Salimans & Ho 2022, app. D]
    score:  eps = -sqrt(1 - alpha_bar) score                           [Song & Ermon 2019]

    >>> half = Schedule(alpha_bar=torch.tensor([1.0, 0.64]))
    >>> to_eps(torch.tensor([[1.0]]), torch.tensor([[1.4]]), torch.tensor([1]), half, "x0")
    tensor([[1.0000]])
    """
    check_alike(prediction=prediction, xt=xt)
    a = schedule.at(t, like=xt)
    signal, sigma = a.sqrt(), (1 - a).sqrt()
    if kind == "eps":
        return prediction
    if kind == "x0":
        check_noisy(t, "the noise that led to x0")
        return (xt - signal * prediction) / sigma
    if kind == "v":
        return sigma * xt + signal * prediction
    if kind == "score":
        return -sigma * prediction
    raise ValueError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")


def from_eps(eps, xt, t, schedule, kind):
    """The inverse of `to_eps`: say the noise eps as x0, v or the score.

    x0 = (xt - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar),  v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0,
    score = -eps / sqrt(1 - alpha_bar)

    >>> half = Schedule(alpha_bar=torch.tensor([1.0, 0.64]))
    >>> from_eps(torch.tensor([[1.0]]), torch.tensor([[1.4]]), torch.tensor([1]), half, "x0")
    tensor([[1.0000]])
    """
    check_alike(eps=eps, xt=xt)
    a = schedule.at(t, like=xt)
    signal, sigma = a.sqrt(), (1 - a).sqrt()
    if kind == "eps":
        return eps
    if kind == "x0":
        return (xt - sigma * eps) / signal
    if kind == "v":
        return (eps - sigma * xt) / signal
    if kind == "score":
        check_noisy(t, "the score of a single picture")
        return -eps / sigma
    raise ValueError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
