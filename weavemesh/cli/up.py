"""`weavemesh up`: checks what can be checked first, then starts the agent or speaks to the one that runs.

The agent in the background is this same command with `--foreground`; how it is started and watched is
`weavemesh.launch`, what it does first `weavemesh.foreground`.
"""

import argparse
import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from weavemesh.api import SOCKET_NAME, ApiClient, ConnectRequest
from weavemesh.cli.output import print_sentences, remark, run_dir, state_dir
from weavemesh.cli.target import written
from weavemesh.config import AgentConfig, check
from weavemesh.error import UserError
from weavemesh.option import Options, environment_options, merge, saved_options
from weavemesh.process import RunningAgent
from weavemesh.secret import ENVIRONMENT, ClusterSecret
from weavemesh.verdict import NOT_READY

_CAP_NET_ADMIN = 12
"""capabilities(7); its bit in CapEff."""

_POLL_S = 5.0


def up(arguments: argparse.Namespace) -> int:
    """Start the agent and wait until it is ready; 0 then."""
    places = state_dir(arguments), run_dir(arguments)
    given = _given(arguments)
    _check_rights()
    running = RunningAgent.find(places[1])
    if running is not None and not arguments.foreground:
        with running:
            return _join_running(arguments, given, running.pid)
    options = _resumed(arguments, given, places[0])
    config = check(options, state_dir=places[0], run_dir=places[1], environment=os.environ)
    ClusterSecret.load(config.secret_file, environment=dict(os.environ), force=config.force_weak_secret)
    if config.datapath != "auto" and (sentence := _data_path_change(config)):
        remark(sentence)
    if arguments.foreground:
        return _foreground(config, options)
    return _background(arguments, config, options)


def _given(arguments: argparse.Namespace) -> Options:
    """The options on the command line; paths made absolute, because an agent lives in the root folder."""
    return Options(
        targets=tuple(arguments.targets) or None,
        interface=arguments.interface,
        port=arguments.port,
        ipalloc_range=arguments.ipalloc_range,
        ipalloc_default_subnet=arguments.ipalloc_default_subnet,
        initial_peers=arguments.initial_peers,
        observer=arguments.observer,
        nickname=arguments.nickname,
        advertise=tuple(arguments.advertise) if arguments.advertise else None,
        datapath=arguments.datapath,
        mtu=arguments.mtu,
        rotate_key_every=arguments.rotate_key_every,
        secret_file=os.path.abspath(arguments.secret_file) if arguments.secret_file else None,
        force_weak_secret=arguments.force_weak_secret,
        no_discovery=arguments.no_discovery,
        no_masquerade=arguments.no_masquerade,
        no_relay=arguments.no_relay,
        metrics_addr=arguments.metrics_addr,
        log_level=arguments.log_level,
    )


def _resumed(arguments: argparse.Namespace, given: Options, state: Path) -> Options:
    """Flags before variables; and if there are no flags at all, what was given last time behind both."""
    environment = environment_options(os.environ)
    saved = None if given.given() or arguments.no_resume else saved_options(state)
    if saved is None or not saved.given():
        return merge(given, environment)
    remark(f"resuming what was given last time: {shlex.join(saved.arguments())}")
    if ENVIRONMENT in os.environ and environment.secret_file is None:
        saved = msgspec.structs.replace(saved, secret_file=None)
    return merge(environment, saved)


def _check_rights() -> None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:") and not int(line.split()[1], 16) >> _CAP_NET_ADMIN & 1:
            if os.geteuid() != 0:
                raise UserError("weavemesh up must be run as root", remedy="try: sudo weavemesh up …")
            raise UserError(
                "the right to set up networks is missing (capability NET_ADMIN)",
                remedy="give it to this container, as with --cap-add NET_ADMIN",
            )


def _data_path_change(config: AgentConfig) -> str | None:
    """The sentence to say beforehand where this start replaces the tunnel device of the last one."""
    from weavemesh.kernel.change import data_path_change

    return asyncio.run(data_path_change(config.interface, config.datapath))


