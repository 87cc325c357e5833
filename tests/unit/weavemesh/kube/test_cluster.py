"""The official client speaks with a server over HTTP: what is asked, and what is made of the answers."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import incluster_config

from tests.kubernetes.pki import Authority
from weavemesh.kube.cluster import Cluster, ClusterError, Conflict, Gone
from weavemesh.kube.node import PEER

CHARTER = (
    b'{"metadata": {"name": "weavemesh", "uid": "u1", "resourceVersion": "7"}, "data": {"founder": "p1", "node": "n1"}}'
)
CONFIG_MAP = "/api/v1/namespaces/weavemesh/configmaps/weavemesh"


class Server(ThreadingHTTPServer):
    """Answers each request with the next prepared answer and remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[tuple[str, str, str | None, object]] = []
        self.tokens: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = msgspec.json.decode(self.rfile.read(length)) if length else None
        self.server.asked.append((self.command, self.path, self.headers.get("Content-Type"), body))
        self.server.tokens.append(self.headers.get("Authorization"))
        status, content = self.server.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = answer

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def serving(*answers: tuple[int, bytes], tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    with Server() as server:
        server.answers = list(answers)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def cluster_of(*answers: tuple[int, bytes]) -> Iterator[tuple[Cluster, Server]]:
    with serving(*answers) as server:
        configuration = Configuration()
        configuration.host = f"http://127.0.0.1:{server.server_address[1]}"
        configuration.retries = False
        cluster = Cluster(ApiClient(configuration))
        try:
            yield cluster, server
        finally:
            cluster.close()


def refusal(code: int, message: str) -> tuple[int, bytes]:
    return code, msgspec.json.encode({"kind": "Status", "code": code, "message": message})


def test_nodes_and_the_charter_are_read() -> None:
    nodes = b'{"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "n1"}, "status": {}}]}'
    with cluster_of((200, nodes), (200, CHARTER), refusal(404, "not found")) as (cluster, server):
        listed = cluster.nodes()
        assert (listed.metadata.resource_version, [one.name for one in listed.items]) == ("9", ["n1"])
        charter = cluster.charter("weavemesh")
        assert charter and (charter.founder, charter.cluster, charter.version) == ("p1", "u1", "7")
        assert cluster.charter("weavemesh") is None
        assert [asked[:2] for asked in server.asked] == [
            ("GET", "/api/v1/nodes"),
            ("GET", CONFIG_MAP),
            ("GET", CONFIG_MAP),
        ]


def test_founding_names_the_version_that_it_replaces_and_a_conflict_is_told() -> None:
    with cluster_of((201, CHARTER), (200, CHARTER), refusal(409, "already exists")) as (cluster, server):
        charter = cluster.found(founder="p1", node="n1", namespace="weavemesh")
        cluster.found_anew(charter, founder="p2", node="n2", namespace="weavemesh")
        with pytest.raises(Conflict, match="409: already exists"):
            cluster.found(founder="p3", node="n3", namespace="weavemesh")
        (post, put, _) = server.asked
        assert post[:2] == ("POST", CONFIG_MAP.rpartition("/")[0])
        assert put[:2] == ("PUT", CONFIG_MAP)
        versions = [asked[3]["metadata"].get("resourceVersion") for asked in (post, put)]  # type: ignore[index]
        assert versions == [None, "7"]


def test_a_node_is_patched_without_touching_what_is_others() -> None:
    with cluster_of((200, b"{}"), (200, b"{}")) as (cluster, server):
        cluster.annotate("n1", {PEER: "abc", "gone": None})
        cluster.network_is_available("n1")
        annotation, condition = server.asked
        assert annotation[:3] == ("PATCH", "/api/v1/nodes/n1", "application/merge-patch+json")
        assert annotation[3] == {"metadata": {"annotations": {PEER: "abc", "gone": None}}}
        # Others' conditions stay only in a patch that merges lists by their keys.
        assert condition[:3] == ("PATCH", "/api/v1/nodes/n1/status", "application/strategic-merge-patch+json")
        (only,) = condition[3]["status"]["conditions"]  # type: ignore[index]
        assert (only["type"], only["status"]) == ("NetworkUnavailable", "False")


def test_a_watch_gives_events_until_the_server_ends_it() -> None:
    lines = [
        b'{"type": "ADDED", "object": {"metadata": {"name": "n2", "resourceVersion": "10"}}}',
        b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "11"}}}',
        b'{"type": "DELETED", "object": {"metadata": {"name": "n2", "resourceVersion": "12"}}}',
    ]
    with cluster_of((200, b"\n".join(lines) + b"\n")) as (cluster, server):
        events = list(cluster.watch("9"))
        assert [event.type for event in events] == ["ADDED", "BOOKMARK", "DELETED"]
        assert events[0].node().name == "n2"
        assert server.asked[0][1].startswith("/api/v1/nodes?watch=1&resourceVersion=9&allowWatchBookmarks=true")


@pytest.mark.parametrize(
    "answer",
    [(200, b'{"type": "ERROR", "object": {"kind": "Status", "code": 410}}\n'), refusal(410, "too old")],
)
def test_a_version_that_is_too_old_is_told(answer: tuple[int, bytes]) -> None:
    with cluster_of(answer) as (cluster, _), pytest.raises(Gone):
        list(cluster.watch("9"))


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((200, b"<html>"), "cannot be understood"),
        ((200, b'{"items": 7}'), "cannot be understood"),
        (refusal(403, "nodes is forbidden"), "403: nodes is forbidden"),
        ((502, b"bad gateway"), "something that is no answer of Kubernetes"),
    ],
)
def test_answers_that_are_none_are_sentences(answer: tuple[int, bytes], sentence: str) -> None:
    with cluster_of(answer) as (cluster, _), pytest.raises(ClusterError, match=sentence):
        cluster.nodes()


def test_events_that_are_none_are_sentences() -> None:
    with cluster_of((200, b"garbage\n")) as (cluster, _), pytest.raises(ClusterError, match="no event"):
        list(cluster.watch("9"))


def test_a_server_that_is_not_there_is_a_sentence() -> None:
    with cluster_of() as (cluster, _):
        pass
    with pytest.raises(ClusterError, match=r"it cannot be reached \(Connection refused\)"):
        cluster.nodes()


def test_a_token_that_the_kubelet_has_renewed_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tokens of pods end after an hour since Kubernetes 1.21; the kubelet writes another before."""
    keys = Authority(tmp_path / "pki", "127.0.0.1").folder
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(keys / "apiserver.crt", keys / "apiserver.key")
    token = tmp_path / "token"
    token.write_text("first")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(keys / "ca.crt"))
    with serving((200, CHARTER), (200, CHARTER), tls=tls) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_address[1]))
        cluster = Cluster.of_this_pod()
        assert cluster.charter("weavemesh")
        token.write_text("second")
        monkeypatch.setattr(incluster_config, "datetime", two_minutes_later())
        assert cluster.charter("weavemesh")
        cluster.close()
    assert [(told or "").split()[1] for told in server.tokens] == ["first", "second"]


def two_minutes_later() -> SimpleNamespace:
    """What the client takes for the module datetime."""
    clock = SimpleNamespace(now=lambda: datetime.now() + timedelta(minutes=2))
    return SimpleNamespace(datetime=clock, timedelta=timedelta)


def test_outside_a_pod_there_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match="this is no pod of Kubernetes"):
        Cluster.of_this_pod()
