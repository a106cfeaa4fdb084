"""Makes .venv and keeps it right, on every system: `python minidiff/tools/setup.py`.  `make` calls it, too.

It runs before anything is installed, so it needs nothing but the standard library.  Every Python since 2.7 can read it
(there are no f-strings), so that an old one is refused in one line instead of with a SyntaxError.

An environment goes stale in many ways: its Python is removed or replaced, the folder is moved, an installation is cut
off, requirements.txt changes.  So each run looks at what is there, with the environment's own Python, and does the
least that makes it right: nothing, an installation into it, or a new environment.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OLDEST, NEWEST = (3, 10), (3, 14)                                # Pythons: the newest that the pinned torch is made for
MACHINES = {"linux": ("x86_64", "aarch64"), "darwin": ("arm64",), "win32": ("amd64",)}     # and what it is made for
UV = "uv==0.13.9"                                                # an installer that knows where torch's CPU builds are


def stop(words):
    """The end, with one line that says why."""
    sys.exit("Set-up: " + words)


def say(words):
    """A line that is seen at once."""
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(words.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()


def answer(*command):
    """What a command prints, or None if it fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


# ------------------------------------------------------------------ can this Python have torch?


def facts():
    """What decides which packages there are for the running Python."""
    system = "linux" if sys.platform.startswith("linux") else sys.platform
    try:
        glibc = os.confstr("CS_GNU_LIBC_VERSION").split()[1]     # "glibc 2.36"; other systems raise, or answer None
    except (AttributeError, ValueError, OSError):
        glibc = ""
    return {
        "version": sys.version_info[:2], "implementation": sys.implementation.name,
        "free-threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")), "bits": 64 if sys.maxsize > 2**32 else 32,
        "system": system, "glibc": glibc, "macos": platform.mac_ver()[0],
        "machine": sysconfig.get_platform().split("-")[-1] if system == "win32" else os.uname().machine,
    }


def refusal(about):
    """Why such a Python (see `facts`) cannot have the packages, in one line; empty if it can."""
    def below(version, bound):
        return tuple(int(number) for number in re.findall(r"\d+", version)) < bound

    version, system, machine = tuple(about["version"]), about["system"], about["machine"]
    this = "this is Python {}.{}".format(*version)
    reasons = [
        (version < OLDEST, "minidiff needs Python {0[0]}.{0[1]} or newer, and {1}".format(OLDEST, this)),
        (version > NEWEST, "the pinned torch is made for Python {0[0]}.{0[1]} at most, and {1}".format(NEWEST, this)),
        (about["implementation"] != "cpython", "torch is made for CPython, and this is " + about["implementation"]),
        (about["free-threaded"], "the packages are made for the ordinary Python, and this is the free-threaded one"),
        (about["bits"] == 32, "torch is made for 64 bits, and this Python has 32: install the one with 64"),
        (system == "darwin" and machine == "x86_64",
         "since torch 2.3 nothing is made for Intel Macs, and minidiff needs 2.4 (a Mac with Apple silicon: this is a "
         "Python for Intel, install the one for arm64)"),
        (system == "darwin" and below(about["macos"], (14,)),
         "the pinned torch is made for macOS 14 or newer, and this is macOS " + about["macos"]),
        (machine not in MACHINES.get(system, ()),
         "PyPI has no torch for {} on {}".format({"win32": "Windows", "darwin": "macOS"}.get(system, system), machine)),
        (system == "linux" and not about["glibc"],
         "torch is made for Linux with glibc, and this one has another C library (Alpine: musl)"),
        (system == "linux" and below(about["glibc"], (2, 28)),
         "torch is made for glibc 2.28 or newer (Debian 10, Ubuntu 20.04), and this is glibc " + about["glibc"]),
    ]
    return next((words for holds, words in reasons if holds), "")


# ------------------------------------------------------------------ what is there?


def pinned(oldest, version):
    """The packages that a Python version is to have: {name: version}; the oldest are pyproject.toml's lower bounds."""
    with open(os.path.join(ROOT, "pyproject.toml" if oldest else "requirements.txt"), encoding="utf-8") as file:
        text = file.read()
    if oldest:
        return dict(re.findall(r'"([a-z-]+)>=([0-9.]+)"', text))
    lines = re.findall(r'^([\w.-]+)==([^\s;]+)(?:; python_version (<|>=) "3\.(\d+)")?[ \r]*$', text, re.MULTILINE)
    return {name: pin for name, pin, relation, minor in lines
            if not relation or (tuple(version) >= (3, int(minor))) == (relation == ">=")}


