#!/bin/sh
# Builds the CNI executable: deploy/cni/build.sh OUTPUT_DIR [x86_64|aarch64]
#
# Static, so that it runs on every host whatever is installed there. It is two plugins in one file, told apart by the
# name by which it is called; the second name is a link. Without a kind of machine it is for this one: with musl (Debian:
# musl-tools) it has some 40 KB; without, the machine's own compiler makes one of some 700 KB that does the same.
# For a named kind of machine ZIG is used, the command of a zig compiler ("python -m ziglang"), or else a cross compiler.
set -eu
[ $# -ge 1 ] && [ $# -le 2 ] || { echo "usage: $0 OUTPUT_DIR [x86_64|aarch64]" >&2; exit 2; }
source=$(cd "$(dirname "$0")/../.." && pwd)/weavemesh/cni/shim.c
here=$(uname -m)
machine=${2:-$here}
mkdir -p "$1"
result=$1/weavemesh
new=$1/.weavemesh.new
trap 'rm -f "$new"' EXIT

build() {
  "$@" -std=gnu11 -Wall -Wextra -Werror -Os -static -s -fno-asynchronous-unwind-tables -ffunction-sections \
    -fdata-sections -Wl,--gc-sections -o "$new" "$source"
}

# It must also start, where it can: some machines have a compiler and no static C library to go with it.
works() {
  runner=""
  if [ "$machine" != "$here" ]; then
    runner=$(command -v "qemu-$machine-static" || command -v "qemu-$machine" || true)
    [ -n "$runner" ] || return 0
  fi
  [ "$(CNI_COMMAND=NONE $runner "$new" </dev/null | head -c 13)" = '{"cniVersion"' ]
}

try() {
  if build "$@" && works; then
    # By rename: a running executable cannot be overwritten ("text file busy").
    mv -f "$new" "$result"
    ln -sfn weavemesh "${result%/*}/weavemesh-ipam"
    echo "$result: $(wc -c <"$result") bytes, static, for $machine, by $*"
    exit 0
  fi
  echo "$* cannot build a static executable for $machine; trying another" >&2
}

if [ $# -eq 2 ] && [ -n "${ZIG:-}" ]; then
  try $ZIG cc -target "$machine-linux-musl"
fi
if [ "$machine" = "$here" ]; then
  candidates="${CC:+$CC }musl-gcc gcc cc"
else
  candidates="$machine-linux-musl-gcc $machine-linux-gnu-gcc"
fi
for compiler in $candidates; do
  command -v "$compiler" >/dev/null 2>&1 && try "$compiler"
done
echo "no compiler that links statically for $machine was found; install one (Debian: apt-get install musl-tools, or" \
  "gcc-$(echo "$machine" | tr _ -)-linux-gnu)" >&2
exit 1
