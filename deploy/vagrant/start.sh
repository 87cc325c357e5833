#!/bin/sh
# Starts weavemesh on a host where it is installed: start.sh SECRET ADVERTISE [HOST…]
#   SECRET      file with the cluster secret; it is moved to its place
#   ADVERTISE   address under which others reach this host, or - if none can (behind a NAT)
#   HOST…       whom to join; without, this host founds the mesh
set -eu
secret=$1 advertise=$2
shift 2
install -d -m 700 /etc/weavemesh
install -m 600 "$secret" /etc/weavemesh/secret
rm -f "$secret"
{
    echo "WEAVEMESH_TARGETS=\"$*\""
    [ "$advertise" = - ] || echo "WEAVEMESH_ADVERTISE=$advertise"
} >/etc/weavemesh/options
systemctl enable --now weavemesh
weavemesh status || true
