#!/bin/sh
# Installs what the project needs on a fresh Debian or Ubuntu machine and makes .venv. Run again: does nothing.
#   scripts/setup.sh        needs root only where a system package is missing
set -eu
cd "$(dirname "$0")/.."

say() { printf 'set-up: %s\n' "$*"; }

# program:Debian package that holds it
needed="python3:python3 gcc:gcc musl-gcc:musl-tools ip:iproute2 wireguard-go:wireguard-go wg:wireguard-tools
        iperf3:iperf3 tcpdump:tcpdump ping:iputils-ping unshare:util-linux ps:procps nft:nftables
        iptables:iptables containerd:containerd runc:runc busybox:busybox-static"
missing=""
for pair in $needed; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -x /usr/lib/cni/portmap ] || missing="$missing containernetworking-plugins"
python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null 2>&1 || {
        say "these are missing and this machine has no apt-get to install them:$missing" >&2
        exit 1
    }
    [ "$(id -u)" = 0 ] || { say "missing:$missing; run this once as root (or: sudo apt-get install$missing)" >&2; exit 1; }
    say "installing$missing"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    say "Python 3.11 or newer is needed, this machine's python3 is $(python3 -V)" >&2
    exit 1
}

stamp=.venv/.made-from
want=$(cat constraints.txt pyproject.toml | sha256sum | cut -d' ' -f1)
if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
    say "making .venv"
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/pip install -q --disable-pip-version-check --require-hashes -r constraints.txt
    .venv/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
    printf '%s\n' "$want" >"$stamp"
fi

if [ ! -x build/cni/weavemesh-ipam ] || [ weavemesh/cni/shim.c -nt build/cni/weavemesh ]; then
    say "building the CNI executable"
    deploy/cni/build.sh build/cni
fi
say "ready"
