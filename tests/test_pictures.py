"""A person's own pictures and own data: whatever file a digit is in, it is read as the digit itself is; what cannot be
used is refused in one line; and everything that is trained on is looked at once, at the door."""

import io
import math
import re
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, ImageOps

from minidiff import data, evaluation, models
from minidiff.__main__ import main
from minidiff.data import (
    COLORS,
    CaptionError,
    DataError,
    LabeledDigits,
    PictureError,
    load_folder,
    moments,
    open_picture,
    open_square,
    tint,
)
from minidiff.data.folders import states_of, word_ids
from minidiff.evaluation import ink_of, read, read_color, read_stroke, read_zero_shot
from minidiff.models import Autoencoder, Classifier, ClassifierConfig, Clip, DiT, DiTConfig, UNetConfig
from minidiff.pipelines import (
    autoencoder,
    classifier,
    clip,
    denoiser,
    language,
    own_pictures,
    text2image,  # noqa: F401 (some names stand in DOORS only)
    toy,
)
from minidiff.pipelines import digits as digit_pictures  # noqa: F401
from minidiff.tools import generator_for
from minidiff.training import run, train
from minidiff.training.checkpoint import read_about

BLACK, WHITE, RED, BLUE = (15, 15, 20), (250, 250, 245), (200, 20, 30), (20, 40, 190)


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    """A folder with a small digit classifier that was trained on digits of all colors for a few seconds: it reads 96 %
    of those that it has not seen."""
    colors = torch.randint(7, (4_500,), generator=generator_for(0))
    pictures = tint(((digits.train[:, 0] + 1) * 127.5).round().byte(), colors)
    path = tmp_path_factory.mktemp("reader") / "classifier.safetensors"
    known, small = LabeledDigits(pictures, digits.train_labels), ClassifierConfig((16, 32, 32))
    run(classifier.recipe(known, config=small, steps=120, batch=64, lr=8e-3), path)
    return path.parent


@pytest.fixture(scope="module")
def reader(folder):
    return classifier.load(folder / "classifier.safetensors")


# ------------------------------------------------------------------------------------------------ twelve kinds of files


def large(digit, side=168, left=30, top=50, right=60, bottom=20):
    """A digit (1, 32, 32) in [-1, 1] as a gray image, light on black, enlarged and not in the middle."""
    ink = Image.fromarray(((digit[0, 2:-2, 2:-2] + 1) * 127.5).round().byte().numpy())
    return ImageOps.expand(ink.resize((side, side), Image.Resampling.BICUBIC), (left, top, right, bottom))


def painted(ink, color, ground):
    """Gray ink as a color on a ground of another."""
    return Image.composite(Image.new("RGB", ink.size, color), Image.new("RGB", ink.size, ground), ink)


def on_nothing(ink, color):
    """Ink on a transparent ground."""
    image = Image.new("RGBA", ink.size, color)
    image.putalpha(ink)
    return image


def photographed(digit):
    """Dark ink on paper under uneven light, out of focus and with noise."""
    ink = np.asarray(large(digit, 250, 120, 90, 60, 180).filter(ImageFilter.GaussianBlur(2)))[..., None] / 255
    y, x = np.mgrid[0 : 1 : ink.shape[0] * 1j, 0 : 1 : ink.shape[1] * 1j][..., None]
    light = (0.95 - 0.35 * x - 0.2 * y) * (1 - 0.85 * ink) * np.array([1, 0.97, 0.9])
    light += np.random.default_rng(0).normal(0, 0.02, light.shape)
    return Image.fromarray((light.clip(0, 1) * 255).astype(np.uint8))


