"""From a sound to a picture and back: the log-mel spectrogram, and Griffin and Lim's way to find the phases again.

A spectrogram is a picture (B, 1, 32, 32) in [-1, 1] like any other: time to the right, pitch upward, loudness as
brightness."""

import math

import torch
from torch.nn import functional as F

from minidiff.data.sounds import RATE, SAMPLES
from minidiff.tools.checks import check_pictures, check_shape

WINDOW, HOP, BANDS = 256, 128, 32                                # samples; rows of the picture
EDGE = (WINDOW - HOP) // 2                                       # silence before and after, so that 32 frames fit
DECIBEL = 60.0                                                   # from black to white
LOWEST, HIGHEST = 50.0, 4_000.0                                  # Hz


def stft(waves):
    """The short-time Fourier transform: frames of 256 samples, one every 128, each under a Hann window, each as the
    256/2 + 1 numbers of its discrete Fourier transform.  waves (B, N) -> (B, 129, N / 128) complex"""
    frames = F.pad(waves, (EDGE, EDGE)).unfold(-1, WINDOW, HOP)  # (B, T, 256)
    return torch.fft.rfft(frames * torch.hann_window(WINDOW, device=waves.device)).transpose(-1, -2)


def istft(frames):
    """The waves whose frames come nearest, in the mean square, to given ones (B, 129, T): what overlaps is added, and
    divided by the windows that are there.  The exact inverse of `stft` where they are some wave's frames.
    [Griffin & Lim 1984, eq. 6]  -> (B, 128 T)"""
    window = torch.hann_window(WINDOW, device=frames.device)
    pieces = torch.fft.irfft(frames.transpose(-1, -2), WINDOW) * window                # (B, T, 256)
    size = (1, (pieces.shape[1] - 1) * HOP + WINDOW)

    def overlapped(pieces):
        return F.fold(pieces.transpose(1, 2), size, (1, WINDOW), stride=(1, HOP))[:, 0, 0]

    total, weight = overlapped(pieces), overlapped(window.square().expand(1, pieces.shape[1], -1))
    return total[:, EDGE:-EDGE] / weight[:, EDGE:-EDGE]


def mel(hertz):
    """How high a pitch seems: 2595 log10(1 + hertz / 700); 1,000 Hz are 1,000 mel.          [O'Shaughnessy 1987]"""
    return 2595 * math.log10(1 + hertz / 700)


def hertz_of(mels):
    """The inverse of `mel`.

    >>> round(hertz_of(mel(440.0)), 6)
    440.0
    """
    return 700 * (10 ** (mels / 2595) - 1)


def mel_bank():
    """32 triangles over the 129 frequencies of a frame, evenly spaced in mel, each from the peak of one neighbor to the
    peak of the other (32, 129)."""
    low, high = mel(LOWEST), mel(HIGHEST)
    at = torch.tensor([hertz_of(low + (high - low) * i / (BANDS + 1)) for i in range(BANDS + 2)])[:, None]
    hertz = torch.arange(WINDOW // 2 + 1) * RATE / WINDOW        # (129,)
    rising, falling = (hertz - at[:-2]) / (at[1:-1] - at[:-2]), (at[2:] - hertz) / (at[2:] - at[1:-1])
    return torch.minimum(rising, falling).clamp_min(0)


def to_spectrograms(waves):
    """Waves (B, 4096) -> log-mel spectrograms (B, 1, 32, 32): the loudest band of each sound is 1, and 60 dB below it
    is -1."""
    check_shape("waves", waves, "B", SAMPLES)
    power = mel_bank().to(waves.device) @ stft(waves).abs().square()                   # (B, 32, 32)
    level = 10 * power.clamp_min(1e-10).log10()
    level = level - level.amax((1, 2), keepdim=True).clamp_min(-30)                    # in dB; silence stays black
    return (2 * level / DECIBEL + 1).clamp_min(-1).flip(1)[:, None]


def spread_bands(bands, rounds=50):
    """The power at 129 frequencies whose mel bands come nearest to given ones (B, 32, T) without being negative:
    power <- power (M' bands) / (M' M power), M the mel bank.                          [Lee & Seung 2001]"""
    bank = mel_bank().to(bands.device)
    power = bank.T @ bands
    for _ in range(rounds):
        power = power * (bank.T @ bands) / (bank.T @ (bank @ power)).clamp_min(1e-12)
    return power


def griffin_lim(magnitude, rounds=60, momentum=0.99, seed=0):
    """Waves whose frames have given magnitudes (B, 129, T): keep the magnitudes, take the phases of the nearest wave's
    frames, and again.  [Griffin & Lim 1984; momentum: Perraudin et al. 2013]  -> (B, 128 T)"""
    generator = torch.Generator().manual_seed(seed)
    turns = torch.rand(magnitude.shape[1:], generator=generator).to(magnitude.device)
    phases, before = torch.polar(torch.ones_like(turns), 2 * math.pi * turns), 0
    for _ in range(rounds):
        frames = stft(istft(magnitude * phases))
        ahead = frames + momentum * (frames - before)
        phases, before = ahead.sgn(), frames                     # sgn z = z / |z|
    return istft(magnitude * phases)


def to_waves(spectrograms, rounds=60):
    """Log-mel spectrograms (B, 1, 32, 32) -> waves (B, 4096) in [-1, 1] that have them, as nearly as 60 rounds of
    `griffin_lim` find."""
    check_pictures(spectrograms, 1, BANDS, BANDS, name="spectrograms")
    level = (spectrograms[:, 0].clamp(-1, 1).flip(1) - 1) * DECIBEL / 2
    waves = griffin_lim(spread_bands(10 ** (level / 10)).sqrt(), rounds)
    return 0.9 * waves / waves.abs().amax(1, keepdim=True).clamp_min(1e-9)
