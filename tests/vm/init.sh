#!/bin/bash
# The first process of a guest. Its root is the host's, read-only, under a file system in memory; the folder named on the
# kernel's command line (wm_share=) is the host's own, writable. Counterpart: guest.py.
#
# Requests come as lines on /dev/tty1: a number N stands for the script N.sh in the folder; it is run in the background, and
# the line "N STATUS" is the answer. At last comes "off".
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
for word in $(</proc/cmdline); do
    case $word in
        wm_share=*) share=${word#*=} ;;
        wm_name=*) name=${word#*=} ;;
    esac
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/upper /run/work /run/root
root=/run/root
mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay $root
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
mount -t devtmpfs devtmpfs $root/dev
mkdir -p $root/dev/pts $root/dev/shm
mount -t devpts devpts $root/dev/pts
mount -t tmpfs tmpfs $root/dev/shm
mount -t tmpfs -o mode=755 tmpfs $root/run
mkdir -p "$root$share" $root/run/lock $root/run/host
mount -t hostfs -o "$share" none "$root$share"
hostname "$name"
ip link set lo up
cd $root
pivot_root . run/host
exec chroot . /bin/bash -c '
share=$1
exec 3<>/dev/tty1
stty -F /dev/tty1 raw -echo
stty -F /dev/tty2 raw -echo
echo "ready 0" >&3
while read -r request <&3; do
    [ "$request" = off ] && break
    (
        status=0
        setsid --wait bash "$share/$request.sh" 3>&- || status=$?
        sync -d "$share/$request.out" "$share/$request.err" 2>/dev/null
        echo "$request $status" >&3
    ) &
done
sync
echo o >/proc/sysrq-trigger
sleep 60' init "$share" </dev/null
