"""Captures packets on a machine's interface and judges what was seen: only WireGuard, TLS and knocks, no plaintext.

The judge is not the program under test: tcpdump writes the packets, dpkt takes them apart.
"""

import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import dpkt

from deploy.demo.lab import Machine, end, wait_until
from weavemesh.kernel.forwarding import RELAY_PORTS
from weavemesh.overlay.knock import KNOCK_BYTES
from weavemesh.overlay.knock import MAGIC as KNOCK_MAGIC

TLS_RECORD_TYPES = (20, 21, 22, 23)
"""change_cipher_spec, alert, handshake, application_data (RFC 8446 §5.1)."""
WIREGUARD_MESSAGE_TYPES = (1, 2, 3, 4)
"""Initiation, response, cookie reply, transport data; three reserved zero bytes follow (WireGuard paper §5.4)."""

SETTLE_S = 0.5
"""So long nothing new must have been written before a capture is ended."""
SETTLE_S_MAX = 5.0


@dataclass
class Verdict:
    """What went by."""

    wireguard: int = 0
    """Packets that are WireGuard messages."""
    knocks: int = 0
    """Knocks and their answers: the agents' own packets of fixed size, proven, about where peers are."""
    tls: int = 0
    """TCP packets of streams that consist of TLS records."""
    plain: Counter[str] = field(default_factory=Counter)
    """Everything else, by kind: must be empty but for ARP."""
    marker: int = 0
    """How often the marker was found in any packet."""
    lost: int = 0
    """Packets that tcpdump could not keep up with."""

    @property
    def is_clean(self) -> bool:
        return not self.plain and not self.marker

    def add(self, other: "Verdict") -> None:
        self.wireguard += other.wireguard
        self.knocks += other.knocks
        self.tls += other.tls
        self.plain += other.plain
        self.marker += other.marker
        self.lost += other.lost


class Capture:
    """Captures while the block runs; `judge()` afterwards."""

    def __init__(self, machine: Machine, interface: str, folder: Path, *, snap_bytes: int = 65535) -> None:
        self._machine = machine
        self._file = folder / f"{machine.name}-{interface}-{snap_bytes}.pcap"
        self._log = self._file.with_suffix(".log")
        self._command = [
            "tcpdump",
            "-i",
            interface,
            "-U",
            "--immediate-mode",
            "-n",
            "-B",
            "65536",
            "-s",
            str(snap_bytes),
            "-Z",
            "root",
            "-w",
            "-",
        ]
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        with self._file.open("wb") as packets, self._log.open("wb") as log:
            self._process = self._machine.start(*self._command, stdout=packets.fileno(), stderr=log.fileno())
        wait_until(lambda: "listening on" in self._log.read_text(), seconds=10, what="tcpdump to listen")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle()
        end(self._process, stop=signal.SIGINT)

    def _settle(self) -> None:
        """Wait until tcpdump has written what it has seen: what is still in its buffer when it ends is lost."""
        began = since = time.monotonic()
        size = -1
        while time.monotonic() - since < SETTLE_S and time.monotonic() - began < SETTLE_S_MAX:
            if (now := self._file.stat().st_size) != size:
                size, since = now, time.monotonic()
            time.sleep(0.05)

    def judge(self, *, port: int, marker: bytes, translated: Container[int] = ()) -> Verdict:
        """Take the packets apart; `port` is the port of the mesh, TCP and UDP; translators made `translated` of it."""
        verdict = judge_frames(frames_of(self._file), port=port, translated=translated)
        verdict.lost = self._packets_lost()
        verdict.marker = self.markers(marker)
        return verdict

    def frames(self) -> Iterator[bytes]:
        """What was captured."""
        return frames_of(self._file)

    def markers(self, marker: bytes) -> int:
        """How often the marker stands in what was captured."""
        return self._file.read_bytes().count(marker)

    def _packets_lost(self) -> int:
        return sum(int(line.split()[0]) for line in self._log.read_text().splitlines() if "dropped by kernel" in line)


def frames_of(file: Path) -> Iterator[bytes]:
    """The frames that tcpdump wrote."""
    with file.open("rb") as stream:
        for _, frame in dpkt.pcap.Reader(stream):
            yield frame


