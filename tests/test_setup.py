"""The set-up: what goes stale is seen and made right, and what cannot work is refused in one line.

A small project stands for ours: its own environment, two packages and pip are real, and no network is needed.
"""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from minidiff.tools import setup

ROOT = Path(__file__).parent.parent
BACKEND = '''
import os, pathlib, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(pathlib.Path(folder) / "minidiff-0.1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("minidiff.pth", os.fsencode(os.getcwd()))               # as Python reads it
        info = "minidiff-0.1.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: minidiff\\nVersion: 0.1\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return "minidiff-0.1-py3-none-any.whl"
'''
PYPROJECT = '''
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
'''
REQUIREMENTS = "numpy==2.0\ntorch==2.13.0\ntorchvision==0.28.0\nscipy==1; python_version < \"3.4\"\n--editable .\n"
BUILD = "2.13.0+cpu" if sys.platform == "linux" else "2.13.0"    # elsewhere there is no CUDA to leave out


def write_wheel(folder, name, version):
    """A package with one module, which knows its version."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"__version__ = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{name}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


class Project:
    """A small project in a folder."""

    def __init__(self, folder):
        self.folder, self.env = folder, folder / ".venv"
        wheels = folder.parent / "wheels"
        for place in (wheels, folder / "minidiff" / "tools"):
            place.mkdir(parents=True)
        for name, version in (("numpy", "2.0"), ("numpy", "2.1"), ("torch", "2.13.0"), ("torch", "2.13.0+cpu"),
                              ("torchvision", "0.28.0")):
            write_wheel(wheels, name, version)
        (folder / "minidiff" / "tools" / "__init__.py").touch()
        (folder / "backend.py").write_text(BACKEND, encoding="utf-8")
        (folder / "requirements.txt").write_text(REQUIREMENTS, encoding="utf-8")
        (folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
        shutil.copy(setup.__file__, folder / "minidiff" / "tools" / "setup.py")
        self.wheels, self.script = wheels, folder / "minidiff" / "tools" / "setup.py"
        self.settings = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull,
                                      "PIP_CONSTRAINT": "", "PIP_EXTRA_INDEX_URL": "", "PYTHONPATH": ""}

    def set_up(self, *options, python=sys.executable):
        """What `python minidiff/tools/setup.py` returns and says."""
        return subprocess.run([python, self.script, *options], env=self.settings, capture_output=True, text=True)

    def plan(self, asked=None, folder=None):
        """What the set-up would do, and why."""
        spec = importlib.util.spec_from_file_location("its_setup", (folder or self.folder) / "minidiff/tools/setup.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        env = str((folder or self.folder) / ".venv")
        return module.plan(env, module.look_into(env), asked)

    def place(self):
        """Where its packages are."""
        return next(self.env.glob("[lL]ib/**/site-packages"))

    def version_of(self, name):
        code = f"import {name}; print({name}.__version__)"
        return setup.answer(setup.python_of(str(self.env)), "-I", "-c", code)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose environment lost its Python, and what two set-ups said: one without wheels, and the next."""
    project = Project(tmp_path_factory.mktemp("setup") / "Größe [1] ü")
    project.env.mkdir()
    for name in ("pyvenv.cfg", "mark", "torch-cpu"):             # the last one: torch without CUDA was asked for
        (project.env / name).touch()
    away = project.wheels.rename(project.wheels.parent / "away")
    project.said = [project.set_up()]
    away.rename(project.wheels)
    project.said += [project.set_up()]
    (project.env / "mark").touch(exist_ok=False)                 # gone as soon as the environment is made anew
    return project


@pytest.fixture
def hide(tmp_path):
    """A function that takes files and folders away until the end of the test."""
    hidden = []

    def hide(*paths):
        for path in paths:
            hidden.append((path, path.rename(tmp_path / str(len(hidden)))))

    yield hide
    for path, kept in hidden:
        if path.is_symlink():
            path.unlink()
        kept.rename(path)


# ------------------------------------------------------------------ what goes stale


def test_it_is_made_anew_although_the_first_try_is_cut_off_and_torch_stays_as_asked(project):
    first, second = project.said
    assert first.returncode == 1 and "Making .venv anew: its Python does not run" in first.stdout
    assert first.stderr.splitlines()[-1].startswith("Set-up: the packages could not be installed")
    assert (second.returncode, second.stderr) == (0, "") and "Making" not in second.stdout
    assert (project.version_of("numpy"), project.version_of("torch")) == ("2.0", BUILD)


