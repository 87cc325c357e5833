"""Command line of the guests.

    python -m tests.vm kernel                    find or build the guests' kernel, print its path
    python -m tests.vm run [-m MIB] -- COMMAND   run a command in a fresh guest, in this folder
    python -m tests.vm pytest [-m MIB] -- ARGS   run a selection of tests in a fresh guest

The exit status is the command's own; 125 if the kernel cannot be built or the guest died, 124 if this machine can have
no guests.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence

from tests.vm.guest import MEMORY_MIB, Guest, GuestError, GuestStill
from tests.vm.kernel import GuestKernel, GuestsImpossible, KernelMissing, find_kernel, make_kernel

TIMEOUT_S = 3600.0
TEST_TIMEOUT_S = 120
"""System calls of a guest cost several times those of a host, and its one processor may be shared."""
FAILED, IMPOSSIBLE = 125, 124


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description="Guests with a kernel of their own.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("kernel", help="find or build the guests' kernel, print its path")
    for verb, words in (("run", "a command"), ("pytest", "a selection of tests")):
        one = verbs.add_parser(verb, help=f"run {words} in a fresh guest")
        one.add_argument("-m", "--memory-mib", type=int, default=MEMORY_MIB)
        one.add_argument("-t", "--timeout-s", type=float, default=TIMEOUT_S)
        one.add_argument("words", nargs="+", metavar="WORD")
    options = parser.parse_args()
    try:
        kernel = _kernel()
        if options.verb == "kernel":
            print(kernel.program)
            return 0
        return _run(options, kernel)
    except GuestsImpossible as error:
        print(f"tests.vm: {error}", file=sys.stderr)
        return IMPOSSIBLE
    except (KernelMissing, GuestError) as error:
        print(f"tests.vm: {error}", file=sys.stderr)
        return FAILED


def _kernel() -> GuestKernel:
    if os.geteuid() != 0:
        raise GuestsImpossible("guests need root: they read the whole file system of the host")
    if find_kernel() is None:
        print("tests.vm: the guests' kernel is built first, once: 4 to 10 minutes", file=sys.stderr, flush=True)
    return make_kernel()


def _run(options: argparse.Namespace, kernel: GuestKernel) -> int:
    if options.verb == "run":
        return _in_a_guest(options.words, options, kernel)
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", f"timeout={TEST_TIMEOUT_S}"]
    # Where even the time limit of a test does not end it, at least the place is told.
    words = [*pytest, "-o", f"faulthandler_timeout={TEST_TIMEOUT_S + 30}", *options.words]
    try:
        return _in_a_guest(words, options, kernel)
    except GuestStill as error:
        print(f"tests.vm: {error}\ntests.vm: all begins anew in a fresh guest", file=sys.stderr, flush=True)
        return _in_a_guest(words, options, kernel)


def _in_a_guest(words: Sequence[str], options: argparse.Namespace, kernel: GuestKernel) -> int:
    began = time.monotonic()
    with Guest(kernel, memory_mib=options.memory_mib) as guest:
        release = guest.run("uname", "-r").stdout.strip()
        print(f"tests.vm: a guest with Linux {release} is up", file=sys.stderr, flush=True)
        status = guest.run_here(*words, timeout_s=options.timeout_s)
    print(f"tests.vm: {time.monotonic() - began:.0f} s in the guest, status {status}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
