#!/bin/sh
# Makes a Debian package of the project: deploy/debian/build.sh OUTPUT_DIR    (after `make setup`; needs no root)
#
# It holds a Python environment in /opt/weavemesh with all that weavemesh needs, for the Python of this machine's release
# of Debian or Ubuntu: nothing is fetched when it is installed. What happens then is in the scripts beside this one.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 OUTPUT_DIR" >&2; exit 2; }
here=$(dirname "$(readlink -f "$0")")
project=$(readlink -f "$here/../..")
output=$(readlink -m "$1")
for program in /usr/bin/python3 dpkg-deb "$project/.venv/bin/pip"; do
    command -v "$program" >/dev/null || { echo "deb: $program is missing; run \`make setup\` on Debian or Ubuntu" >&2; exit 1; }
done
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
environment=/opt/weavemesh
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$project/pyproject.toml")
minor=$(/usr/bin/python3 -c 'import sys; print(sys.version_info.minor)')
package=$output/weavemesh_${version}_$(dpkg --print-architecture).deb

# The environment, with the versions that the project pins.
sed -n 's/^\([^# ]*==[^ ]*\).*/\1/p' "$project/constraints.txt" >"$work/pins"
/usr/bin/python3 -m venv --without-pip "$root$environment"
rm -rf "$project/build/lib" # or files that are gone would get into the package
"$project/.venv/bin/pip" wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w "$work" "$project"
"$project/.venv/bin/pip" --python "$root$environment/bin/python" install -q --disable-pip-version-check --no-compile \
    --no-warn-script-location -c "$work/pins" "$work"/weavemesh-*.whl
find "$root$environment/bin" -type f ! -name weavemesh -delete
sed -i "s|$root||g" "$root$environment/bin/weavemesh" "$root$environment/pyvenv.cfg"
# A service may not write there: what Python would keep for the next start is kept now.
/usr/bin/python3 -m compileall -q -s "$root" --invalidation-mode unchecked-hash "$root$environment/lib"

# What belongs elsewhere.
share=$root$environment/lib/python3.$minor/site-packages/weavemesh/share
[ -x "$share/cni/weavemesh" ] || { echo "deb: the CNI executable could not be built; install musl-tools" >&2; exit 1; }
install -D -m 644 "$share/weavemesh.service" "$root/usr/lib/systemd/system/weavemesh.service"
mkdir -p "$root/usr/bin" "$root/usr/share/man/man8" "$root/usr/share/doc/weavemesh"
ln -s "$environment/bin/weavemesh" "$root/usr/bin/weavemesh"
gzip -9n <"$root$environment/share/man/man8/weavemesh.8" >"$root/usr/share/man/man8/weavemesh.8.gz"
rm -r "$root$environment/share"
gzip -9n <"$project/CHANGELOG.md" >"$root/usr/share/doc/weavemesh/changelog.gz"
cp "$project/LICENSE" "$root/usr/share/doc/weavemesh/copyright"

mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<END
Package: weavemesh
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: weavemesh <weavemesh@localhost>
Section: net
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: python3 (>= 3.$minor), python3 (<< 3.$((minor + 1)))
Recommends: wireguard-tools, nftables
Suggests: wireguard-go
Description: encrypted network between hosts and their containers
 Hosts join with one command and one shared secret; every container gets an address and reaches every other,
 through WireGuard, always. There is no central datastore.
END
for script in postinst prerm postrm; do install -m 755 "$here/$script" "$root/DEBIAN/$script"; done
mkdir -p "$output"
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
