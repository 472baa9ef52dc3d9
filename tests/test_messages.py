"""What comes from files reaches the terminal as one line of plain text."""

import pytest

from data.messages import plain, tell
from training.command import explain


def test_a_message_is_one_line_that_rewrites_nothing():
    name = "a\nerror: done\x1b[31m\r\x9b\u202e\udc80.jpg"
    assert plain(name) == r"a error: done\x1b[31m \x9b\u202e\udc80.jpg"
    assert plain("größe 数 é") == "größe 数 é"


def test_a_long_message_keeps_its_ends():
    text = plain("first " + "x" * 10**6 + " last")
    assert len(text) < 1100
    assert text.startswith("first ") and text.endswith(" last")
    assert "[999,011 characters]" in text


@pytest.mark.parametrize("error", [ValueError, FloatingPointError])
def test_an_error_is_explained_in_plain_text(error):
    with pytest.raises(error) as raised:
        raise error("key \x1b[2J" + "k" * 10**6)
    text = explain(raised.value)
    assert "\x1b" not in text and len(text) < 1100


def test_what_is_told_is_plain(capfd):
    tell("skipped a\x1b[31m\n.jpg")
    assert capfd.readouterr().err == "skipped a\\x1b[31m .jpg\n"
