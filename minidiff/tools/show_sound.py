"""Figures of sounds: the wave above its spectrogram, players, and .wav files."""

import html
import wave

from minidiff.tools.checks import check
from minidiff.tools.files import atomic_write
from minidiff.tools.show import Figure, Page, bare, to_image

GROUND = "magma"                                                 # the colors of loudness


def sounds(waves, spectrograms, captions, rate, columns=5, size=2.0):
    """Waves (B, N) of `rate` samples a second, each above its spectrogram (B, 1, H, W), time to the right, under its
    caption."""
    columns, tops = min(columns, len(waves)), -(-len(waves) // columns)
    figure = Figure(figsize=(size * columns, 1.45 * size * tops))
    axes = figure.subplots(2 * tops, columns, squeeze=False, gridspec_kw={"height_ratios": [1, 2] * tops})
    for ax in axes.flat:
        ax.set_axis_off()
    seconds = waves.shape[1] / rate
    for i, (sound, picture, caption) in enumerate(zip(waves, spectrograms, captions, strict=True)):
        top, bottom = axes[2 * (i // columns):, i % columns][:2]
        top.plot(sound.cpu().numpy(), linewidth=0.4)
        top.set(xlim=(0, len(sound)), ylim=(-1, 1))
        top.set_title(caption, fontsize=9, parse_math=False)
        spectrogram(bottom, picture, seconds)
    figure.tight_layout(pad=0.3)
    return figure


def both(pictures, waves, spectrograms, rate, title=""):
    """Pictures (B, 3, H, W), each above the sound (B, N) that was drawn with it, as wave and as spectrogram."""
    figure = Figure(figsize=(1.7 * len(pictures), 4.2))
    axes = figure.subplots(3, len(pictures), squeeze=False, gridspec_kw={"height_ratios": [3, 1, 2]})
    for column, picture, sound, heard in zip(axes.T, pictures, waves, spectrograms, strict=True):
        bare(column[0]).imshow(to_image(picture), interpolation="nearest")
        column[1].plot(sound.cpu().numpy(), linewidth=0.4)
        column[1].set(xlim=(0, len(sound)), ylim=(-1, 1))
        spectrogram(column[2], heard, len(sound) / rate)
        for ax in column[1:]:
            ax.set_axis_off()
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.tight_layout(pad=0.3)
    return figure


def spectrogram(ax, picture, seconds):
    """One spectrogram (1, H, W) into an axis: the lowest band at the bottom."""
    ax.imshow(picture[0].cpu().numpy(), cmap=GROUND, vmin=-1, vmax=1, aspect="auto", interpolation="nearest",
              extent=(0, seconds, 0, picture.shape[1]))


def player(waves, captions, rate):
    """Waves (B, N) that a page plays when they are asked for, each under its caption, inside its own text."""
    from IPython.display import Audio  # here, not above: the command line has no notebook

    cells = []
    for sound, caption in zip(waves, captions, strict=True):
        control = Audio(sound.cpu().numpy(), rate=rate, normalize=False)._repr_html_()
        style = "display:inline-block;margin:4px;text-align:center"
        cells.append(f'<figure style="{style}">{control}<figcaption>{html.escape(caption)}</figcaption></figure>')
    return Page("".join(cells))


def save_wav(waves, path, rate):
    """Write waves (B, N) in [-1, 1], one after the other, as a .wav file of 16 bits."""
    check(str(path).endswith(".wav"), f"{path}: a sound is a .wav file")
    samples = (waves.cpu().flatten().clamp(-1, 1) * 32_767).round().short().numpy().astype("<i2")
    with atomic_write(path) as draft, open(draft, "wb") as target, wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
