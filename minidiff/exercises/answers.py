"""A file of answers, in whatever form it is handed in: Python in any encoding, a notebook, or code between prose."""

import ast
import codecs
import io
import json
import re
import symtable
import tokenize
from dataclasses import dataclass
from pathlib import Path

from minidiff.exercises.checker import all_exercises
from minidiff.tools.files import FileError, one_line

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
         codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}           # UTF-32 begins as UTF-16 does
KINDS = {b"PK\3\4": "an archive or an office document", b"%PDF": "a PDF", b"{\\rtf": "a rich text document",
         b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"\xd0\xcf\x11\xe0": "an office document",
         b"<!doctype html": "a web page", b"<html": "a web page"}
ANSWER = re.compile(r"answer_\d+_\d+$")


class AnswersError(FileError):
    """A file holds nothing that could be graded; the message says what it holds instead."""


@dataclass
class Statement:
    """One statement of somebody's code: the row in which it begins, its lines, the names that it binds, those whose
    things it changes, and, where it hands in an answer by `check("1.2", f)`, what it says instead: `answer_1_2 = f`."""

    row: int
    lines: list
    binds: set
    changes: set
    said: str


def read_answers(file):
    """A file of answers -> Python (str), and where each of its lines stands: "line 3", or "code cell 2, line 1".

    A plain file is taken as it is.  Of a notebook, or where `check("1.2", my_add_noise)` is called, only the answers
    are taken and what they need: a chapter is not trained again.
    """
    text = text_of(Path(file))
    cells = cells_of(text)
    found, places = [], []
    for number, cell in enumerate(cells, 1):
        name = "" if cells == [text] else f"code cell {number}, "
        found += statements(cell if cells == [text] else without_magic(cell), len(places), name)
        places += [f"{name}line {i}" for i in range(1, cell.count("\n") + 2)]
    if cells == [text] and not any(statement.said for statement in found):
        return text, places
    rows = [""] * len(places)
    for statement in needed(found):
        lines = [statement.said] if statement.said else statement.lines
        rows[statement.row:statement.row + len(lines)] = lines
    return "\n".join(rows) + "\n", places


def text_of(path):
    """The text of a file, whatever its encoding and its ends of lines."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AnswersError(one_line(error)) from error
    kind = next((kind for start, kind in KINDS.items() if content.lstrip().lower().startswith(start.lower())), None)
    if kind:
        raise AnswersError(f"it is {kind}. Hand in Python as text, or the notebook (.ipynb) itself")
    name = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    if name is None and b"\0" in content:
        odd = content[1::2].count(0) > len(content) // 4
        name = "utf-16-le" if odd else "utf-16-be" if content[::2].count(0) > len(content) // 4 else "utf-8"
    try:
        name = name or tokenize.detect_encoding(io.BytesIO(content).readline)[0]
        text = content.decode(name)
    except (SyntaxError, UnicodeDecodeError):
        text = content.decode("cp1252", errors="replace")        # an editor of Windows, and letters beyond ASCII
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"\A((?:.*\n)?[ \t\f]*#.*?)coding([:=])", r"\1was\2", text)             # it is decoded now
    if "\0" in text:
        raise AnswersError("it is no text. Hand in Python as text, or the notebook (.ipynb) itself")
    if not text.strip():
        raise AnswersError("it is empty. `python -m minidiff.exercises --template -o mine.py` writes one to fill in")
    return text


def cells_of(text):
    """The pieces of code in a text: the code cells of a notebook, what stands between prose, or the text itself."""
    if text.lstrip().startswith("{") and re.search('"(cells|worksheets)"', text):
        try:
            book = json.loads(text)
            cells = book.get("cells") or [cell for sheet in book.get("worksheets", []) for cell in sheet["cells"]]
            code = [cell.get("source", cell.get("input", "")) for cell in cells if cell["cell_type"] == "code"]
            return ["".join(lines) for lines in code] or [""]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise AnswersError(f"it is a notebook, and damaged ({one_line(error)}). Save it again") from error
    if re.search(r"^# (?:%%|In\[)", text, re.MULTILINE):         # a notebook, exported as Python
        return re.split(r"^# (?:%%|In\[).*$", text, flags=re.MULTILINE)
    blocks = re.findall(r"^```(?:python|py)?[ \t]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return blocks if blocks and not is_python(text) else [text]  # Markdown, or an answer of a chat


def is_python(text):
    """Whether a text can be read as Python."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def without_magic(cell):
    """A code cell without what only IPython understands, as many lines as before."""
    first, _, rest = cell.lstrip().partition("\n")
    if first.startswith("%%"):
        timed = first[2:].split()[:1] in (["time"], ["timeit"], ["capture"], ["prun"])
        cell = "\n" * (cell.count("\n") - rest.count("\n")) + rest if timed else ""
    if not is_python(cell):
        cell = re.sub(r"^([ \t]*)(?:(?:\w+ *= *)?[%!?].*|[\w.]+\?+ *)$", r"\1pass", cell, flags=re.MULTILINE)
    return cell


