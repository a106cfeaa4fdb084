"""A folder of pictures of one's own, with captions, with labels, or without either."""

import csv
import difflib
import io
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch.nn import functional as F

from minidiff.data.captions import CaptionError
from minidiff.data.digits import DataError
from minidiff.data.pictures import PictureError, open_square
from minidiff.tools.files import checksum

KINDS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
HEADS = ("file", "files", "file_name", "filename", "image", "name", "path", "picture")
MOST_WORDS, LENGTH = 1_000, 16                                   # known words, and words of a caption that are heard
SHEET = "own_pictures.png"                                       # what a training draws is no picture to learn from


@dataclass(frozen=True, eq=False)
class CaptionedPictures:
    """Pictures (N, 3, 32, 32) in [-1, 1], a caption of each, and the words that are told from each other."""

    pictures: torch.Tensor
    captions: tuple
    words: tuple

    @cached_property
    def ids(self):
        """Which word is where in each caption: (N, L), counted from 1, and 0 for none."""
        return word_ids(self.captions, self.words)

    @cached_property
    def checksum(self):
        """What tells these pictures from others, for the settings of a training."""
        return checksum(self.pictures, self.ids)[:16]


def load_folder(folder):
    """The pictures in a folder, its sub-folders included, each cut to a square of 32 x 32.

    Their captions are those of its captions.csv, two columns: file, caption.  Without such a file the name of the
    sub-folder is the caption; a picture that lies in no sub-folder has the empty one.
    """
    said = files_in(folder)
    if len({file for file, _ in said}) < 2:
        raise DataError(f"{folder} holds {len(said) or 'no'} pictures: at least two are needed, as {', '.join(KINDS)}")
    opened, bad = {}, []
    for file in dict.fromkeys(file for file, _ in said):
        try:
            opened[file] = open_square(file)
        except PictureError as error:
            bad.append(error)
    if bad:
        raise PictureError(f"{len(bad)} of {len(bad) + len(opened)} pictures in {folder} cannot be used. {bad[0]}")
    captions = tuple(caption for _, caption in said)
    counts = Counter(word for caption in captions for word in words_in(caption))
    words = tuple(sorted(word for word, _ in counts.most_common(MOST_WORDS)))
    return CaptionedPictures(torch.cat([opened[file] for file, _ in said]), captions, words)


def files_in(folder):
    """(file, caption) of each picture in a folder, by its captions.csv or by the names of its sub-folders."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder: expected one of pictures (an archive has to be unpacked)")
    table = folder / "captions.csv"
    return _from_table(table) if table.exists() else _from_names(folder)


def words_in(caption):
    """The words of a caption or of a file's name, in lower case and without punctuation.

    >>> words_in("A red_seven, leaning!")
    ['a', 'red', 'seven', 'leaning']
    """
    return re.findall(r"[^\W_]+", caption.lower())


def word_ids(captions, words, least=1, strict=False):
    """Captions -> (N, L): the number of each of their words, counted from 1, then 0; L is at least `least`.  Words that
    are not known are left out; where `strict`, the first of them is a CaptionError."""
    number = {word: i + 1 for i, word in enumerate(words)}
    rows = [words_in(caption) for caption in captions]
    for word in (word for row in rows for word in row if strict and word not in number):
        near = difflib.get_close_matches(word, words, 3) or words[:20]
        raise CaptionError(f"unknown word {word[:40]!r}: no caption of the pictures has it. Nearest known: "
                           f"{', '.join(near) or 'none, these pictures have no captions'}")
    known = [[number[word] for word in row if word in number][:LENGTH] for row in rows]
    longest = max([least, *map(len, known)])
    return torch.tensor([row + [0] * (longest - len(row)) for row in known])


def states_of(ids, count):
    """Numbers of words (B, L) -> conditions (B, L, V): for each word a row with a single one, for none a row of zeros.

    >>> states_of(torch.tensor([[2, 0]]), 3).tolist()
    [[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]
    """
    return F.one_hot(ids, count + 1)[..., 1:].float()


def _from_names(folder):
    """(file, caption) of each picture in a folder, by the names of the sub-folders."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in KINDS and file.name != SHEET)
    inside = [(file, file.relative_to(folder).parent.parts) for file in files]
    return [(file, " ".join(parts)) for file, parts in inside
            if not file.name.startswith(".") and "__MACOSX" not in parts]


def _from_table(table):
    """(file, caption) of each row of a captions.csv, as spreadsheets write it: commas, semicolons or tabs."""
    content = table.read_bytes()
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    between = re.findall(r"[,;\t]", text.split("\n")[0])[:1] or [","]
    said = []
    for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=between[0]), 1):
        if not "".join(row).strip() or number == 1 and row[0].strip().lower() in HEADS:
            continue
        file = table.parent / row[0].strip().replace("\\", "/")
        if len(row) < 2 or not file.is_file():
            why = "names no file of that folder" if len(row) > 1 else "has no caption"
            raise DataError(f"{table}, line {number}: {between[0].join(row)[:80]!r} {why}; expected file,caption")
        said.append((file, between[0].join(row[1:]).strip()))
    return said