def turned(digit, file):
    """A picture that lies on its side, with an EXIF tag that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right to look at it
    ImageOps.invert(large(digit)).rotate(90, expand=True).convert("RGB").save(file, "JPEG", exif=exif)


def sixteen(digit, file):
    """Sixteen bits of gray, dark on bright."""
    Image.fromarray((255 - np.asarray(large(digit))).astype(np.uint16) * 257).save(file, "PNG")


def framed(digit, file):
    """Paper in a dark frame, as a scanner leaves it."""
    ImageOps.expand(ImageOps.invert(large(digit)), 6, 20).save(file, "PNG")


KINDS = {  # name -> a function that writes a digit to a file, and the color that it shows
    "as MNIST has it": (lambda d, f: large(d, 28, 0, 0, 0, 0).save(f, "PNG"), "white"),
    "negative of it": (lambda d, f: ImageOps.invert(large(d, 28, 0, 0, 0, 0)).save(f, "PNG"), "white"),
    "RGB, black on white": (lambda d, f: painted(large(d), BLACK, WHITE).save(f, "PNG"), "white"),
    "RGB, red on white, JPEG": (lambda d, f: painted(large(d), RED, WHITE).save(f, "JPEG", quality=60), "red"),
    "RGB, light on dark": (lambda d, f: painted(large(d), WHITE, (40, 70, 50)).save(f, "JPEG"), "white"),
    "RGBA, black on nothing": (lambda d, f: on_nothing(large(d), BLACK).save(f, "PNG"), "white"),
    "gray and opacity, white on nothing": (
        lambda d, f: on_nothing(large(d), WHITE).convert("LA").save(f, "PNG"),
        "white",
    ),
    "palette": (lambda d, f: painted(large(d), BLUE, WHITE).quantize(16).save(f, "PNG"), "blue"),
    "palette with a clear color": (lambda d, f: on_nothing(large(d), BLUE).quantize(16).save(f, "PNG"), "blue"),
    "one bit": (lambda d, f: ImageOps.invert(large(d)).convert("1", dither=0).save(f, "PNG"), "white"),
    "16 bit": (sixteen, "white"),
    "turned by EXIF": (turned, "white"),
    "photographed": (lambda d, f: photographed(d).save(f, "JPEG", quality=80), "white"),
    "CMYK, JPEG": (lambda d, f: painted(large(d), BLACK, WHITE).convert("CMYK").save(f, "JPEG"), "white"),
    "wide, 3,000 pixels": (lambda d, f: ImageOps.invert(large(d, 500, 1_900, 100, 600, 300)).save(f, "PNG"), "white"),
    "smaller than MNIST": (lambda d, f: ImageOps.invert(large(d, 20, 2, 1, 4, 6)).save(f, "PNG"), "white"),
    "in a dark frame": (framed, "white"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_digit_is_read_from_any_file_as_from_its_original(kind, digits, reader, tmp_path):
    write, color = KINDS[kind]
    some = slice(0, 500, 12)  # 42 of them, sorted by digit
    pictures, labels = digits.val[some], digits.val_labels[some]
    opened = []
    for i, digit in enumerate(pictures):
        write(digit, tmp_path / f"{i}.picture")  # the contents say what it is, not the name
        picture, did = open_picture(tmp_path / f"{i}.picture")
        assert "\n" not in did and re.match(r"\d+ x \d+ pixels", did)
        opened.append(picture)
    opened = torch.cat(opened)
    assert opened.shape == (42, 3, 32, 32) and opened.dtype == torch.float32 and -1 <= opened.min() < opened.max() <= 1
    right, found = (reader(pictures).argmax(1) == labels).sum(), read(reader, opened)
    assert (found[:, 0] == labels).sum() >= right - 1 and right >= 40
    assert {COLORS[i] for i in found[:, 1]} == {color}


@pytest.mark.parametrize("kind", ["RGB, black on white", "RGBA, black on nothing", "16 bit", "turned by EXIF"])
def test_what_comes_out_is_placed_as_mnist_places_it(kind, digits, tmp_path):
    """The longer side of the ink is 20 pixels, its center of mass in the middle, its ground black."""
    for digit in digits.val[::50]:
        KINDS[kind][0](digit, tmp_path / "a.png")
        ink = ink_of(open_picture(tmp_path / "a.png")[0])
        _, center, _ = moments(ink)
        assert all(abs(c.item() - 16) <= 0.51 for c in center)
        rows, columns = (ink[0] > 0.05).nonzero().unbind(1)
        assert 19 <= max(rows.max() - rows.min(), columns.max() - columns.min()) + 1 <= 21
        assert ink.max() == 1 and (ink == 0).float().mean() > 0.5
        assert (ink[0] - (digit[0] + 1) / 2).abs().mean() < 0.06  # and it is the same digit


def test_a_picture_that_has_the_form_already_is_left_bit_for_bit(digits, captioned, tmp_path):
    KINDS["as MNIST has it"][0](digits.val[321], tmp_path / "gray.png")
    picture, did = open_picture(tmp_path / "gray.png")
    assert torch.equal(picture, digits.val[321].expand(1, 3, -1, -1)) and "left as it is" in did
    for i, row in enumerate(torch.tensor([[7, 0, 2, 0], [1, 3, 0, 2], [0, 5, 1, 1]])):  # all that was ever trained on
        rendered = captioned.render(captioned.start[row[:1]] + i, row[None])
        saved = ((rendered[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(saved).save(tmp_path / "color.png")
        kept, did = open_picture(tmp_path / "color.png")
        assert (kept - rendered).abs().max() <= 1 / 127.5 and "left as it is" in did


@pytest.mark.parametrize(
    "name, color",
    [
        ("red", RED),
        ("red", (110, 0, 0)),
        ("green", (20, 120, 40)),
        ("blue", BLUE),
        ("yellow", (230, 210, 20)),
        ("cyan", (0, 180, 190)),
        ("white", BLACK),
        ("magenta", (200, 0, 160)),
        ("white", (120, 120, 120)),
        ("white", (30, 30, 40)),
    ],
)
@pytest.mark.parametrize("ground", [WHITE, (235, 228, 210)])
def test_ink_keeps_its_color_and_black_and_gray_become_white(digits, name, color, ground):
    picture, did = open_picture(painted(large(digits.val[380]), color, ground))
    assert COLORS[read_color(picture)[0]] == name
    assert ("kept its color" in did) == (name != "white") and "bright ground became black" in did
    assert picture.amax() == 1  # as bright as the palette is


def test_thin_strokes_are_made_as_wide_as_the_thin_ones_of_the_training(digits, reader):
    """A pen of 3 pixels in a drawing of 600 would be a tenth of a pixel wide."""
    drawing = Image.new("L", (600, 800), 250)
    pen = np.asarray(drawing).copy()
    pen[100:103, 150:450] = 10  # a seven: a bar, and a way down
    for step in range(600):
        left = 448 - step // 3
        pen[100 + step, left : left + 3] = 10
    picture, did = open_picture(Image.fromarray(pen))
    assert re.search(r"strokes of 0.\d pixels made 1.5 wide", did)
    assert read(reader, picture)[0, 0] == 7 and read_stroke(picture) == 0 and picture.mean() > -0.95


def test_dust_and_the_edge_of_a_scan_are_left_out(digits):
    clean = open_picture(ImageOps.invert(large(digits.val[380])))[0]
    dirty = np.asarray(ImageOps.invert(large(digits.val[380]))).copy()
    dirty[5:8, 5:8] = dirty[200:203, 240:242] = 0
    dirty[:, :4] = 30
    assert (open_picture(Image.fromarray(dirty))[0] - clean).abs().mean() < 0.005


def test_several_digits_in_one_picture_are_pointed_out(digits):
    two = Image.new("L", (516, 238))
    two.paste(large(digits.val[380]), (0, 0))
    two.paste(large(digits.val[100]), (258, 0))
    assert "are these several digits?" in open_picture(two)[1]
    assert not any("several" in open_picture(large(digit))[1] for digit in digits.val[::50])


def test_the_door_takes_images_arrays_and_tensors_and_turns_a_bright_ground(digits, reader):
    seven = digits.val[380]
    paper = -seven.expand(1, 3, -1, -1)
    inked = ImageOps.invert(large(seven, 28, 2, 2, 2, 2))
    for source in (paper, paper[0], -seven, inked, np.asarray(inked)):
        picture, did = open_picture(source)
        assert (picture - seven).abs().mean() < 0.02 and "bright ground became black" in did
        assert read(reader, picture)[0, 0] == 7


# ---------------------------------------------------------------------------------------------------- what is refused


def png(width, height):
    """The beginning of a PNG that claims to be so large."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + head
        + struct.pack(">I", zlib.crc32(head))
        + b"\0\0\0\x09IDAT"
        + b"\0" * 50
    )


