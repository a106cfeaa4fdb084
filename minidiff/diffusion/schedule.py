"""How much signal and how much noise there is at each level, and the five coordinates in which one prediction can be
said:

    eps       the noise that was added
    x0        the clean picture
    v         signal eps - noise x0: almost eps at low noise, almost -x0 at high noise
    velocity  eps - x0: where the straight path from picture to noise goes, what flow matching predicts
    score     the direction in which the density of noisy pictures grows fastest, the gradient of its logarithm

Each follows from any other once xt is known.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from minidiff.tools.checks import check, check_alike, check_whole

KINDS = ("eps", "x0", "v", "velocity", "score")
FLOOR = 1e-5                                                     # alpha_bar at level S: terminal SNR 1e-5


@dataclass(frozen=True, eq=False)
class Schedule:
    """Two curves over the levels 0..S, alpha_t and sigma_t in the papers: xt = signal[t] x0 + noise[t] eps.

    signal, noise (S + 1,): signal falls from exactly 1, and stays above 0; noise rises from exactly 0.  Level 0 is the
    clean picture, and level S nearly pure noise.  Two schedules are equal if they are the same object.

    >>> Schedule.cosine(1000).terminal_snr < 1e-4
    True
    """

    signal: torch.Tensor
    noise: torch.Tensor

    def __post_init__(self):
        falls, rises = bool((self.signal.diff() < 0).all()), bool((self.noise.diff() >= 0).all())
        check(falls and rises and len(self.signal) > 1 and self.signal[0] == 1 and self.signal[-1] > 0 == self.noise[0],
              "signal must begin at exactly 1 and fall, staying above 0, and noise begin at exactly 0 and rise; got "
              f"{self.signal[:2].tolist()} ... {self.signal[-1:].tolist()} and {self.noise[:2].tolist()} ...")

    @classmethod
    def keeping_variance(cls, alpha_bar):
        """The schedule with signal^2 = alpha_bar and noise^2 = 1 - alpha_bar (S + 1,), a walk on a circle: pictures of
        variance 1 keep it at every level.  [DDPM eq. 4]"""
        return cls(alpha_bar.double().sqrt(), (1 - alpha_bar).double().sqrt())

    @classmethod
    def cosine(cls, levels=1000):
        """alpha_bar = cos^2(pi t / 2S), after [Nichol & Dhariwal 2021, eq. 17], ending at a floor above zero."""
        angle = steps_to(levels) * math.pi / 2
        return cls.keeping_variance(FLOOR + (1 - FLOOR) * angle.cos() ** 2)

    @classmethod
    def linear(cls, levels=1000, first=1e-4, last=0.02):
        """alpha_bar = prod(1 - beta), beta rising evenly [DDPM section 4]; made for S = 1000, see terminal_snr."""
        beta = torch.linspace(first, last, levels, dtype=torch.float64)
        return cls.keeping_variance(torch.cat([torch.ones(1), torch.cumprod(1 - beta, 0)]))

    @classmethod
    def straight(cls, levels=1000):
        """signal + noise = 1, a walk along a chord: the path of flow matching.  [Lipman et al. 2023, eq. 20]

        It ends a little before pure noise, at the same alpha_bar as the cosine schedule.
        """
        noise = (1 - math.sqrt(FLOOR)) * steps_to(levels)
        return cls(1 - noise, noise)

    def rescaled(self):
        """The same schedule, stretched so that it ends in noise: signal shifted and scaled
        [Lin et al. 2024, algorithm 1]."""
        low = math.sqrt(FLOOR)
        signal = low + (self.signal - self.signal[-1]) * (1 - low) / (1 - self.signal[-1])
        return Schedule.keeping_variance(signal.square())

    @property
    def levels(self):
        """S, the number of the noisiest level."""
        return len(self.signal) - 1

    @property
    def alpha_bar(self):
        """signal^2 (S + 1,), the share of signal variance at each level."""
        return self.signal.square()

    @property
    def snr(self):
        """Signal-to-noise ratio signal^2 / noise^2 at each level (S + 1,); infinite at level 0."""
        return (self.signal / self.noise).square()

    @property
    def terminal_snr(self):
        """What is left of the signal at level S; above 1e-4 the sampler starts from something it never saw."""
        return self.snr[-1].item()

    @cached_property
    def curves(self):
        """(signal, noise) at each level, as plain numbers."""
        return list(zip(self.signal.tolist(), self.noise.tolist(), strict=True))

    def at(self, t, like):
        """Signal and noise at levels t (B,), each shaped (B, 1, ..., 1) to multiply `like` (B, ...)."""
        check(like.is_floating_point(), f"levels are for float tensors, got {like.dtype}: bytes in 0..255?")
        curves = torch.stack([self.signal, self.noise]).to(like.device, like.dtype)
        try:                                                     # unlike curves[:, t] it takes no level below 0
            curves = curves.index_select(1, t)
        except (IndexError, RuntimeError, TypeError) as error:
            raise ValueError(f"t must be integer levels (B,), 0 (clean) to {self.levels} (noise), got {t}") from error
        return curves.view(2, -1, *[1] * (like.ndim - 1)).unbind()


SCHEDULES = {"cosine": Schedule.cosine, "linear": Schedule.linear, "straight": Schedule.straight}


def steps_to(levels):
    """0, 1/S, 2/S, ..., 1 (S + 1,); on the CPU also where a model is planned only."""
    return torch.arange(check_whole("levels", levels) + 1, dtype=torch.float64, device="cpu") / levels


def add_noise(x0, t, eps, schedule):
    """Noise a clean batch to level t: xt = signal x0 + noise eps.  [DDPM eq. 4]

    x0, eps (B, ...), t (B,) levels in 0..S -> xt (B, ...)

    >>> half = Schedule(torch.tensor([1.0, 0.8]), torch.tensor([0.0, 0.6]))
    >>> add_noise(torch.tensor([[1.0]]), torch.tensor([1]), torch.tensor([[1.0]]), half)
    tensor([[1.4000]])
    """
    check_alike(x0=x0, eps=eps)
    signal, noise = schedule.at(t, like=x0)                      # (B, 1, ..., 1)
    return signal * x0 + noise * eps


def _curves_for(kind, prediction, xt, t, schedule):
    """Signal and noise at t (B,), where there is such a kind of prediction, and it is shaped like xt."""
    check(kind in KINDS, f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    check_alike(prediction=prediction, xt=xt)
    return schedule.at(t, like=xt)


def to_eps(prediction, xt, t, schedule, kind):
    """Say a prediction of x0, v or the score as the noise eps that it implies, given xt.

    x0:     eps = (xt - signal x0) / noise                             [DDPM eq. 4, solved]
    v:      eps = (noise xt + signal v) / (signal^2 + noise^2)         [Salimans & Ho 2022, app. D]
    velocity: eps = (xt + signal velocity) / (signal + noise)          [Lipman et al. 2023, eq. 23]
    score:  eps = -noise score                                         [Song & Ermon 2019]

    At level 0 there is no noise, and x0 does not say which: NaN or infinity.

    >>> half = Schedule(torch.tensor([1.0, 0.8]), torch.tensor([0.0, 0.6]))
    >>> to_eps(torch.tensor([[1.0]]), torch.tensor([[1.4]]), torch.tensor([1]), half, "x0")
    tensor([[1.0000]])
    """
    signal, noise = _curves_for(kind, prediction, xt, t, schedule)
    if kind == "x0":
        return (xt - signal * prediction) / noise
    if kind == "v":
        return (noise * xt + signal * prediction) / (signal**2 + noise**2)
    if kind == "velocity":
        return (xt + signal * prediction) / (signal + noise)
    if kind == "score":
        return -noise * prediction
    return prediction


def from_eps(eps, xt, t, schedule, kind):
    """The inverse of `to_eps`: say the noise eps as x0, v or the score.

    x0 = (xt - noise eps) / signal,  v = signal eps - noise x0,  velocity = eps - x0,  score = -eps / noise

    >>> half = Schedule(torch.tensor([1.0, 0.8]), torch.tensor([0.0, 0.6]))
    >>> from_eps(torch.tensor([[1.0]]), torch.tensor([[1.4]]), torch.tensor([1]), half, "x0")
    tensor([[1.0000]])
    """
    signal, noise = _curves_for(kind, eps, xt, t, schedule)
    if kind == "x0":
        return (xt - noise * eps) / signal
    if kind == "v":
        return signal * eps - noise * (xt - noise * eps) / signal
    if kind == "velocity":
        return eps - (xt - noise * eps) / signal
    if kind == "score":
        return -eps / noise
    return eps
