"""Golden texts: what people see of a sound mesh and of an ailing one, whole."""

# ruff: noqa: E501 - the lines are as wide as they are

from collections.abc import Callable

import msgspec
import pytest

from tests.unit.weavemesh.sample import A, B, C, ailing_report, peers, sound_report
from weavemesh import status_text
from weavemesh.status import PathStatus, StatusReport

SOUND_OVERVIEW = """\
        Verdict: all is well
     Encryption: enabled; 2 of 2 peers have a live tunnel

        Version: 0.1.0

        Service: router
       Protocol: weavemesh 1
           Name: aaaaaaaaaaaaaaaa(n1)
  PeerDiscovery: enabled
        Targets: 1
    Connections: 2 (2 established)
          Peers: 3 (with 6 established connections)

        Service: ipam
         Status: ready
          Range: 10.32.0.0/12
      IPv6Range: fd12:3456:789a::/96
         Active: 3 IPs here

        Service: tunnels
       Datapath: WireGuard, kernel
      Interface: wm0 (mtu 1420)
           Port: 6783 (UDP; TCP for control links, TLS 1.3)
         Secret: fingerprint k3jd9sl2
       Transfer: 235 MiB received, 4.0 KiB sent

        Service: cni
           Pods: 2

        Service: agent
            PID: 4711
         Uptime: 3 h 12 min
         Memory: 48.2 MiB
"""

SOUND_PEERS = """\
PEER                  TUNNEL     ENDPOINT        SEEN    HANDSHAKE    RTT      RECEIVED    SENT     OWNS          ADDRESS
aaaaaaaaaaaaaaaa(n1)  this peer  -               -       -            -        -           -        10.32.0.0/13  10.32.0.1
bbbbbbbbbbbbbbbb(n2)  live       192.0.2.2:6783  0 s     1 min 13 s   0.42 ms  118 MiB     2.0 KiB  10.40.0.0/14  10.40.0.1
cccccccccccccccc(n3)  live       192.0.2.3:6783  0 s     1 min 13 s   12.3 ms  118 MiB     2.0 KiB  10.44.0.0/14  10.44.0.1
"""

SOUND_CONNECTIONS = """\
    ADDRESS          STATE        PEER                  RTT      SINCE      INFO
->  192.0.2.2:6783   established  bbbbbbbbbbbbbbbb(n2)  0.50 ms  3 h 3 min  encrypted, TLS 1.3
<-  192.0.2.3:40112  established  cccccccccccccccc(n3)  12.0 ms  3 h 3 min  encrypted, TLS 1.3

PATH TO               WAY     ENDPOINT        RTT      LOSS    MTU            SINCE    WHY NOT DIRECT
bbbbbbbbbbbbbbbb(n2)  direct  192.0.2.2:6783  0.42 ms  -       1232           -
cccccccccccccccc(n3)  direct  192.0.2.3:6783  12.3 ms  -       1420 unproven  -
"""

SOUND_TARGETS = """\
TARGET          STATE      PEER                  INFO
192.0.2.2:6783  connected  bbbbbbbbbbbbbbbb(n2)
"""

SOUND_IPAM = """\
ready; range 10.32.0.0/12, IPv6 fd12:3456:789a::/96
aaaaaaaaaaaaaaaa(n1)  524288 IPs  (50.0% of total)  (3 active, 524284 free)  10.32.0.0/13
bbbbbbbbbbbbbbbb(n2)  262144 IPs  (25.0% of total)                           10.32.0.0/13
cccccccccccccccc(n3)  262144 IPs  (25.0% of total)  (262000 free)            10.32.0.0/13
"""

SOUND_PODS = """\
POD         ADDRESSES                         INTERFACE      ATTACHMENT
-           10.32.0.3                         wmvabcdef0123  demo/beef/eth0
shop/web-1  10.32.0.2, fd12:3456:789a::a20:2  wmv0123456789  k8s/0123/eth0
"""

