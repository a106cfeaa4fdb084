"""Diffusion seen as a flow: noise is carried to pictures along a velocity field, and nothing in it is random.

With the angle phi of the circle as time (cos phi = signal, sin phi = noise),

    x = cos phi x0 + sin phi eps   and so   dx/dphi = cos phi eps - sin phi x0 = v:

what the network predicts is the velocity.  Divided by signal + noise, the same points walk on a chord,

    y = x / (signal + noise) = (1 - tau) x0 + tau eps,   tau = noise / (signal + noise),   dy/dtau = eps - x0,

from the same noise to the same picture: another schedule changes how fast one walks, and never where one arrives.
"""

import math

import torch

from minidiff.diffusion.levels import spaced_levels
from minidiff.diffusion.samplers import curves_at, level_of
from minidiff.diffusion.schedule import Schedule, from_eps


def angle_step(denoise, xt, t, s, schedule, cond=None, noise=None):
    """Heun's method in the angle: turn by the mean of the velocities at both ends.

    For schedules that keep the variance.  DDIM is the rotation x cos d + v sin d with d = phi_s - phi_t, the exact flow
    of a v that turns along with x.  This step looks ahead with it, turns the velocity found there back, and takes the
    rotation with the mean of both.  The step to level 0 is plain DDIM.
    """
    signal_t, noise_t, signal_s, noise_s = curves_at(schedule, t, s)
    d = math.atan2(noise_s, signal_s) - math.atan2(noise_t, signal_t)
    v = from_eps(denoise(xt, level_of(t, xt), cond), xt, level_of(t, xt), schedule, "v")
    ahead = math.cos(d) * xt + math.sin(d) * v
    if s > 0:
        v_ahead = from_eps(denoise(ahead, level_of(s, xt), cond), ahead, level_of(s, xt), schedule, "v")
        back = math.cos(d) * v_ahead + math.sin(d) * ahead       # a v that turns along with x stays what it was
        ahead = math.cos(d) * xt + math.sin(d) * (v + back) / 2
    return ahead


@torch.no_grad()
def inverted(denoise, x0, schedule, steps, step=angle_step, cond=None):
    """The flow walked backward: the noise from which a deterministic sampler would come to the picture x0 (B, ...).
    [DDIM section 4.3 and 5.4]  Where a step goes down from t to s, this one goes up from s to t, and it can only ask
    the denoiser at s: the way back is as exact as the steps are short."""
    levels = spaced_levels(schedule, steps)[::-1]
    for t, s in zip(levels, levels[1:]):
        x0 = step(denoise, x0, t, s, schedule, cond=cond)
    return x0


def on_the_chord(schedule):
    """The straight schedule with the same ratio of noise to signal at each level: the circle, drawn as its chord."""
    total = schedule.signal + schedule.noise
    return Schedule(schedule.signal / total, schedule.noise / total)


def denoiser_on_the_chord(denoise, schedule):
    """A denoiser of the circle, asked about points of the chord: it sees them at their old length."""
    def denoise_chord(yt, t, cond=None):
        signal, noise = schedule.at(t, like=yt)
        return denoise(yt * (signal + noise), t, cond)

    return denoise_chord


def straightness(trajectory, schedule):
    """How far walks are from straight lines at constant speed, 0 for lines: the mean over tau and walkers of
    |dy/dtau - (y_1 - y_0)|^2, divided by the mean of |y_1 - y_0|^2.  [Liu et al. 2023, section 2.2, without a unit]

    trajectory: pairs (level, x) as `sample` yields them, from noise to picture; each x is first put on the chord.
    """
    levels = [level for level, _ in trajectory]
    chord = on_the_chord(schedule)
    tau = [chord.curves[level][1] for level in levels]
    y = torch.stack([x / sum(schedule.curves[level]) for level, x in trajectory]).flatten(2)           # (T, B, n)
    whole = (y[0] - y[-1]) / (tau[0] - tau[-1])                  # (B, n), the velocity of the straight line
    total = 0.0
    for i in range(len(tau) - 1):
        stride = tau[i] - tau[i + 1]
        total += stride * ((y[i] - y[i + 1]) / stride - whole).square().sum(1)
    return (total.mean() / (tau[0] - tau[-1]) / whole.square().sum(1).mean()).item()


def quantile_map(mixture, z, iterations=60):
    """The flow from noise to a one-dimensional mixture, in closed form: z -> F^(-1)(Phi(z)), where F is the share of
    the mixture below a point and Phi that of the noise.  In one dimension trajectories cannot pass each other, so they
    must keep their order.  F is inverted by bisection.   z (B, 1) -> (B, 1)
    """
    normal = torch.distributions.Normal(0.0, 1.0)
    share = normal.cdf(z.double())
    low = (mixture.means.min() - 10 * mixture.std - 1).double().expand(z.shape)
    high = (mixture.means.max() + 10 * mixture.std + 1).double().expand(z.shape)
    for _ in range(iterations):
        middle = (low + high) / 2
        below = (normal.cdf((middle - mixture.means.flatten().double()) / mixture.std) * mixture.shares).sum(1, True)
        low, high = torch.where(below < share, middle, low), torch.where(below < share, high, middle)
    return ((low + high) / 2).to(z)
