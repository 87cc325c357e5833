"""One guest: boots, runs commands, passes their output and exit status back, and is gone when it is left.

A guest is one process of the host (and one for each of its own processes). Its root is the host's, so whatever is
installed here is there at the same path; what it writes goes to its memory, except into its share folder. Counterpart
inside: init.sh and serve.sh, which is told the numbers of scripts to run.
"""

import os
import secrets
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.vm.kernel import HERE, GuestKernel

BOOT_S = 60.0
POWER_OFF_S = 10.0
STILL_S = 120.0
"""A guest says every few seconds that it is alive: after so long a silence its kernel runs no more."""
MEMORY_MIB = 512
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "VIRTUAL_ENV", "TERM")
_PASSED_PREFIXES = ("PYTHON", "PYTEST", "WEAVEMESH_", "HYPOTHESIS")


class GuestError(Exception):
    """A guest cannot be booted, has died, or a command in it failed; the text says which and what it printed."""


class GuestStill(GuestError):
    """A guest is there, but its kernel runs no more: what was tried in it has no result, good or bad."""


@dataclass
class Command:
    """One command that runs in a guest, or has run."""

    guest: "Guest"
    number: int
    words: tuple[str, ...]

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self.guest.status_of(self.number)

    def wait(self, *, timeout_s: float = 60, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Its result when it has ended. GuestError after the time, and on a failure unless `check` is off."""
        status = self.guest.wait_for(self.number, timeout_s=timeout_s, what=shlex.join(self.words))
        output, errors = self.output(), self.guest.text(f"{self.number}.err")
        if check and status != 0:
            raise GuestError(f"{self.guest.name}: {shlex.join(self.words)} → {status}\n{output}{errors}")
        return subprocess.CompletedProcess(self.words, status, output, errors)

    def output(self) -> str:
        """What it has printed so far, as far as the guest has written it out."""
        return self.guest.text(f"{self.number}.out")


class Guest:
    """A running guest; a context manager. Not for use by several threads at once."""

    def __init__(
        self,
        kernel: GuestKernel,
        *,
        name: str = "guest",
        memory_mib: int = MEMORY_MIB,
        interfaces: Sequence[str] = (),
        prefix: Sequence[str] = (),
        systemd: bool = False,
    ) -> None:
        """`interfaces` and `prefix` come from `lan`. With `systemd`, services can be started by units."""
        self.name = name
        self._kernel = kernel
        self._memory_mib = memory_mib
        self._interfaces = interfaces
        self._prefix = prefix
        self._first = "systemd" if systemd else "serve"
        self._last = 0
        self._statuses: dict[str, int] = {}
        self._unread = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.launch()
        try:
            self.wait_until_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def launch(self) -> None:
        """Begin to boot. The guest ends with the thread that does this, so not in one of a pool."""
        self.share = Path(tempfile.mkdtemp(prefix="wmguest-"))
        requests_in, self._requests = os.pipe()
        self._answers, answers_out = os.pipe()
        console = os.open(self.share / "console", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = self._boot(requests_in, answers_out, console)
        finally:
            for descriptor in (requests_in, answers_out, console):
                os.close(descriptor)

    def wait_until_up(self) -> None:
        """Return when commands can be run. GuestError if it does not come to that."""
        self._await("ready", timeout_s=BOOT_S, what="the guest to boot")

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            try:
                os.write(self._requests, b"off\n")
                self._process.wait(timeout=POWER_OFF_S if "ready" in self._statuses else 0)
            except (subprocess.TimeoutExpired, BrokenPipeError):
                pass
            self._kill()
        self._process = None
        os.close(self._requests)
        os.close(self._answers)
        shutil.rmtree(self.share, ignore_errors=True)

    # -- commands -------------------------------------------------------------------------------------

    def run(
        self,
        *command: str,
        check: bool = True,
        stdin: str = "",
        timeout_s: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end. GuestError on a status other than 0 unless `check` is off."""
        return self.start(*command, stdin=stdin, env=env).wait(timeout_s=timeout_s, check=check)

    def start(self, *command: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Command:
        """Start a command and return at once; the guest's end ends it too."""
        return self._request(command, stdin, env or {}, to_us=False)

    def run_here(self, *command: str, timeout_s: float) -> int:
        """Run with the output going to ours as it comes; the exit status."""
        started = self._request(command, "", {}, to_us=True)
        return self.wait_for(started.number, timeout_s=timeout_s, what=shlex.join(command))

    def cut(self) -> None:
        """Pull the plug: the guest ends at once, with nothing written out."""
        self._kill()

    # -- for Command ----------------------------------------------------------------------------------

    def status_of(self, number: int) -> int | None:
        self._read_answers(0)
        return self._statuses.get(str(number))

    def wait_for(self, number: int, *, timeout_s: float, what: str) -> int:
        return self._await(str(number), timeout_s=timeout_s, what=f"the end of {what}")

    def text(self, file: str) -> str:
        path = self.share / file
        return path.read_text(errors="replace") if path.exists() else ""

    # -- inside ---------------------------------------------------------------------------------------

    def _boot(self, requests: int, answers: int, console: int) -> subprocess.Popen[bytes]:
        sys.stdout.flush()
        ours = os.dup(1)
        arguments = [
            str(self._kernel.program),
            f"mem={self._memory_mib}M",
            f"umid=wm{os.getpid()}-{secrets.token_hex(4)}",
            f"uml_dir={self.share}",
            *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "loglevel=3"),
            *("con=null", f"con0=null,fd:{console}", f"con1=fd:{requests},fd:{answers}", f"con2=null,fd:{ours}"),
            *(f"init={HERE / 'init.sh'}", f"wm_share={self.share}", f"wm_name={self.name}"),
            f"wm_init={self._first}",
            *self._interfaces,
        ]
        # A process id namespace of its own, which ends with us: a guest's processes are processes of the host.
        own = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        environment = {**os.environ, "LD_PRELOAD": str(self._kernel.shim), "TMPDIR": _memory_folder(self._memory_mib)}
        try:
            return subprocess.Popen(
                [*self._prefix, *(own if os.geteuid() == 0 else []), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=(requests, answers, console, ours),
                env=environment,
                start_new_session=True,
            )
        finally:
            os.close(ours)

    def _request(self, command: Sequence[str], stdin: str, env: Mapping[str, str], *, to_us: bool) -> Command:
        self._last += 1
        number = self._last
        output = ">/dev/tty2 2>&1" if to_us else f">{self.share}/{number}.out 2>{self.share}/{number}.err"
        words = {name: value for name, value in os.environ.items() if _is_passed_on(name)} | dict(env)
        lines = [f"export {name}={shlex.quote(value)}" for name, value in words.items()]
        lines += ["export PYTHONDONTWRITEBYTECODE=1", f"cd {shlex.quote(os.getcwd())}"]
        lines += [f"exec {shlex.join(command)} <{self.share}/{number}.in {output}"]
        (self.share / f"{number}.in").write_text(stdin)
        (self.share / f"{number}.sh").write_text("\n".join(lines) + "\n")
        try:
            os.write(self._requests, f"{number}\n".encode())
        except BrokenPipeError as error:
            raise self._death() from error
        return Command(self, number, tuple(command))

    def _await(self, key: str, *, timeout_s: float, what: str) -> int:
        deadline = time.monotonic() + timeout_s
        while key not in self._statuses:
            left = deadline - time.monotonic()
            if left <= 0:
                raise GuestError(f"{self.name}: waited {timeout_s:g} s in vain for {what}{self._console()}")
            heard = self._read_answers(min(left, STILL_S))
            if heard is None and left > STILL_S:
                raise GuestStill(f"{self.name} has stood still for {STILL_S:g} s, before {what}{self._console()}")
            if heard == 0 and key not in self._statuses:
                raise self._death()
        return self._statuses[key]

    def _read_answers(self, timeout_s: float) -> int | None:
        """Take in what the guest has said; the number of octets, 0 if it has died, None if it was silent."""
        if not select.select([self._answers], [], [], timeout_s)[0]:
            return None
        content = os.read(self._answers, 4096)
        *lines, self._unread = (self._unread + content.decode().replace("\r", "")).split("\n")
        for line in lines:
            key, _, status = line.partition(" ")
            if status.isdigit():
                self._statuses[key] = int(status)
        return len(content)

    def _death(self) -> GuestError:
        return GuestError(f"the guest {self.name} has died{self._console()}")

    def _console(self) -> str:
        tail = self.text("console").splitlines()[-15:]
        return "".join(f"\n  | {line}" for line in tail)

    def _kill(self) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _is_passed_on(name: str) -> bool:
    return name in _PASSED_ON or name.startswith(_PASSED_PREFIXES)


def _memory_folder(mib: int) -> str:
    """Where the guest's memory may lie: a file system in memory with room from which programs may be mapped."""
    for folder in ("/dev/shm", "/run", "/tmp"):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        if not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize > (mib << 20):
            return folder
    raise GuestError(f"neither /dev/shm nor /tmp has {mib} MiB from which programs may be run")