def file_of(image, **settings):
    file = io.BytesIO()
    image.save(file, **{"format": "PNG"} | settings)
    return file.getvalue()


BAD = {
    "text.png": (b"no picture at all", "not a picture.*expected a PNG or JPEG"),
    "empty.png": (b"", "not a picture"),
    "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC.* exported"),
    "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "cut.png": (lambda digit: file_of(large(digit))[:600], "cannot be read.*whole PNG or JPEG"),
    "cut.jpg": (lambda digit: file_of(large(digit), format="JPEG")[:900], "cannot be read.*whole PNG or JPEG"),
    "white.png": (lambda digit: file_of(Image.new("RGB", (90, 60), "white")), "empty: no ink"),
    "black.png": (lambda digit: file_of(Image.new("L", (28, 28))), "empty: no ink"),
    "clear.png": (lambda digit: file_of(Image.new("RGBA", (50, 50))), "empty: no ink"),
    "noise.png": (lambda digit: file_of(Image.effect_noise((200, 150), 20)), "empty: no ink"),
    "film.gif": (
        lambda digit: file_of(large(digit), format="GIF", save_all=True, append_images=[ImageOps.mirror(large(digit))]),
        "an animation or has pages, 2 of them",
    ),
    "film.png": (
        lambda digit: file_of(large(digit), save_all=True, append_images=[ImageOps.flip(large(digit))]),
        "an animation or has pages, 2",
    ),
    "huge.png": (png(12_000, 9_000), "far too large: 12000 x 9000 pixels, at most 80,000,000"),
    "bomb.png": (png(60_000, 60_000), "far too large"),
    "dot.png": (lambda digit: file_of(Image.new("L", (5, 3), 9)), "far too small: 5 x 3 pixels, at least 8"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_is_refused_in_one_line_that_names_it(name, digits, tmp_path):
    content, says = BAD[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content(digits.val[380]))
    with pytest.raises(PictureError, match=says) as refused:
        open_picture(tmp_path / name)
    assert name in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "source, says",
    [
        ("nowhere.png", "nowhere.png is missing"),
        (".", "is a folder"),
        ("a\0b.png", "cannot be read"),
        (None, "got None"),
        (7, "got an int"),
        (["seven.png"], "got a list of 1"),
        (torch.zeros(4, 32, 32), "1 or 3, H, W"),
        (np.zeros((28, 28, 5), np.uint8), "cannot be read"),
        (torch.zeros(2, 3, 32, 32), "1 or 3, H, W"),
        (torch.full((3, 32, 32), math.nan), "NaN"),
    ],
)
def test_what_is_no_picture_is_refused(source, says):
    with pytest.raises(ValueError, match=says) as refused:
        open_picture(source)
    assert "\n" not in str(refused.value)


