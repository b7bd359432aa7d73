"""Builds what Lambda would run, for the Python that runs functions in the sandbox.

`make -C src` does it, as it does for `sam build`. The libraries take seconds to install, so they
are kept under .cache/ for as long as their lock file, the makefile and the Python stay the same;
the program itself is put in freshly each time.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from sandbox.account.process import ROOT, SandboxError, sandbox_python

SRC = ROOT / "src"
CACHE = ROOT / ".cache" / "sandbox"
PROGRAM = ("notifier", "templates")


def build() -> bytes:
    """Return the zip of the program and its libraries; raise SandboxError when make fails."""
    libraries = CACHE / f"libraries-{_fingerprint()}.zip"
    if not libraries.exists():
        _build_libraries(libraries)
    with tempfile.TemporaryDirectory() as folder:
        artefact = Path(shutil.copy(libraries, folder))
        _add_program(artefact)
        return artefact.read_bytes()


def _fingerprint() -> str:
    python = sandbox_python().resolve()
    inputs = [
        str(python).encode(),
        *(_content(SRC / name) for name in ("Makefile", "requirements.txt")),
    ]
    return hashlib.sha256(b"\0".join(inputs)).hexdigest()[:16]


def _content(path: Path) -> bytes:
    if not path.exists():
        raise SandboxError(f"{path} is not there")
    return path.read_bytes()


def _build_libraries(wanted: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        built = Path(folder) / "artefact"
        _make(built)
        for name in PROGRAM:
            shutil.rmtree(built / name)
        _compile(built)
        archive = Path(folder) / "libraries.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archived:
            _add(archived, built, built)
        os.replace(archive, wanted)  # whole or not at all, should two of us build at once


def _make(folder: Path) -> None:
    settings = [f"ARTIFACTS_DIR={folder}", "PLATFORMS=host", f"PYTHON={sandbox_python()}"]
    command = ["make", "--silent", "-C", str(SRC), "build-EventsFunction", *settings]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise SandboxError(f"{' '.join(command)} failed:\n{made.stdout}{made.stderr}")


def _compile(folder: Path) -> None:
    # Saves every function process the second it would take; valid whatever time unpacking gives.
    options = ["-q", "-j0", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([sandbox_python(), "-m", "compileall", *options, folder], check=True)


def _add_program(artefact: Path) -> None:
    with zipfile.ZipFile(artefact, "a", zipfile.ZIP_DEFLATED) as archived:
        for name in PROGRAM:
            _add(archived, SRC / name, SRC, leave_out="__pycache__")


def _add(archived: zipfile.ZipFile, folder: Path, root: Path, leave_out: str = "") -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and leave_out not in path.parts:
            archived.write(path, path.relative_to(root))
