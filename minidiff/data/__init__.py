"""What is learned from: digits, their captions, points on a plane, films and sounds."""

from minidiff.data.augment import jitter, shift
from minidiff.data.captioned_digits import CaptionedDigits, load_captioned_digits
from minidiff.data.captions import (
    COLORS,
    DIGITS,
    END,
    FORM,
    LEANS,
    LENGTH,
    PAD,
    SIZES,
    START,
    STROKES,
    TOKEN,
    UNSAID,
    VOCABULARY,
    WORDS,
    CaptionError,
    all_combinations,
    caption_index,
    detokenize,
    drop_words,
    every_caption,
    is_held_out,
    is_true_of,
    parse,
    sentence,
    tokenize,
)
from minidiff.data.clips import (
    FRAMES,
    HOPS,
    MARK,
    MOTION_NAMES,
    MOTION_WORDS,
    Clips,
    frames_of,
    has_watermark,
    hops,
    is_held_out_motion,
    motion_counts,
    moved,
    poses,
    sample_clips,
    split_motion,
    times,
    watermarked,
)
from minidiff.data.clouds import CLOUDS, Mixture, cloud, named_mixture
from minidiff.data.digits import DataError, Digits, LabeledDigits, load_digits, to_pictures
from minidiff.data.edits import edited, instruction, understand
from minidiff.data.folders import CaptionedPictures, files_in, load_folder
from minidiff.data.grammar import caption_shares, grammar, next_word_entropy, said_twice
from minidiff.data.ink import PictureError
from minidiff.data.pictures import open_picture, open_square
from minidiff.data.rendering import RGB, lean_of, moments, render_styles, stroke_width, tint
from minidiff.data.skeletons import open_sketch, thin
from minidiff.data.skewed import SkewedDigits
from minidiff.data.sounds import HERTZ, PHONES, PITCHES, RATE, SAMPLES, SECONDS, SPEEDS, resonance, speak
from minidiff.data.spectrograms import griffin_lim, istft, mel, mel_bank, spread_bands, stft, to_spectrograms, to_waves
from minidiff.data.spoken import (
    SpokenDigits,
    all_sounds,
    every_sound,
    is_held_out_sound,
    load_spoken_digits,
    parse_sound,
    sound_index,
    sound_sentence,
    split_voice,
    voice_counts,
)
from minidiff.data.wishes import LIKE, PALETTE, Mixed, Wish, combinations, outline, said_with, shrink