def test_the_command_reads_what_it_can_and_names_the_rest(folder, digits, tmp_path, capsys):
    painted(large(digits.val[380]), RED, WHITE).save(tmp_path / "seven.jpg")
    (tmp_path / "broken.png").write_bytes(b"x")
    files = [str(tmp_path / name) for name in ("seven.jpg", "broken.png", "none.png")]
    assert main(["read", *files, "--folder", str(folder), "--device", "cpu"]) == 1
    told = capsys.readouterr()
    says = r"\S+seven.jpg: a \w+ red seven [a-z ]+\(the digit \d\d% sure\)\n    258 x 238 pixels: .*\n"
    assert re.fullmatch(says, told.out)
    lines = told.err.strip().split("\n")
    assert len(lines) == 3 and "broken.png is not" in lines[0] and "2 of 3 could not be read" in lines[2]
    assert main(["read", files[0], "--folder", str(folder), "--device", "cpu"]) == 0
    assert main(["read", files[0], "--folder", str(tmp_path / "untrained")]) == 1
    assert "classifier.safetensors is missing" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- a bright ground, at every reader


PARTS = [part.eval() for part in (Clip(), Autoencoder(), Classifier())]
READERS = {
    "classifier": lambda x: PARTS[2](x),
    "features": lambda x: PARTS[2].features(x),
    "ink": ink_of,
    "color": read_color,
    "stroke": read_stroke,
    "read": lambda x: read(PARTS[2], x),
    "zero-shot": lambda x: read_zero_shot(PARTS[0], x),
    "clip": lambda x: PARTS[0].embed_pictures(x),
    "encoder": lambda x: PARTS[1].encode(x),
}


@pytest.mark.parametrize("name", READERS)
def test_a_bright_ground_is_named_wherever_a_picture_is_read(name, digits):
    look, dark = READERS[name], digits.val[::100].expand(-1, 3, -1, -1)
    for bright in (-dark, -dark[:1] * 0.8, torch.where(dark > 0, -1.0, 0.6)):  # paper, gray paper, cut out
        with pytest.raises(ValueError, match="bright ground.*`data.open_picture` turns it"):
            look(bright)
    with pytest.raises(ValueError, match=r"gray ground.*pictures in \[0, 1\]\? Multiply by 2 and subtract 1"):
        look((dark + 1) / 2)
    generator = generator_for(0)
    for fine in (
        dark,
        torch.randn(5, 3, 32, 32, generator=generator),
        torch.cat([dark, -dark[:1]]),  # most are dark
        torch.rand(5, 3, 32, 32, generator=generator) * 2 - 1,
        torch.ones(2, 3, 32, 32),
    ):  # and a full one
        look(fine)


# --------------------------------------------------------------------------------------------- a folder of own pictures


SIGNS = {"circle": lambda x, y: x**2 + y**2 < 90, "square": lambda x, y: (abs(x) < 8) & (abs(y) < 8)}


