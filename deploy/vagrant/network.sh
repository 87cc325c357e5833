#!/bin/sh
# The network of one machine, beyond what Vagrant sets up: network.sh nat | network.sh host [VIA]
#   nat    is the router of cloud b: forwards, and hides the cloud behind its own address
#   host   reaches the internet directly, or (VIA) through that router
set -eu
internet=198.51.100.0/24
cloud_b=10.77.0.0/24
command -v nft >/dev/null && command -v ip >/dev/null || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nftables iproute2 >/dev/null
}
case $1 in
    nat)
        sysctl -qw net.ipv4.ip_forward=1
        nft -f - <<END
table ip cloud_b {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr $cloud_b ip daddr $internet masquerade
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ip saddr $cloud_b accept
    }
}
END
        ;;
    host) [ -z "${2:-}" ] || ip route replace $internet via "$2" ;;
esac
