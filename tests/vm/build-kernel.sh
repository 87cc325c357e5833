#!/bin/bash
# Builds the guests' kernel from Debian's source package.
#   build-kernel.sh OUTPUT        4 to 10 minutes on two processors, 1.5 GB of disk meanwhile
# The result is one ordinary program of 5 MB. Interrupted, it goes on where it was.
# Status 3: this machine cannot build one; anything else but 0: it should have been able to.
set -euo pipefail
output=$(readlink -m "$1")
here=$(dirname "$(readlink -f "$0")")
work=$output.build
say() { printf 'guest kernel: %s\n' "$*" >&2; }

[ "$(uname -m)" = x86_64 ] || { say "User-Mode Linux needs an x86_64 machine, this is $(uname -m)"; exit 3; }
command -v apt-get >/dev/null || {
    say "this machine has no apt-get to fetch Debian's kernel source; name a ready kernel with WEAVEMESH_VM_KERNEL"
    exit 3
}
missing=""
for pair in gcc:gcc make:make flex:flex bison:bison bc:bc xz:xz-utils dpkg-deb:dpkg; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || { say "missing:$missing; install them first (sudo apt-get install$missing)"; exit 3; }
    say "installing$missing"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

mkdir -p "$work"
cd "$work"
source_package=$(apt-cache depends linux-source 2>/dev/null | sed -n 's/^ *Depends: \(linux-source-[0-9.]*\)$/\1/p' | head -1)
source_package=${source_package:-linux-source}
if [ ! -e unpacked ]; then
    ls ./*.deb >/dev/null 2>&1 || {
        say "fetching $source_package (about 140 MB)"
        apt-get -qq download "$source_package" 2>/dev/null || { apt-get update -qq; apt-get -qq download "$source_package"; }
    }
    say "unpacking the source"
    rm -rf package source
    dpkg-deb -x ./*.deb package
    mkdir source
    # Drivers of real devices are most of the source, and not used but for their Kconfig.
    unused=()
    for folder in drivers/{gpu,media,staging,infiniband,scsi,usb,net/ethernet,net/wireless} sound Documentation; do
        unused+=(--exclude="*/$folder/*."{c,h,rst})
    done
    tar -xJf package/usr/src/linux-source-*.tar.xz -C source --strip-components=1 "${unused[@]}"
    rm -rf package ./*.deb
    touch unpacked
fi

cd source
if [ ! -e ../configured ]; then
    # Not tinyconfig: its allocator panics when the first queueing discipline is made.
    make -s ARCH=um x86_64_defconfig >/dev/null
    ./scripts/kconfig/merge_config.sh -m .config "$here/kernel.config" >/dev/null
    make -s ARCH=um olddefconfig >/dev/null
    grep -q '^CONFIG_WIREGUARD=y' .config || { say "this source has no WireGuard"; exit 1; }
    touch ../configured
fi
say "compiling $(make -s ARCH=um kernelversion), usually some 880 files, on $(nproc) processors"
began=$SECONDS
make ARCH=um -j"$(nproc)" linux 2>../errors | {
    files=0
    while read -r step _; do
        case $step in CC | AS) files=$((files + 1)) ;; *) continue ;; esac
        [ $((files % 100)) != 0 ] || say "$files files after $((SECONDS - began)) s"
    done
} || {
    tail -20 ../errors >&2
    exit 1
}
strip -o "$output.new" linux
mv "$output.new" "$output"
cd /
rm -rf "$work"
say "ready after $((SECONDS - began)) s: $output"