def _foreground(config: AgentConfig, options: Options) -> int:
    from weavemesh.daemon import run_agent
    from weavemesh.foreground import run_in_foreground

    os.chdir("/")  # no file system shall be kept busy by an agent that runs for months
    run_in_foreground(config, options, run_agent, environment=os.environ, say=lambda text: print(text, flush=True))
    return 0


def _background(arguments: argparse.Namespace, config: AgentConfig, options: Options) -> int:
    from weavemesh.launch import NotYet, Refused, StartingAgent, agent_command, agent_environment

    folders = ["--state-dir", str(config.state_dir), "--run-dir", str(config.run_dir)]
    resume = ["--no-resume"] if arguments.no_resume else []
    starting = StartingAgent.start(
        agent_command([*folders, *resume, *options.arguments()]),
        run_dir=config.run_dir,
        environment=agent_environment(os.environ),
    )
    try:
        outcome = starting.wait(patience_s=arguments.wait, on_progress=_progress())
    except KeyboardInterrupt:
        starting.give_up()
        remark("the agent that was being started has been ended")
        raise
    starting.leave()
    if isinstance(outcome, Refused):
        raise UserError(outcome.sentence, remedy=outcome.remedy)
    if isinstance(outcome, NotYet):
        return _not_ready(arguments, starting.pid, outcome.sentence)
    print_sentences([_ready(outcome.sentence)], as_json=arguments.json)
    return 0


def _join_running(arguments: argparse.Namespace, given: Options, pid: int) -> int:
    """`up` where an agent runs: more hosts are connected, other options refused, then readiness awaited as ever."""
    fixed = {name: value for name, value in given.given().items() if name != "targets"}
    last = (saved_options(state_dir(arguments)) or Options()).given() if fixed else {}
    for name, value in fixed.items():
        if last.get(name) != value:
            raise UserError(
                f"an agent runs already (process {pid}), with another --{name.replace('_', '-')}",
                remedy="end it first: `weavemesh stop` leaves the tunnels running",
            )
    client = ApiClient(run_dir(arguments) / SOCKET_NAME)
    if given.targets:
        targets = written(list(given.targets), client)
        changed = client.connect(ConnectRequest(targets=targets))
        sentences = changed.sentences or (f"the agent (process {pid}) dials {', '.join(targets)} already",)
    else:
        sentences = (f"the agent runs already (process {pid})",)
    return _await_running(arguments, client, pid, sentences)


def _await_running(arguments: argparse.Namespace, client: ApiClient, pid: int, sentences: tuple[str, ...]) -> int:
    until, known, last = time.monotonic() + arguments.wait, 0, "it is starting"
    while True:
        left = max(0.0, until - time.monotonic())
        readiness = client.ready(known=known, wait_s=min(left, _POLL_S))
        known = readiness.known
        last = readiness.steps[-1] if readiness.steps else last
        if readiness.refusal is not None:
            raise UserError(readiness.refusal.sentence, remedy=readiness.refusal.remedy)
        if readiness.ready:
            print_sentences([*sentences, _ready(last)], as_json=arguments.json)
            return 0
        if left == 0.0:
            print_sentences(sentences, as_json=arguments.json)
            return _not_ready(arguments, pid, last)


def _not_ready(arguments: argparse.Namespace, pid: int, waiting_for: str) -> int:
    if arguments.wait == 0:
        print_sentences([f"the agent starts (process {pid})"], as_json=arguments.json)
        return 0
    raise UserError(
        f"the agent runs (process {pid}) but is not ready after {arguments.wait:.0f} s: "
        f"{_gravest_problem(arguments) or waiting_for}",
        remedy="it goes on trying; watch it with `weavemesh status`, or end it with `weavemesh stop`",
    )


def _gravest_problem(arguments: argparse.Namespace) -> str | None:
    """What the agent itself finds wrong; it may know more than the step at which its start waits."""
    try:
        problems = ApiClient(run_dir(arguments) / SOCKET_NAME).status().problems
    except UserError:
        return None
    return problems[0].sentence.removeprefix(NOT_READY) if problems else None


def _ready(sentence: str) -> str:
    return sentence if sentence.startswith("ready") else f"ready: {sentence}"


def _progress() -> Callable[[str], None] | None:
    return (lambda step: remark(f"  {step} …")) if sys.stderr.isatty() else None
