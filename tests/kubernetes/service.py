"""Programs that run on machines for as long as a cluster is up: started, stopped and started again by name."""

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.demo.lab import LabError, Machine, end


class Services:
    """The programs of one machine, each with a log of its own outside of it."""

    def __init__(self, machine: Machine, logs: Path) -> None:
        self._machine = machine
        self._logs = logs
        self._commands: dict[str, str] = {}
        self._running: dict[str, subprocess.Popen[str]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> None:
        """Start it under this name; the log goes on where it was."""
        words = [f"{key}={shlex.quote(value)}" for key, value in (environment or {}).items()]
        self._commands[name] = " ".join(["exec", *(["env", *words] if words else []), shlex.join(command)])
        self.start_again(name)

    def start_again(self, name: str) -> None:
        """The same command as before; it must not be running."""
        with (self._logs / f"{name}.log").open("a") as log:
            self._running[name] = self._machine.start(
                "sh", "-c", self._commands[name], stdout=log.fileno(), stderr=log.fileno()
            )

    def stop(self, name: str) -> None:
        """End it; again does nothing."""
        if process := self._running.pop(name, None):
            end(process)

    def check(self) -> None:
        """LabError with the end of its log if one has ended that should run."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise LabError(f"{self._machine.name}: {name} ended with {process.returncode}\n{self.log_end(name)}")

    def stop_all(self) -> None:
        """The last first."""
        for name in reversed(list(self._running)):
            self.stop(name)

    def log_end(self, name: str, *, lines: int = 12) -> str:
        return "\n".join((self._logs / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
