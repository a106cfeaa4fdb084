"""What is in a sound: its pitch, how long the word is, when it begins; and the digit, read by a classifier."""

import torch

from minidiff.data.sounds import HERTZ, RATE, SECONDS

FRAME, STEP = 512, 128                                           # samples that are looked at together, and between
DEEPEST, HIGHEST = 90, 340                                       # Hz: where a voice is looked for
OCTAVE = 0.02                                                    # what a pitch half as high must fit better
QUIET = -30.0                                                    # dB below the loudest: what counts as silence


def autocorrelation(frames):
    """How like itself each frame (..., N) is, shifted by 0, 1, 2, ... samples, without the window's own fall and with 1
    for no shift: the inverse transform of the power [Wiener-Khinchin]  -> (..., N / 2)"""
    window = torch.hann_window(frames.shape[-1], device=frames.device)

    def along(x):
        return torch.fft.irfft(torch.fft.rfft(x, 2 * x.shape[-1]).abs().square())[..., :x.shape[-1] // 2]

    own, shifted = along(window), along(frames * window)
    return shifted / shifted[..., :1].clamp_min(1e-9) * own[0] / own


def read_pitch(waves):
    """The pitch of voices (B, N) in Hz (B,): the median over frames of the shift that fits best, loud and periodic
    frames counting more.  Twice a period fits as well as one, so an octave costs a little.  [Boersma 1993, eq. 24]"""
    frames = waves.unfold(-1, FRAME, STEP)                       # (B, T, 512)
    shortest, longest = -(-RATE // HIGHEST), RATE // DEEPEST
    shifts = torch.arange(shortest, longest + 1, device=waves.device)
    fits = autocorrelation(frames)[..., shifts]                  # (B, T, shifts)
    best = (fits - OCTAVE * shifts.log2()).argmax(-1)            # (B, T)
    fit, shift = fits.gather(-1, best[..., None])[..., 0], shifts[best]
    weight = frames.square().sum(-1) * fit.clamp_min(0) ** 4
    hertz, order = (RATE / shift).sort(-1)
    share = weight.gather(-1, order).cumsum(-1)
    middle = (share >= share[:, -1:] / 2).int().argmax(-1, keepdim=True)
    return hertz.gather(-1, middle)[:, 0]


def read_times(waves):
    """When the words of sounds (B, N) begin and how long they last, in seconds: (B,), (B,).  What is more than 30 dB
    below the loudest is silence."""
    power = waves.square().unfold(-1, 64, 32).mean(-1)           # (B, T)
    heard = (power > 10 ** (QUIET / 10) * power.amax(-1, keepdim=True)).int()
    first, after = heard.argmax(-1), heard.shape[-1] - heard.flip(-1).argmax(-1)
    return first * 32 / RATE, (after - first) * 32 / RATE


def lateness(waves):
    """How late words begin: 0 as early and 1 as late as the half second allows (B,)."""
    start, seconds = read_times(waves)
    return start / (waves.shape[-1] / RATE - seconds).clamp_min(0.03)


def nearest_word(values, meant):
    """Which of the values that are meant by words is nearest, on a logarithmic scale: values (B,) -> places (B,)."""
    return (values.clamp_min(1e-3).log()[:, None] - torch.tensor(meant, device=values.device).log()).abs().argmin(1)


@torch.no_grad()
def read_sounds(reader, spectrograms, waves):
    """Digit, pitch and speed of sounds (B, 3): the digit by a classifier of spectrograms, the others measured in the
    waves."""
    return torch.stack([reader(spectrograms).argmax(1), nearest_word(read_pitch(waves), HERTZ),
                        nearest_word(read_times(waves)[1], SECONDS)], 1)
