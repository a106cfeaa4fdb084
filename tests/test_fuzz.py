"""A thousand inputs that nobody thought of, the same ones on every run: a law holds, or an error says why not."""

import contextlib
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minidiff import __main__ as machine
from minidiff.data import (
    END,
    LENGTH,
    PAD,
    SIZES,
    START,
    VOCABULARY,
    CaptionError,
    caption_index,
    detokenize,
    every_caption,
    parse,
    sentence,
    tokenize,
)
from minidiff.data.captions import clean
from minidiff.exercises import __main__ as exercises
from minidiff.exercises.differences import difference

settings.register_profile("same every time", derandomize=True, max_examples=150, deadline=None, database=None)
settings.load_profile("same every time")

WORD = st.sampled_from(VOCABULARY[3:])
MARKS = st.sampled_from(["", ",", ".", "!", " ", "\t", "\n", "'", '"', " ?! "])
NEARLY = st.lists(st.tuples(st.one_of(WORD, WORD.map(str.upper), WORD.map(str.title)), MARKS), max_size=11).map(
    lambda parts: " ".join(word + mark for word, mark in parts))  # known words, in any order and dress
ATTRIBUTES = st.tuples(*(st.integers(-1, size - 1) for size in SIZES))
OPTIONS = st.one_of(st.text(max_size=9), st.sampled_from([
    "train", "draw", "score", "--n", "--steps", "--guidance", "--seed", "--folder", "-o", "--budget", "--save-every",
    "--template", "--hints", "-h", "--", "-1", "0", "nan", "inf", "1e9", "fast", "a red seven", "--n=3", "--seed=x"]))


def spoken(caption):
    """The words of a caption, or None where it is refused; anything but a CaptionError is a failure."""
    try:
        return clean(caption)
    except CaptionError as error:
        assert 0 < len(str(error)) < 800
        return None


@given(st.one_of(st.text(max_size=200), NEARLY))
def test_any_text_is_tokenized_and_comes_back_or_is_refused(text):
    words = spoken(text)
    if words is None:
        with pytest.raises(CaptionError):
            tokenize([text])
        return
    row, = tokenize([text])
    assert row.shape == (LENGTH,) and row[0] == START and row.tolist().count(END) == 1
    end = row.tolist().index(END)
    assert (row[end + 1:] == PAD).all() and end == len(words) + 1
    assert detokenize(row[None]) == [" ".join(words)]
    assert torch.equal(tokenize(detokenize(row[None])), row[None])


@given(st.one_of(st.text(max_size=200), NEARLY))
def test_what_parses_is_what_sentence_says_and_nothing_else_does(text):
    try:
        attributes = parse(text)
    except CaptionError as error:
        assert 0 < len(str(error)) < 800
        words = spoken(text)
        assert words is None or " ".join(words) not in LANGUAGE
    else:
        assert sentence(attributes) == " ".join(clean(text))


LANGUAGE = {sentence(row) for row in every_caption()}


@given(ATTRIBUTES, MARKS)
def test_every_sentence_of_the_grammar_comes_back_whatever_its_dress(attributes, mark):
    said = sentence(attributes)
    assert parse(said) == parse(f"{mark}{said.upper()}{mark}") == attributes
    row = torch.tensor([attributes])
    assert every_caption()[caption_index(row)].tolist() == row.tolist()


@given(st.lists(st.integers(-3, 12), max_size=6))
def test_attributes_are_said_or_refused(attributes):
    fits = len(attributes) == 4 and all(-1 <= a < size for a, size in zip(attributes, SIZES))
    if fits:
        assert parse(sentence(attributes)) == tuple(attributes)
    else:
        with pytest.raises(ValueError, match="digit, color, stroke, lean|expected integers"):
            sentence(attributes)


@given(st.one_of(st.none(), st.integers(), st.floats(), st.binary(max_size=20), st.lists(st.text(max_size=9))))
def test_what_is_no_text_is_no_caption(thing):
    for refuse in (parse, clean, lambda thing: tokenize([thing])):
        with pytest.raises(CaptionError, match="a caption is a string"):
            refuse(thing)


@pytest.mark.parametrize("program", [machine, exercises], ids=["minidiff", "minidiff.exercises"])
@given(words=st.lists(OPTIONS, max_size=6))
def test_any_command_line_is_understood_or_ends_with_status_2(program, words):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            options = program.parser().parse_args(words)
    except SystemExit as stop:
        asked = any(word.startswith("-") and "h" in word for word in words)            # -h, --help, or a part of it
        assert stop.code == 2 or (stop.code == 0 and asked)
        assert "usage: python -m minidiff" in said.getvalue()
    else:
        assert program is exercises or options.command in ("train", "draw", "score")


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), st.text(max_size=5),
                   st.lists(st.floats(width=32), max_size=4).map(torch.tensor))


@given(*[st.recursive(LEAVES, lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(
    st.text(max_size=3), part, max_size=3)), max_leaves=6)] * 2)
def test_a_difference_is_always_told_and_nothing_differs_from_itself(one, other):
    assert difference(one, one) == "" and isinstance(difference(one, other), str)