def installed():
    """The packages in the running Python's environment -> ({name: version}, the names of those that are not whole)."""
    place, there, broken = sysconfig.get_path("purelib"), {}, []
    for info in sorted(os.listdir(place)):
        if not info.endswith(".dist-info") or info.startswith("~"):           # pip sets aside what it removes as ~name
            continue
        name, version = info[:-len(".dist-info")].split("-", 1)
        name, tops = name.lower().replace("_", "-"), set()
        record = os.path.join(place, info, "RECORD")
        if os.path.exists(record):                               # pip writes it last: numpy/linalg/linalg.py,sha256=...
            with open(record, encoding="utf-8") as file:
                tops = {line.split(",")[0].split("/")[0] for line in file if line[0] != '"'} - {"..", "__pycache__"}
        if not tops or name in there or not all(os.path.exists(os.path.join(place, top)) for top in tops):
            broken.append(name)
        there[name] = version
    return there, broken


def look(oldest, torch):
    """The running Python looks at its own environment -> what is wrong there; see `plan`."""
    about = facts()
    if refusal(about):
        return {"refusal": refusal(about)}
    there, broken = installed()
    missing = [] if "minidiff" in there else ["minidiff is missing"]
    for name, pin in sorted(pinned(oldest, about["version"]).items()):
        version = there.get(name, "missing")
        if version.split("+")[0] != pin:                         # 2.13.0+cpu is a build of 2.13.0
            missing.append("{} is {}, asked for is {}".format(name, version, pin))
        elif name == "torch" and torch and about["system"] == "linux" and not version.endswith("+" + torch):
            missing.append("torch is {}, asked for is the {} build".format(version, torch))
    return {"refusal": "", "tag": sys.implementation.cache_tag, "version": about["version"], "broken": broken,
            "missing": missing, "pip": "pip" in there, "elsewhere": elsewhere(there.get("minidiff"))}


def elsewhere(version):
    """Where this environment was made, if it was not made here.  `version` is that of minidiff in it, or None."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname
    noted = os.path.join(sysconfig.get_path("purelib"), "minidiff-{}.dist-info".format(version), "direct_url.json")
    if not os.path.exists(noted):
        return ""
    with open(noted, encoding="utf-8") as file:                  # pip notes which folder it installed
        was = url2pathname(urlsplit(json.load(file)["url"]).path)
    return "" if os.path.exists(was) and os.path.samefile(was, ROOT) else was


def python_of(folder):
    """The Python of an environment."""
    return os.path.join(folder, *(("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")))


def look_into(folder, oldest=False, torch=None):
    """What `look` sees in an environment, or None where its Python does not run."""
    options = ["--oldest"] * oldest + ["--torch=cpu"] * bool(torch)
    said = answer(python_of(folder), "-I", os.path.abspath(__file__), "--look", *options)
    return json.loads(said) if said else None


def plan(folder, seen, asked=None):
    """What to do about what `look_into` saw -> ("nothing" | "install" | "new", why).  `asked`: a Python, or none."""
    if seen is None:
        return "new", "its Python does not run (removed, replaced, or never finished)" * os.path.lexists(folder)
    if seen["refusal"]:
        return "new", seen["refusal"]
    if asked and seen["tag"] != asked:
        return "new", "it is for {}, asked for is {}".format(seen["tag"], asked)
    if seen["elsewhere"]:
        return "new", "it was made in " + seen["elsewhere"]
    if seen["broken"]:
        return "new", "not all of {} is there".format(seen["broken"][0])
    if seen["missing"] and not seen["pip"]:
        return "new", "it has no pip"
    more = " ..." if len(seen["missing"]) > 2 else ""
    return "install" if seen["missing"] else "nothing", "; ".join(seen["missing"][:2]) + more


# ------------------------------------------------------------------ making it right


def hold():
    """Two set-ups at once would empty each other's environment, so the second one waits (not on Windows)."""
    try:
        import fcntl
        fcntl.flock(os.open(ROOT, os.O_RDONLY), fcntl.LOCK_EX)   # a folder can be locked as well as a file
    except (ImportError, OSError):                               # some file systems know no locks
        pass


