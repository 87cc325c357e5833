#!/bin/sh
# Builds the CNI executable: deploy/cni/build.sh OUTPUT_DIR
#
# Static, so that it runs on every host whatever is installed there. With musl (Debian: musl-tools) it has some 50 KB;
# without, the machine's own compiler makes one of some 700 KB that does the same.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUTPUT_DIR" >&2; exit 2; }
source=$(cd "$(dirname "$0")/../.." && pwd)/weavemesh/cni/shim.c
mkdir -p "$1"
result=$1/weavemesh
new=$1/.weavemesh.new
trap 'rm -f "$new"' EXIT

build() {
  "$@" -std=gnu11 -Wall -Wextra -Werror -Os -static -s -fno-asynchronous-unwind-tables -ffunction-sections \
    -fdata-sections -Wl,--gc-sections -o "$new" "$source"
}

# It must also start: some machines have a compiler and no static C library to go with it.
works() { [ "$(CNI_COMMAND=NONE "$new" </dev/null | head -c 13)" = '{"cniVersion"' ]; }

for compiler in ${CC:+"$CC"} musl-gcc gcc cc; do
  command -v "$compiler" >/dev/null 2>&1 || continue
  if build "$compiler" && works; then
    # By rename: a running executable cannot be overwritten ("text file busy").
    mv -f "$new" "$result"
    echo "$result: $(wc -c <"$result") bytes, static, by $compiler"
    exit 0
  fi
  echo "$compiler cannot build a static executable; trying another" >&2
done
echo "no compiler that can link statically was found; install one (Debian: apt-get install musl-tools)" >&2
exit 1
