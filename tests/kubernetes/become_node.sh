# Turns the namespaces of a new machine into a node: a private layer over the whole of this machine's root, so that
# containerd and the kubelet find their places empty. Arguments: its folder outside, what empties them (fresh_node.sh),
# then paths to be had as they are.
set -e
folder=$1
fresh=$2
shift 2
mkdir -p "$folder/upper" "$folder/work" "$folder/root" "$folder/containerd"
mount -t overlay wm -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc wm proc
mount -t sysfs wm sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs -o mode=755 wm run
mount -t tmpfs -o mode=1777 wm tmp
# Not part of the layer: file systems of their own, and what changes below it while the node runs. After those above,
# because a path may be below one of them.
for path in "$@" "$folder/containerd"; do
    mkdir -p ".$path"
    mount --bind "$path" ".$path"
done
mkdir -p var/lib/containerd
mount --bind "$folder/containerd" var/lib/containerd
sh "$fresh"
mkdir -p run/wm-private/old run/netns run/lock
pivot_root . run/wm-private/old
umount -l /run/wm-private/old
# Kubelets pass mounts on to containers.
mount --make-rshared /
