"""A runtime's library as the specification has it, Section 4 and 5: chains, cached results, DEL of what failed, GC.

It knows no plugin: it executes whatever a configuration list names, on a machine of the lab.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.demo.lab import Machine

BIN_DIR = "/opt/cni/bin"
KNOWN = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")


class CniFailed(Exception):
    """A plugin failed; `code` is what it printed, None if what it printed was no error object."""

    def __init__(self, plugin: str, command: str, status: int, stdout: str, stderr: str) -> None:
        super().__init__(f"{plugin} {command}: {status}: {stdout}{stderr}")
        try:
            self.code: int | None = json.loads(stdout)["code"]
        except (ValueError, KeyError):
            self.code = None


@dataclass
class Libcni:
    """Drives the plugins of one configuration list."""

    machine: Machine
    plugins: Sequence[Mapping[str, Any]]
    name: str = "testnet"
    version: str = "1.0.0"
    cache: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def add(
        self,
        container: str,
        netns: str,
        *,
        ifname: str = "eth0",
        capabilities: Mapping[str, object] | None = None,
        arguments: str = "",
    ) -> dict[str, Any]:
        """The result of the last plugin, kept for later. CniFailed: after a DEL, as a runtime must."""
        attachment = {
            "variables": self._variables(container, netns, ifname, arguments),
            "capabilities": dict(capabilities or {}),
            "result": None,
        }
        self.cache[container, ifname] = attachment
        try:
            for plugin in self.plugins:
                attachment["result"] = self._exec("ADD", plugin, attachment)
        except CniFailed:
            attachment["result"] = None
            self.delete(container, ifname=ifname)
            raise
        result = attachment["result"]
        assert isinstance(result, dict)
        return result

    def check(self, container: str, *, ifname: str = "eth0") -> None:
        """CniFailed if one of the plugins finds something."""
        for plugin in self.plugins:
            self._exec("CHECK", plugin, self.cache[container, ifname])

    def delete(self, container: str, *, ifname: str = "eth0", netns: str = "") -> None:
        """In reverse order, with the cached result if there is one; without, with what is known."""
        known = {"variables": self._variables(container, netns, ifname, ""), "capabilities": {}, "result": None}
        attachment = self.cache.get((container, ifname), known)
        for plugin in reversed(self.plugins):
            self._exec("DEL", plugin, attachment)
        self.cache.pop((container, ifname), None)

    def collect(self, valid: Sequence[tuple[str, str]]) -> None:
        """GC: first DELs of what is cached and not valid, then GC of each plugin."""
        for container, ifname in [key for key in self.cache if key not in valid]:
            self.delete(container, ifname=ifname)
        listed = [{"containerID": container, "ifname": ifname} for container, ifname in valid]
        # Both spellings, as the library of the specification sends them.
        more = {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}
        for plugin in self.plugins:
            self._call("GC", plugin, {}, more)

    def status(self) -> None:
        """CniFailed if one of the plugins is not ready."""
        for plugin in self.plugins:
            self._call("STATUS", plugin, {}, {})

    def _variables(self, container: str, netns: str, ifname: str, arguments: str) -> dict[str, str]:
        known = {"CNI_CONTAINERID": container, "CNI_NETNS": netns, "CNI_IFNAME": ifname, "CNI_ARGS": arguments}
        return {key: value for key, value in known.items() if value or key == "CNI_NETNS"}

    def _exec(self, command: str, plugin: Mapping[str, Any], attachment: Mapping[str, Any]) -> dict[str, Any] | None:
        wanted = plugin.get("capabilities", {})
        runtime_config = {key: value for key, value in attachment["capabilities"].items() if wanted.get(key)}
        more: dict[str, object] = {"runtimeConfig": runtime_config} if runtime_config else {}
        if attachment["result"] is not None and (command != "DEL" or self.version >= "0.4.0"):
            more["prevResult"] = attachment["result"]
        return self._call(command, plugin, attachment["variables"], more)

    def _call(
        self, command: str, plugin: Mapping[str, Any], variables: Mapping[str, str], more: Mapping[str, object]
    ) -> dict[str, Any] | None:
        config = {**plugin, "name": self.name, "cniVersion": self.version, **more}
        done = self.machine.run(
            f"{BIN_DIR}/{plugin['type']}",
            stdin=json.dumps(config),
            env={"CNI_COMMAND": command, "CNI_PATH": BIN_DIR, **variables},
            check=False,
        )
        if done.returncode != 0:
            raise CniFailed(plugin["type"], command, done.returncode, done.stdout, done.stderr)
        if command != "ADD":
            assert done.stdout == "", f"{command} of {plugin['type']} printed {done.stdout}"
            return None
        result: dict[str, Any] = json.loads(done.stdout)
        assert result.get("cniVersion", self.version) == self.version, "a result is in the version of its request"
        return result
