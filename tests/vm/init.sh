#!/bin/bash
# The first process of a guest. Its root is the host's, read-only, under a file system in memory; the folder named on the
# kernel's command line (wm_share=) is the host's own, writable. Then serve.sh does what guest.py asks for: as the first
# process itself, or (wm_init=systemd) as the only service of a systemd that starts nothing of the host's.
set -eu
here=$(dirname "$0")
first=
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
for word in $(</proc/cmdline); do
    case $word in
        wm_share=*) share=${word#*=} ;;
        wm_name=*) name=${word#*=} ;;
        wm_init=*) first=${word#*=} ;;
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
ln -s /proc/self/fd $root/dev/fd
for number in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number%:*}" "$root/dev/${number#*:}"; done
mount -t devpts devpts $root/dev/pts
mount -t tmpfs tmpfs $root/dev/shm
mount -t tmpfs -o mode=755 tmpfs $root/run
mkdir -p "$root$share" $root/run/lock $root/run/host
mount -t hostfs -o "$share" none "$root$share"
hostname "$name"
ip link set lo up
cd $root
pivot_root . run/host
if [ "$first" != systemd ]; then
    exec chroot . "$here/serve.sh" "$share" </dev/null
fi
echo "$name" >etc/hostname
mkdir -p run/systemd/system
# What would look after the host's disks and devices, or empty /tmp, has no business here.
for unit in systemd-tmpfiles-setup systemd-tmpfiles-setup-dev systemd-tmpfiles-clean systemd-udevd systemd-udev-trigger \
    systemd-modules-load systemd-sysctl systemd-sysusers systemd-journal-flush ifupdown-wait-online networking; do
    ln -s /dev/null run/systemd/system/$unit.service
done
cat >run/systemd/system/guest.target <<END
[Unit]
DefaultDependencies=no
Requires=guest.service
END
cat >run/systemd/system/guest.service <<END
[Unit]
DefaultDependencies=no
[Service]
ExecStart=$here/serve.sh $share
Environment=PATH=$PATH
KillMode=process
END
exec chroot . /lib/systemd/systemd --unit=guest.target --log-target=kmsg --log-level=warning </dev/null
