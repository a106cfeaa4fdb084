"""Spoken digits from a source and a filter: a voice of our own, which is synthetic and says so.

Voiced sounds are harmonics of a gliding pitch, filtered by three moving formants; hissing sounds are shaped noise.
[Fant 1960; formants of the vowels: Peterson & Barney 1952, table II, men; of the consonants: Klatt 1980, table III, but
for the first one of n, which stands for a pole of the nose]"""

import math

import torch
from torch.nn import functional as F

from minidiff.data.captions import DIGITS
from minidiff.tools.checks import check_rows

RATE, SAMPLES = 8_000, 4_096                                      # samples a second; of one sound, half a second
FINE = 32                                                        # samples from one setting of the filter to the next
PITCHES = ("low", "medium", "high")
SPEEDS = ("slow", "steady", "fast")
HERTZ = (125.0, 185.0, 275.0)                                    # of the pitches
SECONDS = (0.43, 0.31, 0.22)                                     # of the speeds: how long a word takes
SOUND_SIZES = (len(DIGITS), len(PITCHES), len(SPEEDS))           # (10, 3, 3): 90 combinations
PHONES = {  # how loud the voice is and the hiss; in Hz: where the hiss is, how wide, and three formants
    "iy": (1.0, 0.0, 0, 1, 270, 2290, 3010), "ih": (1.0, 0.0, 0, 1, 390, 1990, 2550),
    "eh": (1.0, 0.0, 0, 1, 530, 1840, 2480), "ah": (1.0, 0.0, 0, 1, 640, 1190, 2390),
    "aa": (1.0, 0.0, 0, 1, 730, 1090, 2440), "ao": (1.0, 0.0, 0, 1, 570, 840, 2410),
    "uw": (1.0, 0.0, 0, 1, 300, 870, 2240), "w": (0.7, 0.0, 0, 1, 290, 610, 2150),
    "r": (0.8, 0.0, 0, 1, 310, 1060, 1380), "n": (0.45, 0.0, 0, 1, 250, 1340, 2470),
    "v": (0.4, 0.06, 2600, 1800, 220, 1100, 2080), "z": (0.3, 0.25, 3600, 700, 240, 1390, 2530),
    "s": (0.0, 0.5, 3700, 600, 320, 1390, 2530), "f": (0.0, 0.1, 2600, 2400, 340, 1100, 2080),
    "th": (0.0, 0.06, 2200, 2400, 320, 1290, 2540), "t": (0.0, 0.5, 3400, 1200, 400, 1600, 2600),
    "k": (0.0, 0.5, 1900, 600, 300, 1990, 2850), "-": (0.0, 0.0, 0, 1, 400, 1500, 2500),
}
SPELLED = (                                                      # each digit: phones, and their shares of its time
    "z 3 ih 3 r 2 ao 3 uw 2", "w 2 ah 5 n 4", "t 1.5 uw 7", "th 3 r 2 iy 6", "f 3 ao 5 r 3",
    "f 3 aa 4 ih 3 v 2", "s 3 ih 3 - 1.2 k 0.8 s 3", "s 3 eh 3 v 1.5 ah 2 n 2.5", "eh 3 iy 3.5 - 1.5 t 1.2",
    "n 2.5 aa 3.5 ih 2.5 n 3")
MOST = 5                                                         # phones of a digit
BANDWIDTHS = (60.0, 90.0, 150.0)                                 # of the formants, in Hz


def spelled(digit):
    """The phones of a digit and how long they are, filled up with phones of no length: settings (5, 7), shares (5,)."""
    parts = SPELLED[digit].split()
    names, shares = parts[::2], [float(share) for share in parts[1::2]]
    rest = MOST - len(names)
    return torch.tensor([PHONES[name] for name in names + names[-1:] * rest]), torch.tensor(shares + [0.0] * rest)


def resonance(hertz, formants):
    """How much the throat amplifies a frequency: the product over its formants f, each a resonance of width b, of
    f^2 / |f^2 - hertz^2 + i hertz b|.                              [Fant 1960; Klatt 1980, without (b / 2)^2]

    hertz (..., T), formants (..., 3, T) -> (..., T).  Far below the first formant it is 1.
    """
    f, b = formants, torch.tensor(BANDWIDTHS)[:, None]
    hertz = hertz.unsqueeze(-2)                                  # (..., 1, T)
    return (f**2 / ((f**2 - hertz**2) ** 2 + (hertz * b) ** 2).sqrt()).prod(-2)


