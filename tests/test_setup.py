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


def write_wheel(folder, name, version):
    """A package with one module, which knows its version."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"__version__ = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{name}/__init__.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


class Project:
    """A small project in a folder, and what was kept of its first environment."""

    def __init__(self, folder):
        self.folder, self.env, self.kept = folder, folder / ".venv", folder.parent / "kept"
        wheels = folder.parent / "wheels"
        for place in (wheels, folder / "minidiff" / "tools"):
            place.mkdir(parents=True)
        for name, version in (("numpy", "2.0"), ("numpy", "2.1"), ("torch", "2.13.0"), ("torchvision", "0.28.0")):
            write_wheel(wheels, name, version)
        (folder / "minidiff" / "tools" / "__init__.py").touch()
        (folder / "backend.py").write_text(BACKEND, encoding="utf-8")
        (folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
        shutil.copy(setup.__file__, folder / "minidiff" / "tools" / "setup.py")
        self.wheels, self.script = wheels, folder / "minidiff" / "tools" / "setup.py"
        self.settings = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull,
                                      "PIP_CONSTRAINT": "", "PIP_EXTRA_INDEX_URL": "", "PYTHONPATH": ""}

    def as_it_was(self):
        """The first environment again, in its own place."""
        (self.folder / "requirements.txt").write_text(REQUIREMENTS, encoding="utf-8")
        if self.kept.exists():
            shutil.rmtree(self.env, ignore_errors=True)
            shutil.copytree(self.kept, self.env, symlinks=True)
            (self.env / "mark").touch()
        return self

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
def first(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("setup") / "Größe [1] ü").as_it_was()
    done = project.set_up()
    assert (done.returncode, done.stderr) == (0, "") and "Making .venv\n" in done.stdout
    for name in ("setuptools", "pkg_resources"):                 # Pythons before 3.12 bring them; fewer files to copy
        shutil.rmtree(project.place() / name, ignore_errors=True)
    for path in project.place().glob("setuptools-*"):
        shutil.rmtree(path)
    shutil.copytree(project.env, project.kept, symlinks=True)
    (project.env / "mark").touch()                               # gone as soon as the environment is made anew
    return project


@pytest.fixture
def project(first):
    """For a test that changes the environment: copied back takes seconds."""
    yield first
    first.as_it_was()


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


def test_what_is_right_stays_and_nothing_is_said(first):
    done = first.set_up()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and (first.env / "mark").exists()
    assert (first.version_of("numpy"), first.version_of("torch")) == ("2.0", "2.13.0")


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
    hide(project.place() / "torch-2.13.0.dist-info" / "RECORD")


def stopped_before_pip(project, hide):
    hide(*project.place().glob("pip-*"), project.place() / "numpy-2.0.dist-info")


def packages_of_another_python(project, hide):
    hide(project.place() / "pip", *project.place().glob("*.dist-info"))


@pytest.mark.parametrize(("damage", "why"), [
    (removed_python, "does not run"), (link_to_a_removed_python, "does not run"), (removed_package, "not all of numpy"),
    (stopped_in_a_package, "not all of torch"), (stopped_before_pip, "no pip"), (packages_of_another_python, "no pip")])
def test_what_cannot_be_mended_is_made_anew(first, hide, damage, why):
    damage(first, hide)
    todo, reason = first.plan()
    assert todo == "new" and why in reason


def test_two_versions_of_a_package_are_seen(first):
    second = shutil.copytree(first.place() / "numpy-2.0.dist-info", first.place() / "numpy-1.9.dist-info")
    assert first.plan() == ("new", "not all of numpy is there")
    shutil.rmtree(second)


@pytest.mark.skipif(os.name == "nt", reason="scripts are programs there")
def test_a_renamed_environment_is_seen(first, hide):
    script = first.env / "bin" / "pip"
    text = script.read_text(encoding="utf-8")
    script.write_text(text.replace("/.venv/", "/venv/"), encoding="utf-8")
    assert first.plan() == ("new", f"it was made in {first.folder / 'venv' / 'bin'}")
    script.write_text(text, encoding="utf-8")


def test_it_is_made_anew_although_the_first_try_is_cut_off_and_torch_stays_as_asked(project):
    write_wheel(project.wheels, "torch", "2.13.0+cpu")
    build = "2.13.0+cpu" if sys.platform == "linux" else "2.13.0"             # elsewhere there is no CUDA to leave out
    done = project.set_up("--torch", "cpu")
    assert (done.returncode, done.stderr, project.version_of("torch")) == (0, "", build)
    assert (project.env / "mark").exists() and project.set_up().stdout == ""
    for path in pythons(project):
        path.unlink()
    away = project.wheels.rename(project.wheels.parent / "away")
    done = project.set_up()
    assert done.returncode == 1 and "Making .venv anew: its Python does not run" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("Set-up: the packages could not be installed")
    assert not (project.env / "mark").exists()
    away.rename(project.wheels)
    done = project.set_up()
    assert (done.returncode, done.stderr) == (0, "") and "Making" not in done.stdout
    assert project.version_of("numpy") == "2.0" and project.version_of("torch") == build
    assert project.plan() == ("nothing", "") and project.set_up().stdout == ""


def test_a_moved_folder_and_a_copied_one_are_seen(first, tmp_path):
    project = first
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


def test_changed_versions_are_installed_into_it(project):
    text = REQUIREMENTS.replace("numpy==2.0", "numpy==2.1")
    (project.folder / "requirements.txt").write_text(text, encoding="utf-8")
    done = project.set_up()
    assert (done.returncode, done.stderr) == (0, "") and "numpy is 2.0, asked for is 2.1" in done.stdout
    assert project.version_of("numpy") == "2.1"
    setup.answer(setup.python_of(project.env), "-I", "-m", "pip", "uninstall", "--yes", "--quiet", "numpy")
    done = project.set_up()
    assert (done.returncode, done.stderr) == (0, "") and "numpy is missing, asked for is 2.1" in done.stdout
    assert project.version_of("numpy") == "2.1" and (project.env / "mark").exists()


def test_another_python_counts_only_when_it_is_asked_for(first):
    assert first.plan(asked=sys.implementation.cache_tag) == first.plan() == ("nothing", "")
    todo, why = first.plan(asked="cpython-399")
    assert todo == "new" and "asked for is cpython-399" in why


def test_what_is_no_environment_is_left_alone(first, hide):
    project = first
    hide(project.env)
    project.env.write_text("the name of an environment elsewhere", encoding="utf-8")
    done = project.set_up()
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and ".venv is not a folder" in done.stderr
    project.env.unlink()
    (project.env / "thesis").mkdir(parents=True)
    done = project.set_up()
    assert done.returncode == 1 and "holds thesis" in done.stderr and (project.env / "thesis").exists()
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
def test_an_old_python_is_refused_in_one_line_and_removes_nothing(first, name):
    if setup.answer(name, "-c", "print(1)") != "1":
        pytest.skip("there is no such Python here")
    done = first.set_up(python=name)
    assert done.returncode == 1 and done.stderr.startswith("Set-up: minidiff needs Python 3.10 or newer, and this is ")
    assert done.stderr.count("\n") == 1 and done.stdout == "" and (first.env / "mark").exists()
    if name != "python2.7":                                      # but it may start what another one left
        done = first.set_up("--any-python", python=name)
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