def judge_frames(frames: Iterable[bytes], *, port: int, translated: Container[int] = ()) -> Verdict:
    """Take Ethernet frames apart; `port` is the port of the mesh, TCP and UDP; translators made `translated` of it."""
    verdict = Verdict()
    streams: dict[tuple[bytes, int, bytes, int], dict[int, bytes]] = defaultdict(dict)
    for frame in frames:
        kind = _classify(frame, port, translated, streams)
        if kind == "wireguard":
            verdict.wireguard += 1
        elif kind == "knock":
            verdict.knocks += 1
        elif kind == "tcp":
            verdict.tls += 1
        elif kind != "arp":
            verdict.plain[kind] += 1
    for segments in streams.values():
        if not _is_tls(segments):
            verdict.plain["TCP stream that is not TLS"] += 1
    return verdict


def _classify(
    frame: bytes,
    port: int,
    translated: Container[int],
    streams: dict[tuple[bytes, int, bytes, int], dict[int, bytes]],
) -> str:
    ethernet = dpkt.ethernet.Ethernet(frame)
    packet = ethernet.data
    if isinstance(packet, dpkt.arp.ARP):
        return "arp"
    if not isinstance(packet, dpkt.ip.IP | dpkt.ip6.IP6):
        return f"ethertype {ethernet.type:#06x}"
    segment = packet.data
    if isinstance(packet, dpkt.ip6.IP6) and isinstance(segment, dpkt.icmp6.ICMP6):
        return "arp" if segment.type in range(133, 138) or segment.type == 143 else "ICMPv6"  # neighbour discovery
    if isinstance(segment, dpkt.icmp.ICMP) and _returns_a_tunnel_packet(segment, port, translated):
        return "arp"
    if isinstance(segment, dpkt.udp.UDP) and _is_of_the_mesh(segment, port, translated):
        if segment.data.startswith(KNOCK_MAGIC) and len(segment.data) == KNOCK_BYTES:
            return "knock"
        is_wireguard = segment.data[:1] and segment.data[0] in WIREGUARD_MESSAGE_TYPES and segment.data[1:4] == bytes(3)
        return "wireguard" if is_wireguard else "UDP that is not WireGuard"
    if isinstance(segment, dpkt.tcp.TCP) and port in (segment.sport, segment.dport):
        if segment.data:
            streams[packet.src, segment.sport, packet.dst, segment.dport][segment.seq] = segment.data
        return "tcp"
    return f"{type(packet).__name__}/{type(segment).__name__}"


def _is_of_the_mesh(segment: dpkt.udp.UDP, port: int, translated: Container[int]) -> bool:
    """A translator may have changed one end's port, or both have, to those that are known."""
    return any(
        number == port or number in RELAY_PORTS or number in translated for number in (segment.sport, segment.dport)
    )


def _returns_a_tunnel_packet(message: dpkt.icmp.ICMP, port: int, translated: Container[int]) -> bool:
    """An error, of a host without a device or of a router, about a packet of the mesh: it quotes its beginning."""
    if not isinstance(message.data, dpkt.icmp.ICMP.Unreach):
        return False
    quoted = message.data.data
    segment = quoted.data if isinstance(quoted, dpkt.ip.IP) else None
    if isinstance(segment, dpkt.tcp.TCP):
        return port in (segment.sport, segment.dport)
    return isinstance(segment, dpkt.udp.UDP) and _is_of_the_mesh(segment, port, translated)


def _is_tls(segments: dict[int, bytes]) -> bool:
    """The stream is a sequence of TLS records. It must have been captured from its start."""
    first = min(segments)
    stream = bytearray()
    for sequence in sorted(segments):
        offset = sequence - first
        if offset > len(stream):
            return False  # a hole: judged as unclean rather than passed over
        stream[offset : offset + len(segments[sequence])] = segments[sequence]
    position = 0
    while position + 5 <= len(stream):
        if stream[position] not in TLS_RECORD_TYPES or stream[position + 1] != 3:
            return False
        position += 5 + int.from_bytes(stream[position + 3 : position + 5], "big")
    return True