def signs(count=12):
    """Small pictures of two signs in three colors on white, as captions -> images, one after the other."""
    y, x = np.mgrid[-16:16, -16:16]
    for i in range(count):
        name, color = list(SIGNS)[i % 2], [(200, 30, 30), (30, 160, 30), (30, 50, 220)][i // 2 % 3]
        inside = SIGNS[name](x - i % 5, y + i % 3)[..., None]
        yield (
            f"A {['red', 'green', 'blue'][i // 2 % 3]} {name}!",
            Image.fromarray(np.where(inside, color, 255).astype(np.uint8)),
        )


@pytest.fixture
def pictures(tmp_path):
    """A folder with twelve small pictures and their captions, as a European spreadsheet writes them."""
    (tmp_path / "mine").mkdir()
    rows = ["file;caption"]
    for i, (caption, image) in enumerate(signs()):
        image.save(tmp_path / "mine" / f"{i}.png")
        rows.append(f"{i}.png;{caption}")
    (tmp_path / "mine" / "captions.csv").write_text("\r\n".join(rows), encoding="utf-8-sig")
    return tmp_path / "mine"


def test_captions_come_from_the_table(pictures):
    own = load_folder(pictures)
    assert own.pictures.shape == (12, 3, 32, 32) and own.words == ("a", "blue", "circle", "green", "red", "square")
    assert own.captions[:3] == ("A red circle!", "A red square!", "A green circle!")
    assert own.ids[:3].tolist() == [[1, 5, 3], [1, 5, 6], [1, 4, 3]]
    assert own.pictures[0, :, 0, 0].tolist() == [1, 1, 1]  # white paper stays white: they are no digits
    assert torch.allclose(own.pictures[0, :, 16, 16], torch.tensor([200, 30, 30]) / 127.5 - 1)


@pytest.mark.parametrize(
    "table",
    [
        'file,caption\n0.png,A red circle!\n1.png,"a, b"\n\n',
        "0.png\tA red circle!\n1.png\ta, b\n",
        "File;Caption\r\n0.png;A red circle!\r\n1.png;a, b\r\n",
        "0.png,A red circle!\n1.png,a, b\n",
        "1.png;a, b\n0.png;A red circle!\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_of_captions_is_read_as_any_spreadsheet_writes_it(pictures, table, encoding):
    (pictures / "captions.csv").write_bytes(table.encode(encoding))
    assert sorted(load_folder(pictures).captions) == ["A red circle!", "a, b"]


def test_labels_come_from_the_names_of_the_sub_folders(tmp_path):
    for i, (caption, image) in enumerate(signs()):
        place = tmp_path / caption[2:-1].replace(" ", "_")
        place.mkdir(exist_ok=True)
        image.save(place / f"{i}.{'jpg' if i % 2 else 'PNG'}")
    (tmp_path / "red_circle" / "notes.txt").write_text("no picture", encoding="utf-8")
    (tmp_path / "red_circle" / "._0.png").write_bytes(b"of a Mac")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "0.png").write_bytes(b"of a Mac")
    next(signs())[1].save(tmp_path / "alone.png")
    own = load_folder(tmp_path)
    assert len(own.pictures) == 13 and own.words == ("blue", "circle", "green", "red", "square")
    assert own.captions[0] == "" and own.ids[0].tolist() == [0, 0] and own.captions[1] == "blue_circle"


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda f: f / "nowhere", "is no folder"),
        (lambda f: f / "0.png", "is no folder"),
        (
            lambda f: (f / "captions.csv").write_text("file,caption\n0.png,a\n99.png,b", encoding="utf-8"),
            "line 3: '99.png,b' names no file of that folder; expected file,caption",
        ),
        (
            lambda f: (f / "captions.csv").write_text("file,caption\n0.png\n", encoding="utf-8"),
            "line 2: '0.png' has no caption",
        ),
        (
            lambda f: (f / "captions.csv").write_text("file,caption\n0.png,a", encoding="utf-8"),
            "holds 1 pictures: at least two",
        ),
        (lambda f: (f / "captions.csv").write_text("", encoding="utf-8"), "holds no pictures: at least two are needed"),
        (lambda f: (f / "3.png").write_bytes(b"x"), "1 of 12 pictures in .* cannot be used.*3.png is not a picture"),
        (lambda f: Image.new("L", (3, 3)).save(f / "4.png"), "4.png is far too small"),
    ],
)
def test_a_folder_that_cannot_be_learned_from_is_refused_in_one_line(pictures, capsys, make, says):
    made = make(pictures)
    where = made if isinstance(made, type(pictures)) else pictures
    with pytest.raises(DataError, match=says) as refused:
        load_folder(where)
    assert "\n" not in str(refused.value)
    assert main(["train", "--pictures", str(where), "--folder", str(pictures / "runs")]) == 1
    assert re.search(f"minidiff: .*{says}", capsys.readouterr().err) and not (pictures / "runs").exists()


@pytest.mark.parametrize(
    "size, box", [((64, 32), (16, 0, 48, 32)), ((32, 96), (0, 32, 32, 64)), ((32, 32), (0, 0, 32, 32))]
)
def test_a_square_is_the_middle_of_a_picture_bit_for_bit(size, box):
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
    cut = torch.tensor(np.asarray(Image.fromarray(pixels).crop(box))).permute(2, 0, 1)[None] / 127.5 - 1
    assert torch.allclose(open_square(Image.fromarray(pixels)), cut, atol=1e-6)


def test_words_are_told_one_by_one_and_those_unknown_are_named(pictures):
    own = load_folder(pictures)
    assert word_ids(["RED, square", ""], own.words).tolist() == [[5, 6], [0, 0]]
    assert torch.equal(states_of(torch.tensor([[2, 1, 0]]), 2), torch.tensor([[[0.0, 1], [1, 0], [0, 0]]]))
    with pytest.raises(CaptionError, match="unknown word 'sqare'.*Nearest known: square"):
        word_ids(["a red sqare"], own.words, strict=True)
    with pytest.raises(CaptionError, match="these pictures have no captions"):
        word_ids(["cat"], (), strict=True)


