"""The report over the wire: programs read it, also those of another release."""

import msgspec
import pytest

from tests.unit.weavemesh.sample import ailing_report, sound_report
from weavemesh.status import StatusReport


@pytest.mark.parametrize("report", [sound_report(), ailing_report()])
def test_json_gives_back_what_was_put_in(report: StatusReport) -> None:
    assert msgspec.json.decode(msgspec.json.encode(report), type=StatusReport) == report


def test_fields_of_a_newer_agent_are_skipped() -> None:
    values = msgspec.json.decode(msgspec.json.encode(sound_report()))
    values["weather"] = "fine"
    values["agent"]["mood"] = "good"
    assert msgspec.convert(values, StatusReport) == sound_report()


def test_durations_and_sizes_say_their_unit_in_their_name() -> None:
    flat = msgspec.json.encode(sound_report()).decode()
    for name in ("uptime_s", "memory_bytes", "last_seen_s", "last_handshake_s", "rtt_ms", "since_s", "rx_bytes"):
        assert f'"{name}":' in flat
