#!/bin/sh
# Builds the CNI executable for x86-64 and arm64 into build/cni-x86_64 and build/cni-aarch64.
#
# With the compiler that deploy/cni/compiler.txt names, if it can be installed; else with what this machine has, and for
# a kind of machine that it has nothing for, says so.
set -eu
cd "$(dirname "$0")/.."
compiler=build/compiler
if [ ! -e "$compiler/.made" ] && python3 -m venv "$compiler" &&
    "$compiler/bin/pip" install -q --disable-pip-version-check --require-hashes -r deploy/cni/compiler.txt; then
    touch "$compiler/.made"
fi
ZIG=""
[ ! -e "$compiler/.made" ] || ZIG="$compiler/bin/python -m ziglang"
export ZIG
failed=""
for machine in x86_64 aarch64; do
    deploy/cni/build.sh "build/cni-$machine" "$machine" || failed="$failed $machine"
done
[ -z "$failed" ] || { echo "not built:$failed" >&2; exit 1; }