AILING_OVERVIEW = """\
        Verdict: 6 things are not right
     Encryption: enabled; 1 of 2 peers have a live tunnel; packets for the others are dropped
        Problem: the route to 10.40.0.0/14 was refused
        Problem: cccccccccccccccc(n3) is unreachable, last heard of 2 min 12 s ago
         Remedy: see that weavemesh runs there and that TCP port 6783 is open between the hosts
        Problem: no connection to host9:6783: connection refused
         Remedy: see that weavemesh runs there, or drop it with `weavemesh forget host9:6783`
        Problem: 10.46.0.0/22 of dddddddddddddddd(n4), which was removed, cannot be handed out yet: start n3
        Problem: nothing of 10.32.8.0/24 is handed out here, because somebody else was given it, too
         Remedy: see that no pod of another host uses it, then `weavemesh ipam clear 10.32.8.0/24`
        Problem: k8s/0123/eth0 has waited 8 s for an address: no peer with free addresses answered
         Remedy: start peers that own free addresses, or free some

        Version: 0.1.0

        Service: router
       Protocol: weavemesh 1
           Name: aaaaaaaaaaaaaaaa(n1)
  PeerDiscovery: enabled
        Targets: 2
    Connections: 3 (2 established, 1 retrying)
          Peers: 3 (with 4 established connections, 1 unreachable)

        Service: ipam
         Status: ready
          Range: 10.32.0.0/12
      IPv6Range: fd12:3456:789a::/96
         Active: 3 IPs here
        Pending: 1 waiting for an address
       Isolated: 1 range given to somebody else, too
        Removed: 1 peer; addresses of 1 wait for a new owner

        Service: tunnels
       Datapath: WireGuard, userspace (wireguard-go)
      Interface: wm0 (mtu 1420)
           Port: 6783 (UDP; TCP for control links, TLS 1.3)
         Secret: fingerprint k3jd9sl2
       Transfer: 235 MiB received, 4.0 KiB sent

        Service: cni
           Pods: 0

        Service: agent
            PID: 4711
         Uptime: 3 h 12 min
         Memory: 48.2 MiB
"""

AILING_PEERS = """\
PEER                  TUNNEL        ENDPOINT        SEEN        HANDSHAKE    RTT      RECEIVED    SENT     OWNS          ADDRESS
aaaaaaaaaaaaaaaa(n1)  this peer     -               -           -            -        -           -        10.32.0.0/13  10.32.0.1
bbbbbbbbbbbbbbbb(n2)  live          192.0.2.2:6783  0 s         1 min 13 s   0.42 ms  118 MiB     2.0 KiB  10.40.0.0/14  10.40.0.1
cccccccccccccccc(n3)  unreachable!  192.0.2.3:6783  2 min 12 s  6 min 40 s   12.3 ms  118 MiB     2.0 KiB  10.44.0.0/14  10.44.0.1

! cccccccccccccccc(n3) is unreachable, last heard of 2 min 12 s ago; see that weavemesh runs there and that TCP port 6783 is open between the hosts
"""

AILING_CONNECTIONS = """\
    ADDRESS          STATE        PEER                  RTT      SINCE      INFO
->  192.0.2.2:6783   established  bbbbbbbbbbbbbbbb(n2)  0.50 ms  3 h 3 min  encrypted, TLS 1.3
<-  192.0.2.3:40112  established  cccccccccccccccc(n3)  12.0 ms  3 h 3 min  encrypted, TLS 1.3
->  host9:6783       retrying     -                     -        -          connection refused

PATH TO               WAY     ENDPOINT        RTT      LOSS    MTU            SINCE    WHY NOT DIRECT
bbbbbbbbbbbbbbbb(n2)  direct  192.0.2.2:6783  0.42 ms  -       1232           -
cccccccccccccccc(n3)  direct  192.0.2.3:6783  12.3 ms  -       1420 unproven  -
"""

AILING_TARGETS = """\
TARGET          STATE      PEER                  INFO
192.0.2.2:6783  connected  bbbbbbbbbbbbbbbb(n2)
host9:6783      retrying   -                     connection refused; next try in 7 s
"""

