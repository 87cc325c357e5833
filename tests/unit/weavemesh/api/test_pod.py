"""What goes over the local API about the exposed host, and that each question finds its answer."""

from pathlib import Path

import pytest

from tests.unit.weavemesh.api.test_ring import asked
from weavemesh.api.client import ApiClient
from weavemesh.api.message import Changed
from weavemesh.api.pod import Exposed, ExposeRequest
from weavemesh.error import UserError


def test_a_host_is_exposed_under_an_address_that_is_asked_for_or_any(tmp_path: Path) -> None:
    assert asked(tmp_path, lambda agent: agent.expose(ExposeRequest())) == Exposed(addresses=("10.32.0.9",))
    wanted = ExposeRequest(address="10.32.0.7")
    assert asked(tmp_path, lambda agent: agent.expose(wanted)) == Exposed(addresses=("10.32.0.7",))
    assert asked(tmp_path, lambda agent: (agent.expose(wanted), agent.hide())[1]) == Changed(
        sentences=("this host has 10.32.0.7 no longer",)
    )
    assert asked(tmp_path, lambda agent: agent.hide()) == Changed()


def test_a_refusal_comes_with_its_remedy(tmp_path: Path) -> None:
    def question(agent: ApiClient) -> object:
        with pytest.raises(UserError, match="not in the range; ask for another"):
            agent.expose(ExposeRequest(address="192.0.2.1"))
        return None

    assert asked(tmp_path, question) is None
