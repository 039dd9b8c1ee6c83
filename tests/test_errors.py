"""The error that a user can cause and mend."""

import pytest

from hpr.errors import UserError


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        ("ä.json: no such file", "ä.json: no such file"),
        ("found a\nb", r"found a\nb"),
        ("found a\u2028b\x00", r"found a\u2028b\x00"),
        ("found \ud800", r"found \ud800"),
        ("x" * 9000, "x" * 1400 + "…"),
    ],
)
def test_it_is_one_line_that_can_be_shown(message: str, line: str) -> None:
    assert str(UserError(message)) == line