def make_anew(folder, why):
    """An empty environment, or one line that says why there is none."""
    name = os.path.basename(folder)
    if os.path.lexists(folder) and not os.path.exists(os.path.join(folder, "pyvenv.cfg")):
        there = set(os.listdir(folder)) if os.path.isdir(folder) else {"no folder"}
        strange = there - {"bin", "include", "lib", "lib64", "Include", "Lib", "Scripts"}     # half made, half removed
        if strange:
            stop("{} was not made by Python's venv ({}). Move it away, then the same command again".format(
                name, min(strange)))
    say("Making " + name + (" anew: " + why if why else ""))
    base = os.path.realpath(sys.executable) if os.name != "nt" else getattr(sys, "_base_executable", sys.executable)
    inside = os.path.realpath(sys.prefix) == os.path.realpath(folder)         # no Python may empty what it runs from
    done = subprocess.run([base if inside else sys.executable, "-I", "-m", "venv", "--clear", os.path.realpath(folder)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    if "ensurepip is not available" in done.stdout:
        stop("this Python makes no environments. On Debian and Ubuntu: sudo apt install python{}.{}-venv".format(
            *sys.version_info[:2]))
    if done.returncode:
        stop("{} could not be made (is a program of it still open?): {}".format(
            name, " ".join(done.stdout.split())[-500:]))


def install(python, pins, oldest, torch):
    """Install the pinned packages, and minidiff so that edits count."""
    def run(*command):
        settings = dict(os.environ, PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
        if subprocess.run((python, "-I", "-m") + command, cwd=ROOT, env=settings).returncode:
            stop("the packages could not be installed, and the lines above say why. Usual reasons: no network, a full "
                 "disk. The same command goes on")

    pip = ("pip", "install", "--quiet")
    if torch and sys.platform.startswith("linux"):               # elsewhere PyPI's torch has no CUDA
        both = ("torch==" + pins["torch"], "torchvision==" + pins["torchvision"])
        if answer(python, "-I", "-m", *(pip + ("--no-deps", both[0] + "+" + torch, both[1]))) is None:
            run(*(pip + (UV,)))                                  # pip's own index has no such build
            run("uv", "pip", "install", "--python", python, "--torch-backend", torch, "--reinstall", "--no-deps",
                both[0], both[1])
    if oldest:
        run(*(pip + tuple(sorted(name + "==" + pin for name, pin in pins.items())) + ("--editable", ".")))
    else:
        run(*(pip + ("--requirement", "requirements.txt")))


def set_up(folder, any_python, oldest, torch):
    """Look, then do the least that makes the environment right."""
    choice = os.path.join(folder, "torch-cpu")                   # an empty file: what was asked for once counts on
    torch = torch or ("cpu" if os.path.exists(choice) else None)
    seen = look_into(folder, oldest, torch)
    todo, why = plan(folder, seen, None if any_python else sys.implementation.cache_tag)
    if todo == "nothing":
        return
    name = os.path.basename(folder)
    if todo == "new":
        refused = refusal(facts())
        if refused:
            stop(refused)
        make_anew(folder, why)
        why, seen = "a minute or two, with a good connection", facts()
    if torch:
        open(choice, "a", encoding="utf-8").close()
    say("Installing into {}: {}".format(name, why))
    install(python_of(folder), pinned(oldest, seen["version"]), oldest, torch)
    todo, why = plan(folder, look_into(folder, oldest, torch))
    if todo != "nothing":
        stop("the installation ended, and yet {} is not right: {}".format(name, why))


def main():
    parser = argparse.ArgumentParser(description="Make .venv, or make it right again.")
    parser.add_argument("--torch", choices=["cpu"], help="on Linux: torch without CUDA, which saves 3 GB")
    parser.add_argument("--any-python", action="store_true", help="keep an environment of another Python if it fits")
    parser.add_argument("--oldest", action="store_true", help="in .venv-oldest: the lowest versions of pyproject.toml")
    parser.add_argument("--look", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = os.path.join(ROOT, ".venv-oldest" if options.oldest else ".venv")
    if not os.path.exists(os.path.join(ROOT, "requirements.txt")):
        stop("there is no requirements.txt in {}: this belongs to a checkout of the repository".format(ROOT))
    if options.look:
        print(json.dumps(look(options.oldest, options.torch)))
        return
    hold()
    set_up(folder, options.any_python, options.oldest, options.torch)


if __name__ == "__main__":
    if sys.version_info < (3, 5):
        stop("minidiff needs Python 3.10 or newer, and this is Python " + sys.version.split()[0])
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nSet-up: stopped. The same command begins again")
