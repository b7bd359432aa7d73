"""`python -m sandbox.picture URL OUT.png`: a picture of a page, taken by headless Chromium."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "No Chromium was found. Install one: `apt-get install chromium` (Debian, Ubuntu), "
    "`dnf install chromium` (Fedora), `brew install --cask chromium` (macOS)."
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
LONGEST = 60  # seconds


class PictureError(Exception):
    """The picture could not be taken; the text says what to do."""


def browser() -> str:
    """The path of a Chromium; PictureError, with how to install one, when there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        raise PictureError(MISSING)
    return found


@dataclass(frozen=True, slots=True)
class Size:
    """A picture's size in CSS pixels, and how many of its own pixels each of them has."""

    width: int = 1280
    height: int = 800
    scale: float = 2.0


def command(program: str, url: str, out: Path, profile: str, size: Size) -> list[str]:
    """The command line that takes the picture, with a profile of its own."""
    return [
        program,
        *FLAGS,
        f"--user-data-dir={profile}",
        f"--window-size={size.width},{size.height}",
        f"--force-device-scale-factor={size.scale}",
        f"--screenshot={out.resolve()}",
        url,
    ]


def take(url: str, out: Path, size: Size = Size()) -> None:
    """Write a PNG of the page at `url`. PictureError when that fails."""
    program = browser()
    out.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        line = command(program, url, out, profile, size)
        try:
            ran = subprocess.run(line, capture_output=True, text=True, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired:
            raise PictureError(f"{program} took longer than {LONGEST} s") from None
    if not out.is_file():
        raise PictureError(f"{program} wrote no picture: {ran.stderr.strip()[-500:]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Take a picture. Exit code 0, or 1 with the reason."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.picture", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--scale", type=float, default=2.0, help="pixels of the picture per pixel")
    options = parser.parse_args(arguments)
    try:
        take(options.url, options.out, Size(options.width, options.height, options.scale))
    except PictureError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
