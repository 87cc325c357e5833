"""`weavemesh kubernetes`: the probes tell by their exit status, and a node is cleaned in an order that pods survive."""

import time
from pathlib import Path

import pytest

from tests.unit.weavemesh.program import starting
from weavemesh.cli import cni, down, kubernetes
from weavemesh.cli.main import main
from weavemesh.kernel import removal

FOLDERS = ("--run-dir", "--state-dir", "--bin-dir", "--conf-dir")


@pytest.mark.parametrize(("behaviour", "alive", "ready"), [("ready", 0, 0), ("waits", 0, 1), ("removed", 0, 1)])
def test_probes_tell_by_their_status(tmp_path: Path, behaviour: str, alive: int, ready: int) -> None:
    with starting(behaviour, tmp_path):
        run = ["--run-dir", str(tmp_path / "run")]
        while main(["kubernetes", "alive", *run]) == 3:
            time.sleep(0.02)
        assert main(["kubernetes", "alive", *run]) == alive
        assert main(["kubernetes", "ready", *run]) == ready


@pytest.mark.parametrize("probe", ["alive", "ready"])
def test_without_an_agent_the_probes_fail(tmp_path: Path, probe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kubernetes", probe, "--run-dir", str(tmp_path)]) == 3
    assert "no weavemesh agent runs here" in capsys.readouterr().err


def test_the_executables_stay_as_long_as_there_are_pods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plugin").write_bytes(b"WMC1")
    (tmp_path / "10-weavemesh.conflist").write_text('{"plugins": [{"type": "weavemesh"}]}')
    monkeypatch.setattr(cni, "EXECUTABLES", (tmp_path / "plugin",))
    monkeypatch.setattr(cni, "CONFIGURATIONS", (tmp_path / "10-weavemesh.conflist",))
    binary, config = tmp_path / "bin" / "weavemesh", tmp_path / "conf" / "10-weavemesh.conflist"
    retired = config.with_name(cni.RETIRED)
    cni.install_executables(binary.parent)
    chain, _ = cni.companions(binary.parent)
    cni.install_configuration(config.parent, force=True, chain=chain)
    pods = [2, 1, 0]

    async def pods_left() -> int:
        # Another network goes first from now on; and those that are there can be deleted.
        assert not config.exists() and retired.read_text() and binary.exists()
        return pods.pop(0)

    def forget(_: object) -> list[str]:
        assert not pods and binary.exists() and not retired.exists()
        return ["removed the tunnel device wm0"]

    monkeypatch.setattr(removal, "pods_left", pods_left)
    monkeypatch.setattr(down, "forget", forget)
    monkeypatch.setattr(kubernetes, "PODS_LOOK_S", 0.01)
    monkeypatch.setattr(cni, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "weavemesh-1-eth0").write_text('{"networkName": "weavemesh"}')
    places = [str(tmp_path / name) for name in ("run", "state", "bin", "conf")]
    words = [word for pair in zip(FOLDERS, places, strict=True) for word in pair]
    assert main(["kubernetes", "uninstall", *words]) == 0
    assert not binary.exists() and not list((tmp_path / "results").iterdir())
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "this node is clean"
    assert told.err.splitlines() == [
        "waiting for 2 pods of this node to be deleted",
        "waiting for 1 pod of this node to be deleted",
    ]