def test_the_command_trains_on_a_folder_draws_and_goes_on_where_it_was_killed(pictures, tmp_path, capsys):
    path = tmp_path / "runs" / "own_pictures.safetensors"
    command = ["train", "--pictures", str(pictures), "--folder", str(path.parent), "--device", "cpu"]
    for state in train(own_pictures.recipe(load_folder(pictures)), path):
        if state.step == 11:  # killed here
            break
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "12 pictures" in told and "learned by heart" in told and "6 words in their captions: a, blue, circle" in told
    assert 'draw --pictures "A red circle!"' in told and "words and not their order" in told
    assert Image.open(path.with_name("own_pictures.png")).width > 100
    kept = read_about(path)
    assert kept["settings"]["objective"]["words"] == list(load_folder(pictures).words) and kept["step"] == 30
    undisturbed, found = run(own_pictures.recipe(load_folder(pictures))).state_dict(), own_pictures.load(path).unet
    assert all(torch.equal(undisturbed[name], tensor) for name, tensor in found.state_dict().items())

    draw = ["draw", "--pictures", "--n", "2", "--folder", str(path.parent)]
    assert main([*draw, "blue square", "circle"]) == 0 and path.with_name("drawing.png").exists()
    assert main([*draw, "a purple square"]) == 1 and "unknown word 'purple'" in capsys.readouterr().err
    next(signs())[1].rotate(90).save(pictures / "1.png")  # another picture: another training
    assert main(command) == 1 and "other settings (objective" in capsys.readouterr().err


def test_pictures_without_captions_are_learned_too(pictures, tmp_path, capsys):
    (pictures / "captions.csv").unlink()
    assert main(["train", "--pictures", str(pictures), "--folder", str(pictures), "--device", "cpu"]) == 0
    machine = own_pictures.load(pictures / "own_pictures.safetensors")
    assert machine.words == () and machine.unet.config.cond_width is None and "no captions" in capsys.readouterr().out
    assert len(load_folder(pictures).pictures) == 12  # what it drew into that folder is not learned from
    drawn = own_pictures.draw(["", ""], [3, 5], machine, steps=2)
    assert drawn.shape == (2, 3, 32, 32) and not torch.equal(drawn[0], drawn[1])
    assert torch.allclose(own_pictures.draw([""], [5], machine, steps=2)[0], drawn[1], atol=1e-3)
    with pytest.raises(CaptionError, match="no captions"):
        own_pictures.draw(["a cat"], [0], machine)


def test_a_copy_is_counted_as_one(pictures):
    mine = load_folder(pictures).pictures
    drawn = torch.cat([mine[:3] + 0.001, torch.zeros(2, 3, 32, 32)])
    assert own_pictures.copies(drawn, torch.cat([mine, mine[:1]])) == 3


def test_the_machine_of_own_pictures_hears_the_words(pictures):
    """After a few seconds of training it draws the color that was asked for, by a whole caption or a single word."""
    own = load_folder(pictures)
    model = run(own_pictures.recipe(own, steps=80, batch=16))
    asked = ["a red circle", "a blue square", "red", "blue"] * 2
    machine = own_pictures.OwnMachine(model, own.words, own.ids.shape[1])
    colors = own_pictures.draw(asked, range(8), machine, steps=8)[:, :, 10:22, 10:22].mean((2, 3))  # (8, 3)
    for caption, (red, _, blue) in zip(asked, colors.tolist(), strict=True):
        assert (red > blue) == ("red" in caption), (caption, colors)


# ---------------------------------------------------------------- whatever is trained on is looked at once, at the door


