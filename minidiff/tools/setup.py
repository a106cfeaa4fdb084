"""Makes .venv and keeps it right, on every system: `python minidiff/tools/setup.py`.  `make` calls it, too.

It runs before anything is installed, so it needs nothing but the standard library.  Every Python since 2.7 can read it
(there are no f-strings), so that an old one is refused in one line instead of with a SyntaxError.

An environment goes stale in many ways: its Python is removed or replaced, the folder is moved, an installation is cut
off, requirements.txt changes.  So each run looks at what is there, with the environment's own Python, and does the least
that makes it right: nothing, an installation into it, or a new environment.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)                  # the newest that the torch of requirements.txt is made for
MACHINES = {"linux": ("x86_64", "aarch64"), "darwin": ("arm64",), "win32": ("amd64",)}
UV = "uv==0.13.9"                                                # knows where the CPU builds of torch are


# ------------------------------------------------------------------ can this Python have torch?


def facts():
    """What decides which wheels fit the running Python."""
    system = "linux" if sys.platform.startswith("linux") else sys.platform
    try:
        glibc = os.confstr("CS_GNU_LIBC_VERSION").split()[1]     # "glibc 2.36"; other systems raise, or answer None
    except (AttributeError, ValueError, OSError):
        glibc = None
    return {
        "version": sys.version_info[:2],
        "implementation": sys.implementation.name,
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "system": system,
        "machine": sysconfig.get_platform().split("-")[-1] if system == "win32" else os.uname().machine,
        "glibc": glibc,
        "macos": __import__("platform").mac_ver()[0],
    }


def dotted(numbers):
    """(3, 12) -> "3.12"."""
    return ".".join(str(number) for number in numbers)


def numbers_of(version):
    """"14.6.1" -> (14, 6)."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def refusal(about):
    """Why there is no torch for such a Python, in one line; empty if there is one.  `about` is what `facts` returns."""
    version, system, machine = tuple(about["version"]), about["system"], about["machine"]
    this = "this is Python " + dotted(version)
    if version < OLDEST_PYTHON:
        return "minidiff needs Python " + dotted(OLDEST_PYTHON) + " or newer, and " + this
    if version > NEWEST_PYTHON:
        return "the torch of requirements.txt is made for Python up to " + dotted(NEWEST_PYTHON) + ", and " + this
    if about["implementation"] != "cpython":
        return "torch is made for CPython, and this is " + about["implementation"]
    if about["free_threaded"]:
        return "the packages are made for the ordinary Python, and this is the free-threaded one"
    if about["bits"] == 32:
        return "torch is made for 64 bits, and this Python has 32: install the 64-bit one"
    if system == "darwin" and machine == "x86_64":
        return ("PyTorch makes nothing for Intel Macs since torch 2.2, and minidiff needs 2.4 (on a Mac with Apple "
                "silicon this is the wrong Python: install the one for arm64)")
    if system == "darwin" and numbers_of(about["macos"]) < (14,) and not about["macos"].startswith("10.16"):
        return "the torch of requirements.txt is made for macOS 14 or newer, and this is macOS " + about["macos"]
    if system == "win32" and machine == "arm64":
        return "PyPI has no torch for Windows on ARM"
    if machine not in MACHINES.get(system, ()):
        return "PyPI has no torch for " + system + " on " + machine
    if system == "linux" and not about["glibc"]:
        return "torch is made for Linux with glibc, and this one has another C library (Alpine has musl)"
    if system == "linux" and numbers_of(about["glibc"]) < (2, 28):
        return "torch is made for glibc 2.28 or newer (Debian 10, Ubuntu 20.04), and this Linux has " + about["glibc"]
    return ""


def other_python():
    """A newer Python on the PATH as a hint, or an empty text."""
    import shutil
    for minor in range(13, 9, -1):
        name = "python3." + str(minor)
        path = shutil.which(name)
        if path and answer([path, "-c", "print(1)"]) == "1":     # pyenv has names on the PATH that do not run
            return ". Here is " + name + ": make demo PYTHON=" + name
    return ""


# ------------------------------------------------------------------ what is there


def wanted(oldest, version):
    """The pinned packages for a Python version: {name: version}."""
    if oldest:
        with open(os.path.join(ROOT, "pyproject.toml"), encoding="utf-8") as file:
            return dict(re.findall(r'"([a-z-]+)>=([0-9.]+)"', file.read()))
    pins = {}
    with open(os.path.join(ROOT, "requirements.txt"), encoding="utf-8") as file:
        for line in file:
            found = re.match(r'([\w.-]+)==([^\s;]+)(?:; python_version (<|>=) "3\.(\d+)")?\s*$', line)
            if found:
                name, pinned, relation, minor = found.groups()
                newer = relation and tuple(version) >= (3, int(minor))
                if not relation or newer == (relation == ">="):
                    pins[name] = pinned
    return pins


