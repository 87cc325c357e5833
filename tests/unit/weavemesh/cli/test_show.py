"""`weavemesh status` of a real socket: text, JSON, exit status."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from tests.unit.weavemesh.sample import SampleAgent, ailing_report, sound_report
from weavemesh import status_text
from weavemesh.api.message import SOCKET_NAME
from weavemesh.api.server import ApiServer
from weavemesh.cli.main import main
from weavemesh.status import StatusReport


def shown(folder: Path, report: StatusReport, *words: str) -> int:
    """The exit status of `weavemesh status` where an agent answers with this report."""

    async def run() -> int:
        listening = ApiServer.open(folder / SOCKET_NAME)
        try:
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(listening.serve(SampleAgent(state=report)))
                status = await asyncio.to_thread(main, ["status", *words, "--run-dir", str(folder)])
                serving.cancel()
        finally:
            listening.close()
        return status

    return asyncio.run(run())


@pytest.mark.parametrize(("report", "status"), [(sound_report(), 0), (ailing_report(), 1)])
def test_the_exit_status_is_the_verdict(
    tmp_path: Path, report: StatusReport, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(tmp_path, report) == status
    assert capsys.readouterr().out == status_text.overview(report)
    assert shown(tmp_path, report, "--json") == status
    assert msgspec.json.decode(capsys.readouterr().out, type=StatusReport) == report


@pytest.mark.parametrize("part", ["peers", "connections", "targets", "ipam", "pods"])
def test_every_part_has_its_text_and_its_json(tmp_path: Path, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = sound_report()
    assert shown(tmp_path, report, part) == 0
    assert capsys.readouterr().out == getattr(status_text, part)(report)
    assert shown(tmp_path, report, part, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    whole = json.loads(msgspec.json.encode(report))
    assert values == whole.get(part, whole["router"].get(part))