PLAIN = UNetConfig(1, (16,), patch=2, attention=(False,), cond_width=None)             # a small UNet without captions
LATENTS, WORDS, NULL = torch.randn(20, 4, 4, 4), torch.randn(20, 10, 64), torch.zeros(1, 10, 64)
ONE, TEXTS, THIRDS = torch.zeros(1, 3, 32, 32), torch.ones(3, 10).long(), torch.ones(3) / 3
CLASSIFIER, CLIP, AUTOENCODER = PARTS[2], PARTS[0], PARTS[1]
DOORS = r"""
unet: pixels(255 * torch.rand(8, 1, 32, 32)) -> values of size 1\d\d, up to 25\d.*bytes in 0..255\? Divide by 127.5
unet: pixels(torch.rand(8, 1, 32, 32)) -> pictures in \[0, 1\]\? Multiply by 2 and subtract 1
unet: pixels((P + 1) / 2) -> pictures in \[0, 1\]\?
unet: pixels(torch.where(P > 0, math.nan, P)) -> NaN or infinity in pictures or latents \(64, 1, 32, 32\)
unet: pixels(P / 0) -> NaN or infinity
unet: pixels(P[:0]) -> empty set.*nothing to train on
unet: pixels(P.expand(-1, 3, -1, -1)) -> \(N, 1, H, W\), got a tensor \(64, 3, 32, 32\)
unet: pixels(P[..., :31]) -> multiples of 2, got a tensor \(64, 1, 32, 31\)
unet: pixels([P]) -> must be a tensor \(N, C, H, W\), got a list of 1
unet: pixels(D) -> got a Digits
unet: latents(LATENTS[:, :3]) -> \(N, 4, H, W\), got a tensor \(20, 3, 4, 4\)
unet: latents(conds=WORDS) -> conds is a function of rows.*states\[rows\].*got a tensor \(20, 10, 64\)
unet: latents(null=None) -> null must be a tensor \(1, 10, 64\).*got None
unet: latents(null=NULL[:, :3]) -> null must be a tensor \(1, 10, 64\).*got a tensor \(1, 3, 64\)
unet: latents(conds=lambda rows, dice: WORDS[rows, :, :32]) -> must be a tensor \(2, L, 64\), got a tensor \(2, 10, 32\)
unet: latents(conds=lambda rows, dice: WORDS[:5][rows]) -> none for the last of 20
unet: latents(conds=lambda rows, dice: WORDS[rows] / 0) -> NaN or infinity in the conditions
unet: latents(net=DiT, config=DiTConfig(size=8)) -> sides of 8, got a tensor \(20, 4, 4, 4\)
unet: text2image.latents_of(P, AUTOENCODER, 7) -> expected a data set.*got a tensor
unet: text2image.latents_of(C, AUTOENCODER, 0) -> n must be a whole number of at least 1, got 0
toy: toy.recipe(255 * torch.rand(100, 2)) -> expected points of std 1.*up to 25\d
toy: toy.recipe(28 * torch.rand(100, 2) + 1) -> expected points of std 1.*by their std
toy: toy.recipe(torch.randint(0, 255, (100, 2))) -> must be floats \(N, 2\), got a tensor \(100, 2\) of int64
toy: toy.recipe(torch.full((100, 2), math.nan)) -> NaN or infinity in points
toy: toy.recipe(torch.zeros(0, 2)) -> empty set
toy: toy.recipe([[0.0, 1.0]]) -> points must be a tensor \(N, 2\), got a list of 1
toy: toy.recipe(named_mixture("ring")) -> got a Mixture
toy: cloud("ring", 0) -> n must be a whole number of at least 1, got 0
toy: Mixture([[0.0, 0.0]]) -> are tensors, got a list of 1 and None
digits: digit_pictures.recipe((P + 1) / 2, L) -> pictures in \[0, 1\]\? Multiply by 2
digits: digit_pictures.recipe((P + 1) * 127.5, L) -> got 0 to 255. Bytes in 0..255\?
digits: digit_pictures.recipe(((P + 1) / 2 - 0.1307) / 0.3081, L) -> lie in \[-1, 1\], got -0.42\d* to 2.8
digits: digit_pictures.recipe(-P, L) -> bright ground
digits: digit_pictures.recipe(P * math.nan, L) -> NaN
digits: digit_pictures.recipe(P[:0], L[:0]) -> empty set
digits: digit_pictures.recipe(P, L.tolist()) -> digits must be a tensor \(B\), got a list of 64
digits: digit_pictures.recipe(P, L.float()) -> digits: expected integers
digits: digit_pictures.recipe(P[..., :30, :30], L) -> multiples of 4, got a tensor \(64, 1, 30, 30\)
classifier: LabeledDigits(-P, L) -> bright ground
classifier: LabeledDigits(P * 4, L) -> lie in \[-1, 1\], got -4 to 4
classifier: LabeledDigits(P[:0], L[:0]) -> empty set
classifier: LabeledDigits(P, L.tolist()) -> 64 pictures take as many labels, a tensor \(64,\), got a list of 64
classifier: LabeledDigits(P.numpy(), L) -> got a ndarray; `data.open_picture` makes one
classifier: classifier.recipe(P) -> expected a data set, such as `CaptionedDigits`, got a tensor.*`LabeledDigits\(
classifier: classifier.recipe(D) -> got a Digits; `LabeledDigits\(pictures, labels\)`
classifier: classifier.recipe(None) -> expected a data set.*got None
classifier: classifier.recipe("data") -> expected a data set.*got a string
classifier: classifier.recipe(CaptionedDigits) -> got the class CaptionedDigits
classifier: classifier.recipe(LabeledDigits(P.expand(-1, 4, -1, -1), L)) -> \(B, 1 or 3, 32, 32\), got .*opacity
classifier: classifier.recipe(LabeledDigits(P[..., 6:26, 6:26], L)) -> \(B, 1 or 3, 32, 32\), got .*20, 20\)
classifier: classifier.recipe(LabeledDigits(P, L), network=ViT, config=ViTConfig()) -> \(B, 1, 28, 28\), got .*32, 32\)
clip: clip.recipe(P) -> expected a data set.*got a tensor
clip: clip.recipe((C, C)) -> got a tuple of 2; the first of what `load_captioned_digits\(\)` gives
clip: clip.recipe(LabeledDigits(P, L)) -> \(B, 3, 32, 32\), got a tensor \(16, 1, 32, 32\)
clip: clip.recipe(LabeledDigits(P.expand(-1, 3, -1, -1), L)) -> need 4 attributes each.*`CaptionedDigits` has them
clip: CaptionedDigits(S.float() / 255, L[:20]) -> ink bytes are uint8 in 0..255, got .*; `render_styles` makes
clip: CaptionedDigits(255 - S, L[:20]) -> bright ground
clip: CaptionedDigits(S[:0], L[:0]) -> empty set
clip: CaptionedDigits(S, L[:20].tolist()) -> a tensor \(20,\), got a list of 20
clip: CaptionedDigits(S, 7) -> labels must be a tensor \(N,\), got an int
autoencoder: autoencoder.recipe(P) -> expected a data set.*got a tensor
autoencoder: autoencoder.recipe(LabeledDigits(P, L)) -> \(B, 3, H, W\), got a tensor \(16, 1, 32, 32\)
language: language.recipe(TEXTS * 99, THIRDS) -> token ids from 0 to below 29
language: language.recipe(TEXTS.float(), THIRDS) -> token ids.*got a tensor \(3, 10\) of float32
language: language.recipe(TEXTS[:0], THIRDS[:0]) -> token ids.*got a tensor \(0, 10\)
language: language.recipe(["a red seven"], THIRDS[:1]) -> as `tokenize` gives them; got a list of 1
language: language.recipe(TEXTS, [1 / 3] * 3) -> shares must be a tensor \(N\), got a list of 3
language: language.recipe(TEXTS, torch.tensor([2, -0.5, -0.5])) -> at least 0, got \[2.0, -0.5, -0.5\]
own: own_pictures.recipe(P) -> expected what `data.load_folder` gives, got a tensor
readers: CLASSIFIER(torch.zeros(2, 4, 32, 32)) -> \(B, 1 or 3, 32, 32\), got .*; is one of them opacity\?
readers: read(CLASSIFIER, torch.zeros(2, 2, 32, 32)) -> opacity\? `data.open_picture` takes it out
readers: ink_of(torch.zeros(2, 4, 32, 32)) -> ink has 1 or 3 channels, got a tensor \(2, 4, 32, 32\)
readers: read(CLASSIFIER, [1, 2]) -> got a list of 2; `data.open_picture` makes one
readers: read(CLASSIFIER, "seven.png") -> got a string; `data.open_picture` makes one of a file
readers: read(CLASSIFIER, np.zeros((1, 3, 32, 32))) -> got a ndarray
readers: read(CLASSIFIER, ONE[0]) -> a single picture\? `picture\[None\]`
readers: read(CLASSIFIER, ONE.permute(0, 2, 3, 1)) -> channels last\?
readers: read("classifier.safetensors", ONE) -> takes a classifier and pictures, got a string
readers: AUTOENCODER.encode(-torch.ones(1, 3, 100, 100)) -> multiples of 8 to come back as large.*100, 100\)
readers: read_zero_shot(CLIP, P) -> \(B, 3, 32, 32\), got a tensor \(64, 1, 32, 32\)
measures: nearest(P[:2], P[:1]) -> count must be a whole number from 1 to 1, got 2
measures: nearest(P[:2], ONE) -> pictures of one size
measures: frechet_distance(torch.zeros(5, 3), torch.zeros(5, 4)) -> must be a tensor \(M, 3\), got a tensor \(5, 4\)
measures: frechet_distance([1, 2], torch.zeros(5, 3)) -> must be a tensor \(N, D\), got a list of 2
"""
CASES = [re.fullmatch(r"(\w+): (.+) -> (.+)", case).groups() for case in DOORS.strip().splitlines()]