def test_what_is_right_stays_and_nothing_is_said(project):
    done = project.set_up()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and (project.env / "mark").exists()


def pythons(project):
    """The names of Python in the environment: links, or programs on Windows."""
    return list(Path(setup.python_of(str(project.env))).parent.glob("python*"))


def removed_python(project, hide):
    hide(*pythons(project))


def link_to_a_removed_python(project, hide):
    hide(*pythons(project))
    Path(setup.python_of(str(project.env))).symlink_to("/no/such/python3.12")


def removed_package(project, hide):
    hide(project.place() / "numpy")


def stopped_in_a_package(project, hide):
    hide(project.place() / f"torch-{BUILD}.dist-info" / "RECORD")


def stopped_before_pip(project, hide):
    hide(*project.place().glob("pip-*"), project.place() / "numpy-2.0.dist-info")


def packages_of_another_python(project, hide):
    hide(project.place() / "pip", *project.place().glob("*.dist-info"))


@pytest.mark.parametrize(("damage", "why"), [
    (removed_python, "does not run"), (link_to_a_removed_python, "does not run"), (removed_package, "not all of numpy"),
    (stopped_in_a_package, "not all of torch"), (stopped_before_pip, "no pip"), (packages_of_another_python, "no pip")])
def test_what_cannot_be_mended_is_made_anew(project, hide, damage, why):
    damage(project, hide)
    todo, reason = project.plan()
    assert todo == "new" and why in reason


def test_two_versions_of_a_package_are_seen(project):
    second = shutil.copytree(project.place() / "numpy-2.0.dist-info", project.place() / "numpy-1.9.dist-info")
    assert project.plan() == ("new", "not all of numpy is there")
    shutil.rmtree(second)


def test_a_moved_folder_and_a_copied_one_are_seen(project, tmp_path):
    copy = shutil.copytree(project.folder, tmp_path / "copy", symlinks=True)
    todo, why = project.plan(folder=copy)
    assert todo == "new" and why == f"it was made in {project.folder}"
    moved = project.folder.rename(project.folder.parent / "moved")
    try:
        assert project.plan(folder=moved) == ("new", f"it was made in {project.folder}")
    finally:
        moved.rename(project.folder)
    assert project.plan() == ("nothing", "")
    (tmp_path / "link").symlink_to(project.folder, target_is_directory=True)
    assert project.plan(folder=tmp_path / "link") == ("nothing", "")


def test_a_package_that_is_missing_is_installed_into_it(project, hide):
    hide(project.place() / "numpy", project.place() / "numpy-2.0.dist-info")
    assert project.plan() == ("install", "numpy is missing, asked for is 2.0")


def test_another_python_counts_only_when_it_is_asked_for(project):
    assert project.plan(asked=sys.implementation.cache_tag) == project.plan() == ("nothing", "")
    todo, why = project.plan(asked="cpython-399")
    assert todo == "new" and "asked for is cpython-399" in why


def test_what_is_no_environment_is_left_alone(project, hide):
    hide(project.env)
    project.env.write_text("the name of an environment elsewhere", encoding="utf-8")
    done = project.set_up()
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "(no folder). Move it away" in done.stderr
    project.env.unlink()
    (project.env / "thesis").mkdir(parents=True)
    done = project.set_up()
    assert done.returncode == 1 and "(thesis). Move it away" in done.stderr and (project.env / "thesis").exists()
    shutil.rmtree(project.env)


# ------------------------------------------------------------------ what cannot work

HERE = {"version": [3, 12], "implementation": "cpython", "free-threaded": False, "bits": 64, "system": "linux",
        "machine": "x86_64", "glibc": "2.36", "macos": ""}
MAC = {"system": "darwin", "machine": "arm64", "glibc": "", "macos": "14.0"}
WINDOWS = {"system": "win32", "machine": "amd64", "glibc": ""}


@pytest.mark.parametrize("other", [
    {}, {"version": [3, 10]}, {"version": [3, 14]}, {"machine": "aarch64"}, {"glibc": "2.28"}, {"glibc": "2.100"},
    MAC, MAC | {"macos": "26.1"}, WINDOWS])
