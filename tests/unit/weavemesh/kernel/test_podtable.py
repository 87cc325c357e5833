from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from weavemesh.kernel.podmodel import PodAddress
from weavemesh.kernel.podtable import pod_table

MESH = (IPv4Network("10.32.0.0/12"), IPv6Network("fd57::a20:0/108"))


def test_the_table_is_what_it_is_meant_to_be() -> None:
    exposed = PodAddress(IPv4Address("10.32.0.9"), IPv6Address("fd57::a20:9"))
    assert pod_table(MESH, "wm0", exposed).text() == (
        "table inet weavemesh-pods\n"
        "delete table inet weavemesh-pods\n"
        "table inet weavemesh-pods {\n"
        "  chain forward {\n"
        "    type filter hook forward priority mangle; policy accept;\n"
        '    oifname "wm0" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu\n'
        '    iifname "wm0" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu\n'
        "  }\n"
        "  chain postrouting {\n"
        "    type nat hook postrouting priority srcnat + 10; policy accept;\n"
        '    ip saddr 10.32.0.0/12 ip daddr != { 10.32.0.0/12, 224.0.0.0/4 } oifname != "wm0" masquerade fully-random\n'
        "    ip6 saddr fd57::a20:0/108 ip6 daddr != { fd57::a20:0/108, ff00::/8 } "
        'oifname != "wm0" masquerade fully-random\n'
        '    ip saddr != 10.32.0.0/12 ip daddr 10.32.0.0/12 oifname "wm0" snat ip to 10.32.0.9\n'
        '    ip6 saddr != fd57::a20:0/108 ip6 daddr fd57::a20:0/108 oifname "wm0" snat ip6 to fd57::a20:9\n'
        "  }\n"
        "}\n"
    )


def test_without_an_exposed_host_nothing_is_translated_inwards() -> None:
    text = pod_table(MESH, "wm0", None).text()
    assert "snat ip" not in text
    assert "mark" not in text


def test_without_masquerading_segments_are_limited_all_the_same() -> None:
    text = pod_table(MESH, "wm0", PodAddress(IPv4Address("10.32.0.9"), None), masquerade=False).text()
    assert "postrouting" not in text and "snat" not in text
    assert text.count("maxseg size set rt mtu") == 2


def test_without_ipv6_there_is_none() -> None:
    assert "ip6" not in pod_table(MESH[:1], "wm0", PodAddress(IPv4Address("10.32.0.9"), None)).text()
