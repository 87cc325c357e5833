"""Metrics as Prometheus gets them: from real agents, over TCP, read by Prometheus' own parser."""

import sys
from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo.lab import Machine, wait_until

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

SCRAPE = "import urllib.request, sys; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"


def scraped(asker: Machine, url: str) -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by its name and labels, as `asker` gets them."""
    text = asker.run(sys.executable, "-c", SCRAPE, url).stdout
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_another_host_scrapes_what_status_says(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    one.weavemesh("up", "--metrics-addr", "0.0.0.0:6782")
    other.weavemesh("up", "192.0.2.1")
    pod = one.add_pod("pod1")
    wait_until(lambda: one.weavemesh("status", check=False).returncode == 0, seconds=15, what="all to be well")
    found, status = scraped(other, "http://192.0.2.1:6782/metrics"), one.status()
    (peer,) = [peer for peer in status["peers"] if not peer["ourselves"]]
    label = (("peer", peer["name"]),)
    assert (
        found["weave_connections", (("encryption", "yes"), ("state", "established"), ("type", _datapath(status)))] == 1
    )
    assert found["weave_ips", (("state", "local-used"),)] == len(status["ipam"]["active"])
    assert found["weave_max_ips", ()] == 2**20
    assert found["weave_ipam_unreachable_count", ()] == 0
    assert found["weavemesh_pods", ()] == 1
    assert found["weavemesh_ok", ()] == found["weavemesh_ready", ()] == 1
    assert found["weavemesh_peers", (("tunnel", "live"),)] == 1
    assert found["weavemesh_peer_live", label] == 1
    assert found["weavemesh_peer_relayed", label] == 0
    assert found["weavemesh_peer_mtu_bytes", label] == peer["mtu"]
    assert found["weavemesh_peer_rtt_seconds", label] > 0
    assert found["weavemesh_peer_rx_bytes_total", label] > 0
    assert found["process_resident_memory_bytes", ()] > 2**20
    assert pod.ipv4 is not None


def test_links_that_end_are_counted_as_weave_net_does(pair: tuple[Machine, Machine]) -> None:
    one, other = pair
    one.weavemesh("up", "--metrics-addr", "127.0.0.1:6782")
    other.weavemesh("up", "192.0.2.1")
    assert scraped(one, "http://127.0.0.1:6782/metrics")["weave_connection_terminations_total", ()] == 0
    other.weavemesh("stop")
    wait_until(lambda: one.status()["router"]["terminations"] == 1, seconds=15, what="the link to end")
    wait_until(
        lambda: scraped(one, "http://127.0.0.1:6782/metrics")["weave_connection_terminations_total", ()] == 1,
        seconds=15,
        what="the metric to say so",
    )


def test_a_port_that_is_taken_is_one_sentence_and_leaves_nothing(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    refused = one.weavemesh("up", "--metrics-addr", "192.0.2.77:6782", check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("weavemesh: metrics cannot be served at 192.0.2.77:6782: ")
    assert "wm0" not in one.ip("-o", "link")


def test_without_the_option_nobody_listens(pair: tuple[Machine, Machine]) -> None:
    one, _ = pair
    one.weavemesh("up")
    listening = [line.split()[1] for line in one.run("cat", "/proc/net/tcp").stdout.splitlines()[1:]]
    assert [place for place in listening if place.endswith(f":{6782:04X}")] == []


def _datapath(status: Mapping[str, Mapping[str, str]]) -> str:
    return status["encryption"]["datapath"].partition(" ")[0]