def smooth(tracks, wide):
    """Tracks (N, k, T), each value the mean of those up to `wide` places away, the near ones counting more."""
    weights = torch.hann_window(2 * wide + 3, periodic=False)[1:-1]
    flat = F.pad(tracks.flatten(0, 1)[:, None], (wide, wide), mode="replicate")
    return F.conv1d(flat, (weights / weights.sum()).view(1, 1, -1)).view_as(tracks)


def as_samples(tracks):
    """Settings of the filter (N, k, T) at every sample (N, k, SAMPLES), on straight lines from one to the next."""
    return F.interpolate(tracks, scale_factor=FINE, mode="linear", align_corners=False)


def voiced(loud, tune, formants, phase):
    """Harmonics k of a pitch under the formants: the sum of loud resonance(k tune) / k sin(k phase), as far as half the
    sample rate.  loud, tune (N, T), formants (N, 3, T), phase (N, SAMPLES) -> (N, SAMPLES)"""
    sound = torch.zeros_like(phase)
    for k in range(1, int(RATE / 2 / tune.min()) + 1):
        amount = loud * resonance(k * tune, formants) / k * (k * tune < 0.48 * RATE)
        sound += as_samples(amount[:, None])[:, 0] * torch.sin(k * phase)
    return sound


def hissing(loud, place, width, generator):
    """Noise around a place in Hz, as loud as said: loud, place, width (N, T) -> (N, SAMPLES)"""
    window, hop = torch.hann_window(256), 2 * FINE
    noise = torch.randn(len(loud), SAMPLES, generator=generator)
    frames = torch.stft(noise, 256, hop, window=window, return_complex=True)           # (N, 129, T / 2 + 1)
    at = torch.arange(0, SAMPLES + 1, hop).div(FINE, rounding_mode="floor").clamp_max(loud.shape[1] - 1)
    hertz = torch.arange(129)[:, None] * RATE / 256
    frames = frames * torch.exp(-((hertz - place[:, None, at]) / width[:, None, at]) ** 2 / 2)
    return as_samples(loud[:, None])[:, 0] * torch.istft(frames, 256, hop, window=window, length=SAMPLES)


def speak(said, generator, late=None):
    """Spoken digits (N, SAMPLES) in [-1, 1], as said (N, 3): digit, place in PITCHES, place in SPEEDS.

    Each has a speaker of its own: a longer or shorter throat, a pitch a little higher or lower, phones that last longer
    or shorter.  late (N,): how late each begins, 0 as early and 1 as late as the half second allows; random if not
    given.
    """
    digit, pitch, speed = check_rows("said", said, SOUND_SIZES, unsaid=False).unbind(-1)
    settings, shares = map(torch.stack, zip(*map(spelled, digit.tolist()), strict=True))

    def around(spread, *shape):
        return (spread * torch.randn(len(said), *shape, generator=generator)).exp()

    throat = around(0.05) * torch.tensor([0.97, 1.0, 1.06])[pitch]                     # high voices have shorter ones
    hertz = around(0.05) * torch.tensor(HERTZ)[pitch]
    seconds = around(0.04) * torch.tensor(SECONDS)[speed]
    shares = shares * around(0.12, MOST)
    late = torch.rand(len(said), generator=generator) if late is None else late
    start = 0.01 + late * (SAMPLES / RATE - seconds - 0.02)
    time = torch.arange(SAMPLES // FINE) * FINE / RATE            # (T,) seconds
    part = (time - start[:, None]) / seconds[:, None]            # (N, T) of the word, 0 to 1
    phone = (part[..., None] > (shares / shares.sum(1, keepdim=True)).cumsum(1)[:, None]).sum(-1).clamp_max(MOST - 1)
    tracks = settings.gather(1, phone[..., None].expand(-1, -1, 7)).transpose(1, 2)    # (N, 7, T)
    heard = ((part >= 0) & (part < 1))[:, None]
    loud, filters = smooth(tracks[:, :2] * heard, 3), smooth(tracks[:, 2:], 8)         # a mouth moves in 30 to 60 ms
    formants, place = filters[:, 2:] * throat[:, None, None], filters[:, 0] * throat[:, None]
    tune = hertz[:, None] * (1.08 - 0.2 * part.clamp(0, 1)) * (1 + 0.01 * torch.sin(2 * math.pi * 5 * time))
    turns = (as_samples(tune[:, None])[:, 0].double() / RATE).cumsum(1) + torch.rand(len(said), 1, generator=generator)
    voice = voiced(loud[:, 0], tune, formants, (2 * math.pi * turns.remainder(1)).float())
    sound = voice / voice.abs().amax(1, keepdim=True) + 0.8 * hissing(loud[:, 1], place, filters[:, 1], generator)
    return 0.9 * sound / sound.abs().amax(1, keepdim=True)