AILING_IPAM = """\
ready; range 10.32.0.0/12, IPv6 fd12:3456:789a::/96
aaaaaaaaaaaaaaaa(n1)  524288 IPs  (50.0% of total)  (3 active, 524284 free)  10.32.0.0/13
bbbbbbbbbbbbbbbb(n2)  262144 IPs  (25.0% of total)                           10.32.0.0/13
cccccccccccccccc(n3)  262144 IPs  (25.0% of total)  - unreachable!           10.32.0.0/13
k8s/0123/eth0 waits for an address: no peer with free addresses answered
1024 IPs have no owner that this peer knows of
isolated: 10.32.8.0/24
removed: dddddddddddddddd(n4)

! 10.46.0.0/22 of dddddddddddddddd(n4), which was removed, cannot be handed out yet: start n3
! nothing of 10.32.8.0/24 is handed out here, because somebody else was given it, too; see that no pod of another host uses it, then `weavemesh ipam clear 10.32.8.0/24`
"""


@pytest.mark.parametrize(
    ("report", "render", "text"),
    [
        (sound_report(), status_text.overview, SOUND_OVERVIEW),
        (sound_report(), status_text.peers, SOUND_PEERS),
        (sound_report(), status_text.connections, SOUND_CONNECTIONS),
        (sound_report(), status_text.targets, SOUND_TARGETS),
        (sound_report(), status_text.ipam, SOUND_IPAM),
        (sound_report(), status_text.pods, SOUND_PODS),
        (ailing_report(), status_text.overview, AILING_OVERVIEW),
        (ailing_report(), status_text.peers, AILING_PEERS),
        (ailing_report(), status_text.connections, AILING_CONNECTIONS),
        (ailing_report(), status_text.targets, AILING_TARGETS),
        (ailing_report(), status_text.ipam, AILING_IPAM),
        (ailing_report(), status_text.pods, "no pods\n"),
    ],
)
def test_people_read_this(report: StatusReport, render: Callable[[StatusReport], str], text: str) -> None:
    assert render(report) == text


def test_a_mesh_of_one_has_words_for_what_is_not_there() -> None:
    report = sound_report()
    router = msgspec.structs.replace(report.router, connections=(), targets=())
    alone = msgspec.structs.replace(report, router=router, peers=report.peers[:1])
    assert status_text.connections(alone) == "no connections\n"
    assert status_text.targets(alone) == "no targets\n"
    assert "    Connections: 0\n          Peers: 1 (with 2 established connections)\n" in status_text.overview(alone)


def test_a_nickname_cannot_command_the_terminal() -> None:
    ours, second, _ = peers()
    report = msgspec.structs.replace(
        sound_report(), peers=(ours, msgspec.structs.replace(second, nickname="\x1b[2Jn2\nn3"))
    )
    text = status_text.peers(report)
    assert "\x1b" not in text
    assert "(\\x1b[2Jn2\\nn3)" in text
    assert len(text.splitlines()) == 3


def test_every_label_ends_where_weave_nets_did() -> None:
    lines = [line for line in status_text.overview(ailing_report()).splitlines() if line]
    assert {line[status_text.LABEL_COLUMNS :][:2] for line in lines} == {": "}


def test_indirect_ways_and_suspicious_counts_are_shown() -> None:
    report = sound_report()
    router = msgspec.structs.replace(
        report.router,
        indirect=(
            PathStatus(origin=A, peer=B, relay=C, reason="no UDP answer"),
            PathStatus(origin=B, peer=A, relay=None, reason="down"),
        ),
        counters={"forged": 3, "stale": 9, "hurried": 0},
    )
    shown = msgspec.structs.replace(report, router=router)
    assert (
        f"{A}(n1) -> {B}(n2): over {C}(n3) (no UDP answer)\n{B}(n2) -> {A}(n1): no way (down)\n"
        in status_text.peers(shown)
    )
    assert "        Refused: 3 forged\n" in status_text.overview(shown)
