"""Command line of the guests.

    python -m tests.vm find                      print the path of the guests' kernel, if there is one
    python -m tests.vm kernel                    find or build the guests' kernel, print its path
    python -m tests.vm run [-m MIB] -- COMMAND   run a command in a fresh guest, in this folder
    python -m tests.vm pytest [-m MIB] -- ARGS   run a selection of tests in a fresh guest

The exit status is the command's own; 125 if there is no kernel or the guest died.
"""

import argparse
import sys
import time

from tests.vm.guest import MEMORY_MIB, Guest, GuestError
from tests.vm.kernel import KernelMissing, find_kernel, make_kernel

TIMEOUT_S = 3600.0
TEST_TIMEOUT_S = 120
"""System calls of a guest cost several times those of a host, and its one processor may be shared."""
FAILED = 125


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description="Guests with a kernel of their own.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("find", help="print the path of the guests' kernel, if there is one")
    verbs.add_parser("kernel", help="find or build the guests' kernel, print its path")
    for verb, words in (("run", "a command"), ("pytest", "a selection of tests")):
        one = verbs.add_parser(verb, help=f"run {words} in a fresh guest")
        one.add_argument("-m", "--memory-mib", type=int, default=MEMORY_MIB)
        one.add_argument("-t", "--timeout-s", type=float, default=TIMEOUT_S)
        one.add_argument("words", nargs="+", metavar="WORD")
    options = parser.parse_args()
    try:
        if options.verb == "find":
            found = find_kernel()
            if found is None:
                raise KernelMissing("there is no kernel for guests yet; `make test-kernel` builds it")
            print(found.program)
            return 0
        if options.verb == "kernel":
            print(make_kernel().program)
            return 0
        return _run(options)
    except (KernelMissing, GuestError) as error:
        print(f"tests.vm: {error}", file=sys.stderr)
        return FAILED


def _run(options: argparse.Namespace) -> int:
    if find_kernel() is None:
        print("tests.vm: the guests' kernel is built first, once: 5 to 15 minutes", file=sys.stderr, flush=True)
    kernel = make_kernel()
    words = list(options.words)
    if options.verb == "pytest":
        words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", f"timeout={TEST_TIMEOUT_S}", *words]
    began = time.monotonic()
    with Guest(kernel, memory_mib=options.memory_mib) as guest:
        release = guest.run("uname", "-r").stdout.strip()
        print(f"tests.vm: a guest with Linux {release} is up", file=sys.stderr, flush=True)
        status = guest.run_here(*words, timeout_s=options.timeout_s)
    print(f"tests.vm: {time.monotonic() - began:.0f} s in the guest, status {status}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
