#!/bin/busybox sh
# The very first process of an emulated node: finds its root. This machine's files (read-only) below its own disk.
/bin/busybox mkdir -p /proc /sys /dev /low /disk /new /bin
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc wm /proc
mount -t devtmpfs wm /dev
for module in /modules/*; do insmod "$module" || echo "cannot load $module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 root /low
mount -t ext4 /dev/vda /disk
mount -t overlay -o lowerdir=/low,upperdir=/disk/upper,workdir=/disk/work wm /new
mkdir -p /new/var/lib/containerd
mount --bind /disk/containerd /new/var/lib/containerd
umount /proc /dev
exec switch_root /new /etc/wm-boot
