"""Options as they were given: by flags, by WEAVEMESH_* variables, or at the last start; and which of them wins.

Nothing is checked here and nothing has a default: that is `weavemesh.config`, the counterpart. The words of the
command line are `weavemesh.cli.option`'s. The cluster secret itself is never an option, so it is never saved.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from weavemesh.error import UserError
from weavemesh.file import read_private, write_private

OPTIONS_FILE = "last-options.json"
"""In the state folder: what the agent was last started with; no secret in it."""

_OPTIONS_BYTES_MAX = 1024 * 1024
"""Room for some thousand host names of 253 characters."""


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Options as the user wrote them; None is "not given", which differs from every value."""

    targets: tuple[str, ...] | None = None
    interface: str | None = None
    port: str | None = None
    ipalloc_range: str | None = None
    ipalloc_default_subnet: str | None = None
    initial_peers: str | None = None
    observer: bool | None = None
    nickname: str | None = None
    advertise: tuple[str, ...] | None = None
    datapath: str | None = None
    mtu: str | None = None
    rotate_key_every: str | None = None
    secret_file: str | None = None
    force_weak_secret: bool | None = None
    no_masquerade: bool | None = None
    no_discovery: bool | None = None
    no_relay: bool | None = None
    metrics_addr: str | None = None
    log_level: str | None = None

    def given(self) -> dict[str, str | bool | tuple[str, ...]]:
        """The options that have a value, by name, in the order of the fields."""
        values = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in values if value is not None}

    def arguments(self) -> list[str]:
        """The command line that gives these options again."""
        words: list[str] = []
        for name, value in self.given().items():
            flag = f"--{name.replace('_', '-')}"
            if name == "targets":
                continue
            if isinstance(value, bool):
                words += [flag] if value else []
            else:
                words += [f"{flag}={text}" for text in ((value,) if isinstance(value, str) else value)]
        return words + list(self.targets or ())


class _Saved(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the options file."""

    options: Options
    format: int = 1


def environment_options(environment: Mapping[str, str]) -> Options:
    """The options given as WEAVEMESH_* variables; an empty variable is "not given".

    Raises UserError (usage) for a switch that is neither yes nor no.
    """
    values: dict[str, str | bool | tuple[str, ...]] = {}
    for name in Options.__struct_fields__:
        text = environment.get(variable(name), "").strip()
        if not text:
            continue
        if name in ("targets", "advertise"):
            values[name] = tuple(text.replace(",", " ").split())
        elif name in ("force_weak_secret", "no_discovery", "no_masquerade", "no_relay", "observer"):
            values[name] = _switch(text, variable(name))
        else:
            values[name] = text
    return msgspec.convert(values, Options)


def merge(*by_precedence: Options) -> Options:
    """One set of options: each from the first in the row that gives it."""
    merged: dict[str, object] = {}
    for options in by_precedence:
        for name, value in options.given().items():
            merged.setdefault(name, value)
    return msgspec.convert(merged, Options)


def variable(name: str) -> str:
    """The environment variable of an option."""
    return f"WEAVEMESH_{name.upper()}"


def _switch(text: str, where: str) -> bool:
    if text.lower() in ("1", "yes", "true", "on"):
        return True
    if text.lower() in ("0", "no", "false", "off"):
        return False
    raise UserError(f"{where}={text!r} is neither yes nor no", remedy="set it to yes or no, or unset it", exit_status=2)


def saved_options(state_dir: Path) -> Options | None:
    """What the agent of this state folder was last started with; None if it never was.

    UserError if the file is there but is no such file.
    """
    path = state_dir / OPTIONS_FILE
    content = read_private(path, what="the options of the last start", bytes_max=_OPTIONS_BYTES_MAX)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=_Saved).options
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"the options of the last start in {path} cannot be read: {error}",
            remedy=f"give all options anew with `weavemesh up --no-resume …`, or remove {path}",
        ) from error


def save_options(state_dir: Path, options: Options | None) -> None:
    """Keep the options for the next `weavemesh up` without any; None forgets them. UserError if the disk refuses."""
    path = state_dir / OPTIONS_FILE
    if options is None:
        path.unlink(missing_ok=True)
        return
    content = msgspec.json.format(msgspec.json.encode(_Saved(options=options)), indent=2)
    write_private(path, content + b"\n", overwrite=True)


def save_targets(state_dir: Path, targets: Iterable[str]) -> None:
    """Replace only the targets in the saved options: what `connect` and `forget` change outlives a restart."""
    options = saved_options(state_dir) or Options()
    save_options(state_dir, msgspec.structs.replace(options, targets=tuple(targets) or None))