def pixels(pictures):
    return denoiser.recipe(pictures, None, None, config=PLAIN)


def latents(x=LATENTS, conds=lambda rows, dice: WORDS[rows], null=NULL, **settings):
    return denoiser.recipe(x, conds, null, **settings)


@pytest.mark.parametrize("room, mistake, says", CASES, ids=[mistake[:70] for _, mistake, _ in CASES])
def test_what_cannot_be_learned_from_or_read_is_refused_before_the_first_step(digits, captioned, room, mistake, says):
    names = {"P": digits.train[:64], "L": digits.train_labels[:64], "D": digits}
    names |= {"C": captioned, "S": captioned.ink[:20]}
    with pytest.raises(ValueError, match=says) as refused:
        eval(mistake, vars(data) | vars(models) | vars(evaluation) | globals() | names)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_what_is_right_is_let_in(digits, captioned):
    """Gray and colored digits, standardized pictures, latents as they come, networks of other sizes, few texts."""
    gray = LabeledDigits(digits.train[:50], digits.train_labels[:50])
    assert read_color(digits.train[:3]).tolist() == [6, 6, 6]    # gray is white
    standardized = ((digits.train[:50] + 1) / 2 - 0.1307) / 0.3081
    for recipe in (classifier.recipe(gray, batch=3), pixels(digits.train[:50]), pixels(standardized), latents(),
                   latents(5 * LATENTS), latents(null=NULL[0]), latents(net=DiT, config=DiTConfig()),
                   pixels(-digits.train[:50]),                   # a denoiser may learn any picture, paper included
                   language.recipe(TEXTS[:, :7], THIRDS), toy.recipe(torch.rand(7, 2) + 3),
                   clip.recipe(captioned, batch=3), autoencoder.recipe(captioned, batch=3)):
        assert math.isfinite(next(train(recipe)).loss)
