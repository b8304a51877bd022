"""Make the README's pictures of the program at work.

python -m scripts.screenshots [--out samples]

terminal.svg shows the terminal during a real job; preview_page.png shows the page that `vidx4 preview` writes
for a real clip, in Chromium, which must be installed.
"""

import argparse
import io
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

CLIP = Path("samples/london.mp4")
COLUMNS = 104
PAGE_SIZE = {"width": 1200, "height": 900}


def main() -> None:
    """Parse the arguments and make both pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("samples"))
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = Path(shutil.copy(CLIP, folder))
        (out / "terminal.svg").write_text(terminal_picture(folder))
        write_page_picture(clip, out / "preview_page.png")


def terminal_picture(folder: Path) -> str:
    """Return the terminal after a job, as SVG."""
    command = ["vidx4", "upscale", CLIP.name, "--stop", "0.4"]
    shown = _final_screen(_run_in_terminal(command, folder))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(f"$ {shlex.join(command)}\n{shown}"))
    return _without_fonts(console.export_svg(title="vidx4"))


def _run_in_terminal(command: list[str], folder: Path) -> str:
    """Run the program in a pseudo-terminal; return all its output."""
    program = [sys.executable, "-m", *command]
    process, master = pty.fork()
    if process == 0:
        os.chdir(folder)
        os.environ |= {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
        os.execv(program[0], program)
    written = b""
    while chunk := _read(master):
        written += chunk
    if os.waitpid(process, 0)[1]:
        raise RuntimeError(f"{shlex.join(command)} failed: {written.decode()}")
    return written.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux raises EIO at the end
        return b""


def _final_screen(written: str) -> str:
    """Return the lines that are left on the screen: of a line that was overwritten, the last version."""
    lines = (re.split(r"\r|\x1b\[2K", line.rstrip("\r"))[-1] for line in written.split("\n"))
    return "\n".join(
        re.sub(r"\x1b\[\?25[lh]|\x1b\[\d*A", "", line) for line in lines if "transformers" not in line
    )


def _without_fonts(svg: str) -> str:
    """Remove the fonts, which a reader would have to download."""
    return re.sub(r"@font-face\s*{.*?}", "", svg, flags=re.DOTALL)


def write_page_picture(clip: Path, png: Path) -> None:
    """Write a picture of the preview page of a clip with two settings."""
    flags = ["--samples", "3", "--duration", "0.1", "--sweep", "steps=1,4"]
    subprocess.run([sys.executable, "-m", "vidx4", "preview", str(clip), *flags, "--quiet"], check=True)
    written = clip.with_name(f"{clip.stem}_x4_preview.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport=PAGE_SIZE)  # type: ignore[arg-type]
        tab.goto(written.as_uri())
        tab.wait_for_selector("#stage[data-shown]")
        tab.keyboard.press("2")
        tab.wait_for_selector('#stage[data-shown="0 0 2"]')
        tab.screenshot(path=png)
        browser.close()
    with Image.open(png) as picture:  # a palette: a third of the size, and no difference at a glance
        picture.quantize(256).save(png, optimize=True)


if __name__ == "__main__":
    main()
