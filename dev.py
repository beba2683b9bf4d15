"""Work on this repository from any machine that has Python: makes .venv, installs into it, runs things in it.

  python3 dev.py examples            super-resolve the faces of the pictures in examples/
  python3 dev.py test                all checks, in the order ruff, import-linter, pyright, pytest
  python3 dev.py test -k geometry    what follows `test` goes to pytest; the other checks run too

Every step is printed before it runs, so that it can be copied and run alone. The first run installs, which
takes minutes; later ones install only when pyproject.toml, constraints.txt or the list of files changed.
To start afresh, delete .venv.
"""

import argparse
import hashlib
import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

# Ahead of the annotations that an old Python cannot evaluate: it should reach this line, not a traceback.
if sys.version_info < (3, 10):  # noqa: UP036
    found = ".".join(map(str, sys.version_info[:3]))
    sys.exit(f"dev.py: this is Python {found}, expected 3.10 or newer; run it as, say: python3.12 dev.py")

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "installed.txt"
PACKAGES = ("runtime", "calibration", "export", "train")
SETUPTOOLS = "setuptools>=77"  # pyproject.toml's build-system: links are renewed with it, without a network


def run(program: str, *arguments: str) -> None:
    """Print a program of .venv with its arguments and run it; end with its exit code unless that is 0."""
    call([str((BIN / program).relative_to(ROOT)), *arguments])


def call(command: list[str], hint: str = "") -> None:
    """Print and run `command` in the root; end with `hint` and its exit code unless that is 0."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    if code:
        print(f"\ndev.py: {hint or command[0] + ' failed'} (exit code {code})", file=sys.stderr)
        sys.exit(code)


def make_venv() -> None:
    """Make .venv: the system's Python may refuse to install packages (PEP 668), and should be left alone."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        sys.exit(
            f"dev.py: {sys.executable} lacks venv or ensurepip, which come with most Pythons; "
            "on Debian and Ubuntu install them with: apt install python3-venv"
        )
    if VENV.exists() and not STAMP.exists():
        sys.exit(f"dev.py: {VENV} was made by something else or only in part; delete it and run this again")
    call([sys.executable, "-m", "venv", "--clear", ".venv"], hint="the virtual environment could not be made")


def pip_install(*arguments: str) -> None:
    call(
        [str(PYTHON.relative_to(ROOT)), "-m", "pip", "install", "--disable-pip-version-check", *arguments],
        hint="pip could not install; if it could not reach a package index, connect this machine, or point "
        "pip at a mirror (PIP_INDEX_URL) or a folder of wheels (PIP_FIND_LINKS)",
    )


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def install(extra: str) -> None:
    """Bring .venv up to date: `extra` is "" for the runtime alone or "dev" for everything.

    The editable install is a tree of links, one a file: a new file can be imported only once the links are
    renewed, which is quick and needs no network. The stamp says in lines what .venv holds.
    """
    root = f"root {ROOT}"  # the scripts of a virtual environment name its place, so it cannot be moved
    asked = digest(*((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")))
    files = {str(file) for name in PACKAGES for file in (ROOT / name).rglob("*.*") if file.suffix != ".pyc"}
    links = "links " + digest(*(name.encode() for name in sorted(files)))

    have = set(STAMP.read_text().splitlines()) if STAMP.exists() and PYTHON.exists() else set()
    packages = have & {f"packages {extra} {asked}", f"packages dev {asked}"}
    if packages and {root, links} <= have and any((ROOT / "build").glob("__editable__*")):
        return
    if root not in have:
        make_venv()
        packages = set()
    STAMP.write_text(root)  # and no more until the end: an installation cut short must not count
    if packages:
        pip_install("--quiet", "--no-deps", "--no-build-isolation", "--editable", ".")
    else:
        pip_install("--constraint", "constraints.txt", SETUPTOOLS, "--editable", f".[{extra}]" if extra else ".")
        packages = {f"packages {extra} {asked}"}
    STAMP.write_text("\n".join([root, *sorted(packages), links]))


def examples() -> None:
    install("")
    run("fsr-run", "--input", "examples", "--output", "out/examples")
    print(f"\nThe pictures are in {ROOT / 'out' / 'examples'}")


def test(pytest_arguments: list[str]) -> None:
    install("dev")
    run("ruff", "check", ".")
    run("ruff", "format", "--check", ".")
    run("lint-imports")
    run("pyright", "--pythonpath", str(PYTHON))
    run("pytest", *pytest_arguments)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="python3 dev.py COMMAND",
    )
    parser.add_argument("command", choices=["examples", "test"], help="see above")
    arguments, rest = parser.parse_known_args()
    if arguments.command == "test":
        test(rest)
    elif rest:
        parser.error(f"examples takes no arguments, got: {shlex.join(rest)}")
    else:
        examples()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