def statements(cell, row=0, name=""):
    """The statements of a cell that begins in this row."""
    try:
        tree = ast.parse(cell)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if name and not re.search(r"\bcheck\(|\banswer_\d", cell):
            return                                               # a cell that holds no answer
        place, code = getattr(error, "lineno", None), getattr(error, "text", None) or ""
        raise AnswersError(f"{name}line {place or 1}: {type(error).__name__}: {getattr(error, 'msg', error)}: "
                           f"{code.strip()}") from error
    lines = cell.split("\n")
    for node in tree.body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        yield Statement(row + first - 1, lines[first - 1:node.end_lineno], *bound_by(node), said_by(node))


def said_by(node):
    """`answer_1_2 = f` for a statement that calls `check("1.2", f)`, else an empty text."""
    for call in ast.walk(node) if isinstance(node, (ast.Expr, ast.Assign)) else ():
        if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "check":
            id, answer, *_ = [*call.args, *(word.value for word in call.keywords), None, None]
            exercise = all_exercises().get(str(getattr(id, "value", None)))
            if exercise and answer:
                return f"{exercise.slot} = {ast.unparse(answer)}"
    return ""


def needed(found):
    """Of all statements those that hand in an answer and those that made what these need, as it was there; in order."""
    kept = {i for i, one in enumerate(found) if one.said or "*" in one.binds or any(map(ANSWER.match, one.binds))}
    new = list(kept)
    while new:
        user = new.pop()
        for name in used_by(found[user].said or "\n".join(found[user].lines)):
            more = set(makers_of(name, user, found)) - kept
            kept |= more
            new += more
    return [found[i] for i in sorted(kept)]


def makers_of(name, user, found):
    """The statements that made a name what it was for the statement `user`: the last one that bound it, whatever may
    have bound it instead (`if`, `for`), and what changed it afterwards."""
    makers = [i for i, one in enumerate(found) if name in one.binds and i != user]
    before = [i for i in makers if i < user]
    sure = [i for i in before if not re.match(r"(if|for|while|with|try)\b", found[i].lines[0])]
    first = max(sure, default=0)
    if not before:                                               # used in a function, bound before it is called
        return makers[:1]
    if re.match(r"(from|import)\b", found[first].lines[0]):      # `show.grid(...)` changes nothing
        return [i for i in before if i >= first]
    return [i for i in range(first, user) if name in found[i].binds | found[i].changes]


def bound_by(node):
    """The names that a statement binds (`x = 1`, `def x`, `import x`), and those whose things it changes (`x += 1`,
    `x[0] = 1`, `x.append(1)`)."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}, set()
    names, changed = set(), set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            names.add(part.id)
        elif isinstance(part, (ast.Subscript, ast.Attribute)) and isinstance(part.ctx, ast.Store):
            changed |= {base.id for base in ast.walk(part.value) if isinstance(base, ast.Name)}
        elif isinstance(part, ast.Expr) and isinstance(getattr(part.value, "func", None), ast.Attribute):
            changed |= {base.id for base in ast.walk(part.value.func) if isinstance(base, ast.Name)}
        elif isinstance(part, ast.alias):
            names.add((part.asname or part.name).split(".")[0])
    added = {part.target.id for part in ast.walk(node)
             if isinstance(part, ast.AugAssign) and isinstance(part.target, ast.Name)}
    return names - added, changed | added


def used_by(code):
    """The names that a piece of code takes from outside of it, those of its functions included."""
    def names(table):
        here = {symbol.get_name() for symbol in table.get_symbols()
                if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module")}
        return here.union(*map(names, table.get_children()))

    return names(symtable.symtable(code, "answers", "exec"))
