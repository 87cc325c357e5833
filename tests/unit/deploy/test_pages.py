"""What the pages on Kubernetes and on Weave Net name is what there is."""

import re
from pathlib import Path

import pytest

from tests.unit.weavemesh.sample import ailing_report
from weavemesh.metrics.family import families
from weavemesh.option import Options, variable
from weavemesh.weavenet import translate

DOCS = Path(__file__).resolve().parents[3] / "docs"
KUBERNETES, MIGRATING = (DOCS / name for name in ("kubernetes.md", "migrating-from-weave-net.md"))


def variables_in_table() -> dict[str, str]:
    """What the page says of each variable of Weave Net."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", MIGRATING.read_text(), flags=re.MULTILINE)
    return dict(rows)


def test_every_variable_of_weave_net_is_in_the_table() -> None:
    told = {name for name in variables_in_table() if translate({name: "7"})[1]}
    assert told == set(variables_in_table())
    assert len(told) == 18


@pytest.mark.parametrize("name", sorted(variables_in_table()))
def test_the_table_says_what_becomes_of_it(name: str) -> None:
    taken, _ = translate({name: "observer"})
    assert bool(taken) == ("taken as" in variables_in_table()[name])
    for ours in taken:
        assert f"`{ours}`" in variables_in_table()[name]


def test_the_metrics_that_the_pages_name_are_served() -> None:
    served = {f"{one.name}_total" if one.kind == "counter" else one.name for one in families(ailing_report())}
    named = {
        name
        for page in (KUBERNETES, MIGRATING)
        for name in re.findall(r"\bweave(?:mesh)?_[a-z_]*[a-z]\b", page.read_text())
    }
    assert named - served == {"weave_dns_entries", "weave_flows"}


def test_the_options_that_the_pages_name_are_there() -> None:
    known = {variable(name) for name in Options.__struct_fields__}
    for page in (KUBERNETES, MIGRATING):
        assert set(re.findall(r"\bWEAVEMESH_[A-Z_]*[A-Z]\b", page.read_text())) <= known


def test_the_links_between_the_pages_lead_somewhere() -> None:
    for page in (KUBERNETES, MIGRATING):
        for path, anchor in re.findall(r"\]\(([a-z-]+\.md)(?:#([a-z-]+))?\)", page.read_text()):
            headings = re.findall(r"^#+ (.+)$", (DOCS / path).read_text(), flags=re.MULTILINE)
            assert not anchor or anchor in [heading.lower().replace(" ", "-") for heading in headings]
