"""Spoken digits with captions that are true by construction: "a high fast seven" <-> digit, pitch and speed.

They are an integer tensor (..., 3); a word that is left out is UNSAID (-1)."""

import torch

from minidiff.data.captions import DIGITS, UNSAID, CaptionError, parse
from minidiff.data.sounds import HERTZ, PITCHES, SECONDS, SOUND_SIZES, SPEEDS, speak
from minidiff.data.spectrograms import to_spectrograms
from minidiff.tools.checks import check_rows, check_whole
from minidiff.tools.files import checksum
from minidiff.tools.runtime import budget, generator_for

VOICE_WORDS = (*PITCHES, *SPEEDS)


def sound_sentence(said):
    """Digit, pitch and speed -> their caption; what is UNSAID is left out.

    >>> sound_sentence([7, 2, 2])
    'a high fast seven'
    """
    digit, pitch, speed = check_rows("said", said, SOUND_SIZES).tolist()
    words = [names[place] for names, place in ((PITCHES, pitch), (SPEEDS, speed)) if place != UNSAID]
    return " ".join(["a", *words, "digit" if digit == UNSAID else DIGITS[digit]])


def split_voice(caption):
    """A caption -> the caption without the words of the voice, and places in PITCHES and SPEEDS, or UNSAID.

    >>> split_voice("a high fast red seven")
    ('a red seven', 2, 2)
    >>> split_voice("a seven")
    ('a seven', -1, -1)
    """
    if not isinstance(caption, str):
        raise CaptionError(f"a caption is a string, not {type(caption).__name__}: {caption!r:.60}")
    words = [word.strip(".,;:!?\"'") for word in caption.lower().split()]
    places = []
    for names in (PITCHES, SPEEDS):
        found = [names.index(word) for word in words if word in names]
        if len(found) > 1:
            raise CaptionError(f"{caption[:80]!r} says {' and '.join(names[i] for i in found)}: one of them, please")
        places.append(found[0] if found else UNSAID)
    return " ".join(word for word in words if word not in VOICE_WORDS), *places


def parse_sound(caption):
    """The inverse of `sound_sentence`; what cannot be heard, such as a color, is a CaptionError.

    >>> parse_sound("a slow two")
    (2, -1, 0)
    """
    picture, pitch, speed = split_voice(caption)
    digit, *seen = parse(picture)
    if seen != [UNSAID] * 3:
        raise CaptionError(f"{caption[:80]!r}: color, stroke and lean cannot be heard. A sound is of the form "
                           f"a [{'|'.join(PITCHES)}] [{'|'.join(SPEEDS)}] <digit>, for example 'a high fast seven'")
    return digit, pitch, speed


def voice_counts(said):
    """What is said of a voice (B, 3) as counts of its six words (B, 6).

    >>> voice_counts(torch.tensor([[7, 2, -1]])).tolist()        # a high seven
    [[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]
    """
    pitch, speed = said[:, 1:2], said[:, 2:3]
    return torch.cat([pitch == torch.arange(3, device=said.device), speed == torch.arange(3, device=said.device)],
                     1).float()


def every_sound():
    """Every caption of a sound, with and without each word, as numbers (176, 3)."""
    return torch.cartesian_prod(*(torch.arange(-1, size) for size in SOUND_SIZES))


def sound_index(said):
    """Where what is said (..., 3), UNSAID included, stands in `every_sound()` -> (...)."""
    digit, pitch, speed = (said + 1).unbind(-1)
    return (digit * 4 + pitch) * 4 + speed


def all_sounds():
    """All 90 full rows of digit, pitch and speed (90, 3)."""
    return torch.cartesian_prod(*(torch.arange(size) for size in SOUND_SIZES))


def is_held_out_sound(said):
    """Which combinations (..., 3) are never trained on: 9 of the 90, each pair of a pitch and a speed with one digit.

    >>> is_held_out_sound(torch.tensor([[7, 0, 1], [7, 2, 2]])).tolist()
    [True, False]
    """
    return (said * torch.tensor([1, 1, 3], device=said.device)).sum(-1) % 10 == 0


class SpokenDigits:
    """n spoken digits, no two alike, as spectrograms (N, 1, 32, 32), with what was said (N, 3); and random batches.

    seed: of the speakers.  The held-out combinations are left out, or are the only ones.
    """

    def __init__(self, n, seed=0, held_out=False, device="cpu"):
        check_whole("n", n)
        generator, every = generator_for(seed, 20), all_sounds()
        allowed = every[is_held_out_sound(every) == held_out]
        self.said = allowed[torch.randint(len(allowed), (n,), generator=generator)].to(device)
        self.waves = torch.cat([speak(part, generator) for part in self.said.cpu().split(200)]).to(device)
        self.pictures = to_spectrograms(self.waves)
        self.labels = self.said[:, 0]
        self.checksum = checksum(self.said, torch.tensor([seed, *HERTZ, *SECONDS]))[:16]   # sums of threads may differ

    def sample(self, size, generator):
        """A random batch -> spectrograms (B, 1, 32, 32), what was said (B, 3)."""
        rows = torch.randint(len(self.said), (size,), generator=generator, device=self.said.device)
        return self.pictures[rows], self.said[rows]


def load_spoken_digits(device="cpu", seed=0):
    """Spoken digits to learn from, and others by unseen speakers; synthesised anew, a thousandth of a second each."""
    return (SpokenDigits(budget(full=40_000, small=8_000, fast=300), seed, device=device),
            SpokenDigits(budget(full=2_000, small=900, fast=60), 1_000 + seed, device=device))
