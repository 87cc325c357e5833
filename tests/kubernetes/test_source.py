"""Where the source comes from is read from the machine's own lists of packages."""

import pytest

from tests.kubernetes.source import source_lines

ONE_LINE = "deb [signed-by=/a.gpg] http://mirror.test/debian stable main contrib\n# deb http://old.test/debian x main\n"
DEB822 = """
Types: deb
URIs: http://mirror.test/debian
Suites: stable stable-updates
Components: main
Signed-By: /a.gpg

Types: deb-src
URIs: http://source.test/debian
Suites: stable

Types: deb
URIs: http://other.test/software
Suites: any
Components: main
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ONE_LINE, ["deb-src http://mirror.test/debian stable main contrib"]),
        (
            DEB822,
            [
                "deb-src http://mirror.test/debian stable main",
                "deb-src http://mirror.test/debian stable-updates main",
            ],
        ),
        ("", []),
    ],
)
def test_lists_of_either_form_lead_to_debians_source_only(text: str, found: list[str]) -> None:
    assert list(source_lines(text)) == found