def test_where_torch_is_made_for_nothing_is_refused(other):
    assert setup.refusal(HERE | other) == ""


@pytest.mark.parametrize(("other", "why"), [
    ({"version": [3, 9]}, "3.10 or newer"), ({"version": [3, 15]}, "3.14 at most"), ({"version": [2, 7]}, "3.10"),
    ({"implementation": "pypy"}, "pypy"), ({"free-threaded": True}, "free-threaded"), ({"bits": 32}, "64 bits"),
    ({"glibc": "2.27"}, "glibc 2.28"), ({"glibc": ""}, "musl"), ({"machine": "riscv64"}, "linux on riscv64"),
    ({"machine": "armv7l"}, "linux on armv7l"), ({"system": "freebsd14"}, "freebsd14"),
    (MAC | {"macos": "13.6.1"}, "macOS 14"), (MAC | {"machine": "x86_64"}, "Intel Macs"),
    (WINDOWS | {"machine": "arm64"}, "Windows on arm64"), (WINDOWS | {"bits": 32, "machine": "win32"}, "64 bits")])
def test_where_there_is_no_torch_one_line_says_why(other, why):
    assert why in setup.refusal(HERE | other) and "\n" not in setup.refusal(HERE | other)


def test_this_python_is_one_of_those():
    assert setup.refusal(setup.facts()) == ""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">={setup.OLDEST[0]}.{setup.OLDEST[1]}"' in text
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert "torch==2.13.0\n" in requirements                     # of another one look up NEWEST, MACHINES, glibc, macOS


def test_every_old_python_can_read_the_script():
    tree = ast.parse(Path(setup.__file__).read_text(encoding="ascii"))
    newer = (ast.JoinedStr, ast.NamedExpr, ast.AnnAssign, ast.AsyncFunctionDef, ast.Match, ast.Nonlocal)
    assert [node for node in ast.walk(tree) if isinstance(node, newer)] == []
    starred = [call for call in ast.walk(tree) if isinstance(call, (ast.Call, ast.List, ast.Tuple))
               for node in getattr(call, "elts", getattr(call, "args", ()))
               if isinstance(node, ast.Starred) and (not isinstance(call, ast.Call) or node is not call.args[-1])]
    assert starred == []


@pytest.mark.parametrize("name", ["python2.7", "python3.6", "python3.7", "python3.8", "python3.9"])
def test_an_old_python_is_refused_in_one_line_and_removes_nothing(project, name):
    if setup.answer(name, "-c", "print(1)") != "1":
        pytest.skip("there is no such Python here")
    done = project.set_up(python=name)
    assert done.returncode == 1 and done.stderr.startswith("Set-up: minidiff needs Python 3.10 or newer, and this is ")
    assert done.stderr.count("\n") == 1 and done.stdout == "" and (project.env / "mark").exists()
    if name != "python2.7":                                      # but it may start what another one left
        done = project.set_up("--any-python", python=name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ------------------------------------------------------------------ our own


@pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 13)])
def test_the_pins_are_those_that_pip_reads(version):
    requirements = pytest.importorskip("pip._vendor.packaging.requirements")
    expected = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("--"):
            found = requirements.Requirement(line)
            if not found.marker or found.marker.evaluate({"python_version": ".".join(map(str, version))}):
                expected[found.name] = str(found.specifier).removeprefix("==")
    assert setup.pinned(False, version) == expected and len(expected) > 10
    assert setup.pinned(True, version)["torch"] == "2.4"


def test_no_recipe_stands_twice():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert len(re.findall(r"minidiff/tools/setup\.py", text)) == 1 and "-m venv" not in text
    assert "requirements.txt" not in text


# ------------------------------------------------------------------ last, since the environment of all others changes


def test_changed_versions_are_installed_into_it(project):
    text = REQUIREMENTS.replace("numpy==2.0", "numpy==2.1")
    (project.folder / "requirements.txt").write_text(text, encoding="utf-8")
    (project.env / "torch-cpu").unlink()
    done = project.set_up("--torch", "cpu")
    assert (done.returncode, done.stderr) == (0, "") and "numpy is 2.0, asked for is 2.1" in done.stdout
    assert (project.version_of("numpy"), project.version_of("torch")) == ("2.1", BUILD)
    assert (project.env / "mark").exists() and (project.env / "torch-cpu").exists() and project.set_up().stdout == ""
