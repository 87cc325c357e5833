#!/bin/sh
# The first process of an emulated node, on a root that is a layer over this machine's: starts what a node runs, and
# stays. Its settings are in /etc/wm-emulated: NAME, ADDRESS, GATEWAY, and the commands CONTAINERD, KUBELET and PROXY.
. /etc/wm-emulated
export PATH=/opt/iptables:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc wm /proc
mount -t sysfs wm /sys
mount -t securityfs wm /sys/kernel/security
mount -t devtmpfs wm /dev
mkdir -p /dev/pts /dev/shm /lib/modules
mount -t devpts wm /dev/pts
mount -t tmpfs wm /dev/shm
mount -t tmpfs -o mode=755 wm /run
mount -t tmpfs -o mode=1777 wm /tmp
mount -t cgroup2 wm /sys/fs/cgroup
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose modules /lib/modules
(cd / && sh "$FRESH")
mkdir -p /run/netns /run/lock
mount --make-rshared /
hostname "$NAME"
ip link set lo up
ip address add "$ADDRESS/24" dev eth0
ip link set eth0 up
ip route add default via "$GATEWAY"
echo 1 >/proc/sys/net/ipv4/ip_forward
$CONTAINERD &
until ctr version >/dev/null 2>&1; do sleep 1; done
$KUBELET &
$PROXY &
wait
