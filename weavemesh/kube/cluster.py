"""Speaks with the API server through the official client; blocking, for threads. The only module here that does.

Objects come as the server's JSON and are read with the few fields that are needed: the client's own classes for them
take several times the memory and are another set for each release of Kubernetes. Addresses, credentials, their
renewal, TLS, proxies and timeouts are the client's. Verbs and objects are those that `deploy/kubernetes` grants.
"""

import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from weavemesh.kube import charter
from weavemesh.kube.charter import Charter, ConfigMap
from weavemesh.kube.node import NodeEvent, NodeList

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from kubernetes.client.rest import RESTResponse

CONNECT_S: Final = 3.0
ANSWER_S: Final = 15.0
WATCH_S: Final = 120
"""The server ends a watch after this time; so a connection that died silently is noticed."""
EVENT_BYTES_MAX: Final = 16 << 20
"""A Node is some 10 KiB; etcd takes no object above 1.5 MiB."""

_NODES: Final = "/api/v1/nodes"
_MERGE_PATCH: Final = "application/merge-patch+json"  # RFC 7396

AnswerT = TypeVar("AnswerT")


class ClusterError(Exception):
    """The API server cannot be reached, or refuses. The text is a sentence's second half."""


class Conflict(ClusterError):
    """Another was quicker: the object exists already, or is not the version that was read any more."""


class Gone(ClusterError):
    """The version to go on from is too old (HTTP 410): list again."""


class Missing(ClusterError):
    """There is no such object."""


class Cluster:
    """The API server of one cluster."""

    def __init__(self, client: "ApiClient") -> None:
        self._client = client

    @classmethod
    def of_this_pod(cls) -> "Cluster":
        """By what Kubernetes gives to each pod. ClusterError where that is missing."""
        # Late: the client takes some 25 MiB, and agents outside Kubernetes need none of it.
        from kubernetes.client import ApiClient, Configuration
        from kubernetes.config import ConfigException, load_incluster_config

        configuration = Configuration()
        try:
            load_incluster_config(configuration)
        except ConfigException as error:
            raise ClusterError(f"this is no pod of Kubernetes ({error})") from error
        configuration.retries = False  # we have our own, with back-off
        return cls(ApiClient(configuration))

    def nodes(self) -> NodeList:
        """All nodes, as they are in the store now. ClusterError."""
        return self._read("GET", _NODES, NodeList)

    def watch(self, version: str) -> Iterator[NodeEvent]:
        """What happens to nodes after a version, as it happens, for up to WATCH_S. Gone, ClusterError."""
        query = f"?watch=1&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}"
        answer = self._ask("GET", _NODES + query, read_s=WATCH_S + ANSWER_S)
        try:
            for line in _lines(answer):
                event = msgspec.json.decode(line, type=NodeEvent)
                if event.type == "ERROR":
                    raise Gone("it has forgotten what was there before")
                yield event
        except msgspec.DecodeError as error:
            raise ClusterError(f"it sends what is no event ({error})") from error
        except (OSError, _http_error()) as error:
            raise ClusterError(f"it broke off ({_reason(error)})") from error
        finally:
            answer.response.close()

    def charter(self, namespace: str) -> Charter | None:
        """The charter; None if there is none. ClusterError."""
        try:
            return self._read("GET", f"{_config_maps(namespace)}/{charter.NAME}", ConfigMap).charter()
        except Missing:
            return None

    def found(self, *, founder: str, node: str, namespace: str) -> Charter:
        """Write the charter where there is none. Conflict if there is one; ClusterError."""
        return self._write("POST", _config_maps(namespace), founder=founder, node=node, namespace=namespace)

    def found_anew(self, before: Charter, *, founder: str, node: str, namespace: str) -> Charter:
        """Write another charter in the place of this very one. Conflict if it is another by now; ClusterError."""
        path = f"{_config_maps(namespace)}/{charter.NAME}"
        return self._write("PUT", path, founder=founder, node=node, namespace=namespace, version=before.version)

    def annotate(self, node: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations of a node; None removes one. ClusterError."""
        self._ask("PATCH", f"{_NODES}/{node}", {"metadata": {"annotations": dict(annotations)}}).read()

    def network_is_available(self, node: str) -> None:
        """Clear the condition that clouds give to nodes without routes of theirs: our network is up. ClusterError."""
        condition = {
            "type": "NetworkUnavailable",
            "status": "False",
            "reason": "WeavemeshIsUp",
            "message": "weavemesh is running on this node",
        }
        # Conditions are merged by their type in a strategic patch; a merge patch would replace all of them.
        kind = "application/strategic-merge-patch+json"
        self._ask("PATCH", f"{_NODES}/{node}/status", {"status": {"conditions": [condition]}}, kind=kind).read()

    def close(self) -> None:
        """Let go of all connections."""
        self._client.close()

    def _write(
        self, method: str, path: str, *, founder: str, node: str, namespace: str, version: str | None = None
    ) -> Charter:
        body = charter.written(founder=founder, node=node, namespace=namespace, version=version)
        written = self._read(method, path, ConfigMap, body).charter()
        if written is None:
            raise ClusterError("it did not keep what was written")
        return written

    def _read(self, method: str, path: str, answer: type[AnswerT], body: object = None) -> AnswerT:
        content = self._ask(method, path, body).read()
        try:
            return msgspec.json.decode(content, type=answer)
        except msgspec.DecodeError as error:
            raise ClusterError(f"its answer cannot be understood ({error})") from error

    def _ask(
        self, method: str, path: str, body: object = None, *, kind: str = _MERGE_PATCH, read_s: float = ANSWER_S
    ) -> "RESTResponse":
        headers = {"Accept": "application/json"} | ({"Content-Type": kind} if method == "PATCH" else {})
        request = self._client.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            answer = self._client.call_api(*request, _request_timeout=(CONNECT_S, read_s))
            if answer.status < 300:
                return answer
            told = _told(answer.read())
        except (OSError, _http_error(), _api_error()) as error:
            raise ClusterError(f"it cannot be reached ({_reason(error)})") from error
        kinds: dict[int, type[ClusterError]] = {404: Missing, 409: Conflict, 410: Gone}
        raise kinds.get(answer.status, ClusterError)(f"it answers {method} {path.partition('?')[0]} with {told}")


class _Status(msgspec.Struct):
    """metav1.Status: how the API server explains a refusal."""

    message: str = ""
    code: int = 0


def _told(content: bytes) -> str:
    try:
        status = msgspec.json.decode(content, type=_Status)
    except msgspec.DecodeError:
        return "something that is no answer of Kubernetes"
    return f"{status.code}: {status.message}"


def _lines(answer: "RESTResponse") -> Iterator[bytes]:
    """The lines of an answer as they come."""
    rest = b""
    for chunk in answer.response.stream(amt=None, decode_content=True):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > EVENT_BYTES_MAX:
            raise ClusterError("it sends an event without an end")
        yield from (line for line in lines if line)


def _config_maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def _http_error() -> type[Exception]:
    from urllib3.exceptions import HTTPError

    return HTTPError


def _api_error() -> type[Exception]:
    from kubernetes.client.exceptions import ApiException

    error: type[Exception] = ApiException
    return error


def _reason(error: Exception) -> str:
    """The innermost cause, which is what people can do something about."""
    cause: BaseException = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    if isinstance(cause, socket.timeout):
        return "no answer in time"
    return (getattr(cause, "strerror", None) or str(cause) or type(cause).__name__).splitlines()[0]
