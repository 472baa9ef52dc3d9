"""Chromium, to open the pages that the commands write."""

import base64
import contextlib
import json
import os
import shutil
import subprocess

import pytest


def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no Chromium is installed")
    return found


def opened(page, folder, *flags):
    """Opens a page, and checks that its console has no error.

    Args:
      page: its file.
      folder: an empty one, for the browser.
      flags: more of Chromium's.

    Returns:
      What the page has become, as HTML, and the file of a picture of it.
    """
    picture = folder / "page.png"
    done = subprocess.run(
        [
            *(chromium(), "--headless", "--no-sandbox", "--enable-logging=stderr", *flags),
            *(f"--user-data-dir={folder / 'chromium'}", "--window-size=1200,4000"),
            *(f"--screenshot={picture}", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    return done.stdout, picture


class Driven:
    """A page that is pointed at and typed into, by the Chrome DevTools Protocol over two pipes; see `driven`."""

    def __init__(self, folder):
        there, self.commands = os.pipe()
        self.answers, back = os.pipe()
        command = [
            *(chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--remote-debugging-pipe", f"--user-data-dir={folder / 'chromium'}"),
        ]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{there} 4>&{back}', "bash", *command, "about:blank"],
            pass_fds=(there, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(there)
        os.close(back)
        self.last, self.session, self.rest, self.errors = 0, {}, b"", []

    def open(self, page):
        """Attaches to the browser's page, and goes to a file."""
        pages = self.ask("Target.getTargets")["targetInfos"]
        [target] = [one["targetId"] for one in pages if one["type"] == "page"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": session["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.go(page.as_uri())

    def go(self, address):
        """Opens an address, and waits until the page has said that it is ready."""
        self.ask("Page.navigate", url=address)
        while not self.run("document.documentElement?.dataset.ready !== undefined"):
            assert self.process.poll() is None and not self.errors, self.errors

    def ask(self, method, **parameters):
        """Returns what a method of the protocol answers, and keeps the page's errors and requests that come first."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters} | self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                more = os.read(self.answers, 2**20)
                assert more, "Chromium has ended"
                self.rest += more
            text, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(text)
            told = answer.get("params", {})
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(told["exceptionDetails"])
            if answer.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
                self.errors.append(told["entry"])
            if answer.get("method") == "Runtime.consoleAPICalled" and told["type"] == "error":
                self.errors.append(told)
            if answer.get("method") == "Network.requestWillBeSent":
                address = told["request"]["url"]
                if not address.startswith(("file:", "data:", "blob:")):
                    self.errors.append(address)
            if answer.get("id") == self.last:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script):
        """Returns the value of an expression of JavaScript."""
        done = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)})?.textContent")

    def point(self, selector, click=False, x=0.5, y=0.5):
        """Points at a place of an element, from 0 to 1 of its sides, and clicks where that is wanted."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({ block: 'center' }); return e.getBoundingClientRect().toJSON(); })()"
        )
        where = {"x": box["left"] + x * box["width"], "y": box["top"] + y * box["height"]}
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", **where)
        for kind in ("mousePressed", "mouseReleased") if click else ():
            more = {"button": "left", "clickCount": 1}
            self.ask("Input.dispatchMouseEvent", type=kind, **where, **more)

    def press(self, *keys):
        """Presses keys, by their names in the browser, such as "ArrowDown"."""
        codes = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39}
        codes |= {"ArrowDown": 40, "Tab": 9}
        for key in keys:
            named = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
            for kind in ("keyDown", "keyUp"):
                self.ask("Input.dispatchKeyEvent", type=kind, **named)

    def resize(self, width, height, dark=False):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[feature])

    def picture(self, file, whole=True):
        """Saves a picture of the page, or of what the window shows of it, as a PNG."""
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        self.process.terminate()
        self.process.wait()
        os.close(self.commands)
        os.close(self.answers)


@contextlib.contextmanager
def driven(page, folder):
    """Opens a page to drive it; the arguments are those of `opened`."""
    browser = Driven(folder)
    try:
        browser.open(page)
        yield browser
    finally:
        browser.close()
