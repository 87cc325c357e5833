"""A log line is one line of key=value, whatever is in it, and never shows bytes."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from weavemesh.error import UserError
from weavemesh.logs import Event, configure, log


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for handler in handlers:
        root.removeHandler(handler)
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def logged(path: Path, **fields: object) -> str:
    configure(file=path)
    log(logging.INFO, Event.LINK_OPENED, **fields)
    return path.read_text()


def test_an_event_is_one_line_of_fields(tmp_path: Path) -> None:
    line = logged(tmp_path / "log", peer="abcd", link=3, rtt_s=0.0123, reason="no route", none=None, empty="")
    moment, _, rest = line.partition(" ")
    assert moment.startswith("time=2")
    assert moment.endswith("Z")
    assert rest == 'level=info event=link-opened peer=abcd link=3 rtt_s=0.012 reason="no route" empty=""\n'


def test_no_value_makes_a_second_line_or_an_escape_sequence(tmp_path: Path) -> None:
    text = logged(tmp_path / "log", reason='a "b"\nevent=forged \x1b[31m\\', traceback="x" * 10_000)
    assert text.count("\n") == 1
    assert r'reason="a \"b\"\nevent=forged \x1b[31m\\"' in text
    assert len(text) < 3000


def test_bytes_are_never_shown(tmp_path: Path) -> None:
    assert "hunter2" not in logged(tmp_path / "log", key=b"hunter2")


def test_exceptions_and_libraries_stay_on_one_line(tmp_path: Path) -> None:
    configure(file=tmp_path / "log")
    logging.getLogger("asyncio").info("not worth a line")
    try:
        raise ValueError("of ours")
    except ValueError:
        logging.getLogger("asyncio").warning("it broke", exc_info=True)
    text = (tmp_path / "log").read_text()
    assert text.count("\n") == 1
    assert 'level=warning logger=asyncio message="it broke" traceback="Traceback' in text


def test_the_level_is_chosen_and_an_unknown_one_is_wrong_usage(tmp_path: Path) -> None:
    configure(level="warning", file=tmp_path / "log")
    log(logging.INFO, Event.LINK_OPENED)
    assert (tmp_path / "log").read_text() == ""
    with pytest.raises(UserError, match="debug, info, warning, error") as failure:
        configure(level="loud")
    assert failure.value.exit_status == 2
    with pytest.raises(UserError, match="cannot write the log"):
        configure(file=tmp_path / "none" / "log")
