#!/bin/sh
# Pins every package of pyproject.toml anew in constraints.txt: names, versions and hashes, no addresses.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check pip-tools
printf 'setuptools>=77\nwheel\n' >"$work/build.in"
"$work/venv/bin/pip-compile" -q --generate-hashes --allow-unsafe --extra dev --extra kubernetes --strip-extras --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o "$work/pinned" pyproject.toml "$work/build.in"
{
    echo '# Every package that set-up installs, with the hashes of its files: names, versions and hashes only.'
    echo '# Made from pyproject.toml by `make constraints`.'
    grep -v '^#' "$work/pinned" | sed '/^$/d'
} >constraints.txt
