"""What is remembered of a cluster comes back whole, or is refused."""

from pathlib import Path

import pytest

from weavemesh.error import UserError
from weavemesh.kube.memory import FILE, Memory, recall
from weavemesh.store import StateFolder, seal

MEMORY = Memory(cluster="c", founder="n1", targets=("10.0.0.2",), advertised=("198.51.100.1",))


def test_it_comes_back(tmp_path: Path) -> None:
    with StateFolder.open(tmp_path) as folder:
        assert recall(folder) is None
        MEMORY.keep(tmp_path)
        assert recall(folder) == MEMORY
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{}", seal(b"{}"), seal(b"\xff")])
def test_what_is_damaged_is_refused_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    with StateFolder.open(tmp_path) as folder:
        (tmp_path / FILE).touch(mode=0o600)
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(UserError, match=FILE):
            recall(folder)
