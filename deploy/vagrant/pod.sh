#!/bin/sh
# A pod without a container runtime: pod.sh add NAME | pod.sh exec NAME COMMAND…
# A pod is a network namespace; `add` runs the CNI executable for it as containerd does, and prints its address.
set -eu
verb=$1 name=$2
shift 2
case $verb in
    add)
        ip netns add "$name"
        export CNI_COMMAND=ADD CNI_CONTAINERID="demo-$name" CNI_NETNS="/run/netns/$name" CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin
        echo '{"cniVersion": "1.0.0", "name": "weavemesh", "type": "weavemesh"}' | /opt/cni/bin/weavemesh >/dev/null
        ip -4 -o -n "$name" address show dev eth0 | sed 's/.*inet \([0-9.]*\).*/\1/'
        ;;
    exec) exec ip netns exec "$name" "$@" ;;
esac
