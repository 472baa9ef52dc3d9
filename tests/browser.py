"""Chromium, to open the pages that the commands write."""

import shutil
import subprocess

import pytest


def opened(page, folder, *flags):
    """Opens a page, and checks that its console has no error.

    Args:
      page: its file.
      folder: an empty one, for the browser.
      flags: more of Chromium's.

    Returns:
      What the page has become, as HTML, and the file of a picture of it.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium is installed")
    picture = folder / "page.png"
    done = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--enable-logging=stderr", *flags),
            *(f"--user-data-dir={folder / 'chromium'}", "--window-size=1200,4000"),
            *(f"--screenshot={picture}", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    return done.stdout, picture