def look(folder, oldest, torch):
    """The running Python looks at its own environment -> what is wrong with it."""
    about = facts()
    seen = {"version": about["version"], "tag": sys.implementation.cache_tag, "refusal": refusal(about)}
    if seen["refusal"]:
        return seen
    from importlib import metadata
    packages = sysconfig.get_path("purelib")
    marks = [name for name in os.listdir(packages) if name.endswith(".dist-info")]
    cut_off = [name for name in marks if not os.path.exists(os.path.join(packages, name, "RECORD"))]   # written last
    seen["cut_off"] = sorted(cut_off) if any(name.startswith("pip-") for name in marks) else ["pip"]
    seen["missing"] = []
    for name, pinned in sorted(wanted(oldest, about["version"]).items()):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = "missing"
        if version.split("+")[0] != pinned:                      # 2.13.0+cpu is a build of 2.13.0
            seen["missing"].append(name + " is " + version + " (asked: " + pinned + ")")
        elif name == "torch" and torch == "cpu" and about["system"] == "linux" and not version.endswith("+cpu"):
            seen["missing"].append("torch is not the CPU build")
    try:
        seen["place"] = metadata.distribution("minidiff").read_text("direct_url.json") or "{}"
    except metadata.PackageNotFoundError:
        seen["place"] = None
        seen["missing"].append("minidiff is missing")
    seen["place"] = moved_from(seen["place"], folder)
    return seen


def moved_from(installed, folder):
    """Where an environment was made, if not here; else None.  `installed` is what pip noted about minidiff."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname
    if installed is not None:
        place = url2pathname(urlsplit(json.loads(installed).get("url", "")).path)
        if not (os.path.exists(place) and os.path.samefile(place, ROOT)):
            return place or "another place"
    script = os.path.join(folder, "bin", "pip")                  # its first line holds the path of its Python
    if os.path.exists(script):
        with open(script, encoding="utf-8", errors="replace") as file:
            found = re.search(r"""^(?:#!|'''exec' )"?(/.+?/bin)/python""", file.read(2000), re.MULTILINE)
        if found and not (os.path.exists(found[1]) and os.path.samefile(found[1], os.path.join(folder, "bin"))):
            return found[1]
    return None


def python_of(folder):
    """The Python of an environment."""
    return os.path.join(folder, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))


def answer(command):
    """What a command prints, or None if it fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def plan(folder, seen, asked):
    """What is to be done -> ("nothing" | "install" | "new", why)."""
    if not os.path.lexists(folder):
        return "new", ""
    if seen is None:
        return "new", "its Python does not run (removed, replaced, or never finished)"
    if seen["refusal"]:
        return "new", seen["refusal"]
    if asked and seen["tag"] != asked:
        return "new", "it has " + seen["tag"] + ", and asked for is " + asked
    if seen["place"]:
        return "new", "it was made in " + seen["place"]
    if seen["cut_off"]:
        return "new", "an installation was cut off at " + seen["cut_off"][0].replace(".dist-info", "")
    if seen["missing"]:
        return "install", seen["missing"][0] + (", and more" if len(seen["missing"]) > 1 else "")
    return "nothing", ""


# ------------------------------------------------------------------ making it right


def stop(*words):
    """The end, with one line that says why."""
    sys.exit("minidiff: " + "".join(words))


def check_replaceable(folder):
    """Only what is an environment may be emptied."""
    name = os.path.basename(folder)
    if os.path.lexists(folder) and not os.path.isdir(folder):
        stop(name, " is not a folder; the environment belongs there. Move it away, then the same command again")
    ours = {"bin", "lib", "lib64", "include", "Scripts", "Lib", "Include", "ready"}
    if os.path.isdir(folder) and not os.path.exists(os.path.join(folder, "pyvenv.cfg")):
        strange = sorted(set(os.listdir(folder)) - ours)
        if strange:
            stop(name, " was not made by Python's venv (it holds ", strange[0], "). Move it away, then the same command again")


def had_cpu_build(folder):
    """Is a CPU build of torch there, even if no Python is?"""
    from glob import glob
    return any(glob(os.path.join(glob_escape(folder), *middle, "torch-*+cpu.dist-info"))
               for middle in (("lib", "python*", "site-packages"), ("Lib", "site-packages")))


def glob_escape(path):
    """A folder may have brackets in its name."""
    from glob import escape
    return escape(path)


def base_python():
    """The Python that makes the environment: the running one, but not the environment's own, which is to be emptied."""
    base = getattr(sys, "_base_executable", None) if os.name == "nt" else os.path.realpath(sys.executable)
    inside = os.path.normcase(os.path.abspath(sys.prefix)).startswith(os.path.join(ROOT, ".venv"))
    return base if inside and base else sys.executable


def run(command, problem):
    """A command that has to succeed; its own errors are seen."""
    environment = dict(os.environ, PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    if subprocess.run(command, cwd=ROOT, env=environment).returncode:
        stop(problem)


def make_anew(folder):
    """An empty environment, or a line that says why there is none."""
    done = subprocess.run([base_python(), "-I", "-m", "venv", "--clear", folder], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    if done.returncode == 0:
        return
    if "ensurepip" in done.stdout:
        stop("this Python cannot make an environment with pip. On Debian and Ubuntu: sudo apt install python",
             dotted(sys.version_info[:2]), "-venv")
    in_use = " (is a notebook or a program of it still open?)" if os.name == "nt" else ""
    stop("no environment could be made in ", folder, in_use, ": ", (done.stdout.strip().splitlines() or ["?"])[-1])


def install(python, oldest, torch):
    """Install what is pinned, and the package itself so that edits count."""
    pins = wanted(oldest, json.loads(answer([python, "-I", __file__, "--facts"]))["version"])
    pip = [python, "-I", "-m", "pip", "install", "--quiet"]
    problem = ("the packages could not be installed; the lines above say why. Usual reasons: no network, or a full disk. "
               "The same command goes on")
    if torch == "cpu" and sys.platform.startswith("linux"):
        packages = ["torch==" + pins["torch"], "torchvision==" + pins["torchvision"]]
        if answer(pip + ["--no-deps", packages[0] + "+cpu", packages[1]]) is None:    # not where pip looks by itself
            run(pip + [UV], problem)
            run([python, "-I", "-m", "uv", "pip", "install", "--quiet", "--python", python, "--torch-backend", "cpu",
                 "--no-deps"] + packages, problem)
    if oldest:
        run(pip + [name + "==" + version for name, version in sorted(pins.items())] + ["--editable", "."], problem)
    else:
        run(pip + ["--requirement", "requirements.txt"], problem)


def hold():
    """Two set-ups at once would empty each other's environment: the second one waits (but not on Windows)."""
    try:
        import fcntl
        place = os.open(ROOT, os.O_RDONLY)
    except (ImportError, OSError):
        return
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("another set-up is running here; waiting for it ...", flush=True)
        fcntl.flock(place, fcntl.LOCK_EX)
    except OSError:                                              # some file systems take no locks
        pass


def set_up(folder, options):
    """Look, then do the least that makes the environment right."""
    def looked():
        flags = ["--oldest"] * options.oldest + (["--torch", torch] if torch else [])
        said = answer([python_of(folder), "-I", os.path.abspath(__file__), "--look"] + flags)
        return json.loads(said) if said else None

    torch, python, name = options.torch, python_of(folder), os.path.basename(folder)
    todo, why = plan(folder, looked(), None if options.any_python else sys.implementation.cache_tag)
    if todo == "nothing":
        return
    if not torch and had_cpu_build(folder):
        torch = "cpu"                                            # it was asked for once
    if todo == "new":
        if refusal(facts()):
            stop(refusal(facts()), other_python() if sys.version_info < OLDEST_PYTHON else "")
        check_replaceable(folder)
        print("making " + name + (" anew: " + why if why else ""), flush=True)
        make_anew(folder)
        why = "a minute or two with a good connection"
    print("installing the packages into " + name + ": " + why, flush=True)
    install(python, options.oldest, torch)
    todo, why = plan(folder, looked(), None)
    if todo != "nothing":
        stop("the installation ended, and yet ", name, " is not right: ", why)
    done = subprocess.run([python, "-I", "-c", "import minidiff.tools"], cwd=ROOT, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, universal_newlines=True)
    if done.returncode:
        stop("the packages are installed, but do not load: ", (done.stderr.strip().splitlines() or ["?"])[-1],
             ". On Windows the usual reason is that Microsoft's Visual C++ Redistributable is missing")


def main():
    parser = argparse.ArgumentParser(description="Make .venv, or make it right again. Then: .venv/bin/python -m minidiff "
                                     "train (on Windows .venv\\Scripts\\python -m minidiff train)")
    parser.add_argument("--torch", choices=["cpu"], help="on Linux: torch without CUDA, which saves 3 GB")
    parser.add_argument("--any-python", action="store_true", help="keep an environment of another Python that fits")
    parser.add_argument("--oldest", action="store_true", help=".venv-oldest with the lowest versions of pyproject.toml")
    parser.add_argument("--look", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--facts", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = os.path.join(ROOT, ".venv-oldest" if options.oldest else ".venv")
    if options.facts:
        print(json.dumps(facts()))
    elif options.look:
        print(json.dumps(look(folder, options.oldest, options.torch)))
    elif not os.path.exists(os.path.join(ROOT, "requirements.txt")):
        stop("there is no requirements.txt in ", ROOT, ": this belongs to a checkout of the repository")
    else:
        hold()
        set_up(folder, options)


if __name__ == "__main__":
    if sys.version_info < (3, 5):                                # subprocess.run is missing
        sys.exit("minidiff: minidiff needs Python 3.10 or newer, and this is Python " + sys.version.split()[0])
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nminidiff: stopped. The same command begins again")
