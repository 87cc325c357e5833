"""The path machine: finds for every other peer a way that works, direct if at all possible, and keeps it working.

Pure: inputs in, outputs out. Its words are in `pathevent.py`, what it knows of one peer in `way.py`. Its counterparts
are `weavemesh.pathing`, which performs, `relay.py`, which forwards, `probe.py`, which asks through the tunnels.

Theory of operation
-------------------
*Search.* All endpoints at which a peer may be are knocked at together, some rounds in short intervals, and the peer is
called over the mesh to do the same (one that is new here, unless it answers at once): two NATs open when both sides
knock at about the same time. Whoever is knocked at from an unknown place knocks back there. An answer to a knock proves
a path both ways; the first one that comes is taken. A search without success is repeated for ever, at growing
intervals.

*Relay.* Where no answer has come within `RELAY_AFTER_S`, a relay is used. Of two peers the one with the smaller name,
the *elder*, chooses: so they never choose differently. It takes those relays that both reach directly with the smallest
sum of round-trip times, calls the other, and both bind there. The elder sends over the first at which both are bound;
the other follows. Each later call names the relay in use again: so an end that went astray, or started anew, comes
back to it. As only who is reached directly is a relay, no relay is reached over another, and there are no loops.

*Switching.* The device's endpoint is changed only to a path that has been proven. WireGuard itself follows the other
end's packets; those still on their way over the former path turn it back, so the endpoint is set a few times again.

*Failure.* The tunnel's silence (several questions inside it without an answer) or the other's word, that it is lost or
bound at a relay, starts a search, and a relay is chosen at once unless the direct path answers a knock. A relay whose
path is lost is avoided for a while.

*Bounds.* Knocks in searches come out of one purse; bindings are as many as relayed peers, twice at most.
"""

from collections.abc import Mapping
from math import inf
from typing import assert_never

from gossip import PeerName
from weavemesh.overlay import pathevent, pathtime
from weavemesh.overlay.pathevent import DIRECT
from weavemesh.overlay.pathvoice import PathVoice
from weavemesh.overlay.patience import Patience
from weavemesh.overlay.purse import Purse
from weavemesh.overlay.relaychoice import free_port, is_better, leads_over_who_is_direct, relays_between
from weavemesh.overlay.seen import SeenAs
from weavemesh.overlay.state import Endpoint, IPAddress
from weavemesh.overlay.way import Binding, Way


class Paths:
    """The machine; see the theory of operation above."""

    def __init__(self, *, name: PeerName, nonce: int) -> None:
        """`nonce` is greater than that of every knock in former lives."""
        self._name = name
        self._ways: dict[PeerName, Way] = {}
        self._purse = Purse()
        self._patience = Patience()
        self._own: frozenset[IPAddress] = frozenset()
        self._due: float | None = None
        """No way wakes before, though perhaps later; None: unknown, as after what is not of one peer alone."""
        self.seen = SeenAs()
        """Where others see our packets come from; to be read only."""
        self._voice = PathVoice(self.seen.endpoints, self._patience, nonce=nonce)

    def receive(self, event: pathevent.PathInput, now: float) -> None:
        match event:
            case pathevent.PathPeers(peers=peers):
                self._know(peers, now)
            case pathevent.AddressesChanged(addresses=addresses):
                self._own, self._due = frozenset(addresses), None
                self.seen.forget()
                for peer in list(self._ways):
                    self._doubt(peer, now)
            case pathevent.DeviceSeen(endpoints=endpoints):
                for peer in [peer for peer in endpoints if peer in self._ways]:
                    self._device_sends_to(peer, endpoints[peer], now)
            case _:
                if (way := self._ways.get(event.peer)) is not None:
                    self._receive_from(event, way, now)
                    self._due = None if self._due is None else min(self._due, way.wake_at())

    def tick(self, now: float) -> None:
        self._patience.timer(self.deadline(), now)
        for peer, way in self._ways.items():
            if way.wake_at() <= now:
                self._act(peer, way, now)
        self._due = None

    def deadline(self) -> float | None:
        if self._due is None:
            self._due = min((way.wake_at() for way in self._ways.values()), default=inf)
        return None if self._due == inf else self._due

    def outputs(self) -> list[pathevent.PathOutput]:
        return self._voice.outputs()

    def view(self, peer: PeerName) -> pathevent.PathView | None:
        """The path to this peer; None for one that is not known."""
        return self._ways[peer].view(self._own) if peer in self._ways else None

    def via(self, peer: PeerName) -> str | None:
        """DIRECT or the relay of a path of which nothing is known that speaks against it; None without any."""
        way = self._ways.get(peer)
        return way.via if way is not None and way.silent_since is None else None

    # -- inputs ---------------------------------------------------------------------------------------

    def _know(self, peers: Mapping[PeerName, pathevent.PathPeer], now: float) -> None:
        self._due = None
        for peer in [peer for peer in self._ways if peer not in peers]:
            del self._ways[peer]
            self._doubt_what_leads_over(peer, now)
            self._voice.say(pathevent.PathsChanged())
        for name in sorted(peers):
            known, way = peers[name], self._ways.get(name)
            if way is None:
                self._ways[name] = way = Way(known)
                self._search(way, now, call_after_s=pathtime.CALL_AFTER_S)
                continue
            before, way.peer = way.peer, known
            appeared = set(known.endpoints) - set(before.endpoints)
            if not way.is_direct and (appeared or (known.in_touch and not before.in_touch)):
                self._search(way, now)

    def _receive_from(self, event: pathevent.OfOnePeer, way: Way, now: float) -> None:
        match event:
            case pathevent.KnockHeard(peer=peer, source=source):
                is_new = way.hear(source, now)
                way.carried(source, now)  # it is answered, too
                if (is_new and source != way.endpoint) or (not way.is_direct and way.knock_back_at <= now):
                    way.knock_back_at = now + self._patience.stretch(pathtime.KNOCK_BACK_INTERVAL_S, now)
                    self._voice.knock(peer, source, now)
            case pathevent.KnockAnswered():
                self._answered(event, way, now)
            case pathevent.CallHeard(peer=peer, call=call):
                self._called(peer, way, call, now)
            case pathevent.TunnelAnswered(rtt_s=rtt_s):
                if not leads_over_who_is_direct(self._ways, way) or (way.via == DIRECT and not way.is_direct):
                    return  # what is on its way still arrives; and it may have come over the relay that the other uses
                if way.silent_since is not None:
                    way.recover(now)
                    self._voice.say(pathevent.PathsChanged())
                way.proven_at = now
                if way.via == DIRECT and way.endpoint is not None:
                    way.rtt[way.endpoint] = rtt_s
                    way.carried(way.endpoint, now)
            case pathevent.TunnelSilent(peer=peer):
                if way.silent_since is None:
                    self._doubt(peer, now)
            case _:
                assert_never(event)

    def _doubt(self, peer: PeerName, now: float) -> None:
        """The path in use may be broken: find out, and find another."""
        way = self._ways[peer]
        if way.silent_since is None:
            way.silent_since = now
            self._voice.say(pathevent.PathsChanged())
        if way.via is not None and way.via != DIRECT:
            relay = PeerName(way.via)
            way.avoid[relay] = now + pathtime.AVOID_S
            way.bindings.pop(relay, None)
        way.backoff_s = 0.0
        self._search(way, now)

    def _doubt_what_leads_over(self, relay: PeerName, now: float) -> None:
        """Only who is reached directly can be a relay."""
        self._due = None
        for other, dependent in self._ways.items():
            if dependent.via == relay and dependent.silent_since is None:
                self._doubt(other, now)

    def _called(self, peer: PeerName, way: Way, call: pathevent.Call, now: float) -> None:
        is_news = [way.hear(endpoint, now) for endpoint in reversed(call.endpoints)]
        way.told_relays = dict(call.relays)
        if way.is_direct and (call.lost or call.use):
            # An answer shows that the caller is only late to know. The tunnel's would not: it may come over a relay.
            self._voice.knock(peer, way.endpoint, now)
            way.relay_at = min(way.relay_at, now + self._relay_after_s(now))
        elif call.lost and way.is_relayed and now - way.proven_at > 1.0:
            self._doubt(peer, now)
        elif not way.is_direct and (any(is_news) or call.lost or way.next_round_at == inf):
            self._start_rounds(way, now)
        if call.reply:
            self._voice.call(self._ways, peer, now, reply=False)
        is_late = now - way.searching_since >= self._relay_after_s(now)
        if is_late and not (way.is_direct or way.is_relayed or way.bindings):
            way.relay_at = now
        for relay in call.use[: pathtime.RELAYS_AT_ONCE]:
            if not self._is_elder(peer) and relay not in way.bindings:
                self._bind(peer, way, relay, now)

    def _answered(self, event: pathevent.KnockAnswered, way: Way, now: float) -> None:
        asked = self._voice.answered(event.peer, event.nonce, now)
        if asked is None:
            return  # late, doubled or made up
        endpoint, bound_for, rtt_s = asked
        self._patience.answered(rtt_s)
        if self.seen.note(event.peer, event.seen_as, at_relay=bound_for is not None):
            self._voice.say(pathevent.SeenAsChanged())
        if bound_for is not None:
            if bound_for in self._ways:
                self._bound(event.peer, bound_for, event, now)
            return
        way.rtt[endpoint] = rtt_s
        way.is_translated = endpoint not in way.peer.own or event.seen_as.address not in self._own
        if way.is_direct and way.endpoint != endpoint and now - way.proven_at < pathtime.REFRESH_INTERVAL_S * 2:
            return  # it works as it is
        self._use(event.peer, way, DIRECT, endpoint, now)

    def _device_sends_to(self, peer: PeerName, endpoint: Endpoint, now: float) -> None:
        way = self._ways[peer]
        if endpoint == way.endpoint:
            return
        self._due = None
        for relay, binding in way.bindings.items():
            if binding.endpoint == endpoint:
                if way.is_direct and way.endpoint is not None:
                    self._voice.knock(peer, way.endpoint, now)  # an answer sets it anew
                    way.proven_at = -inf
                elif not self._is_elder(peer) and self._ways[relay].is_direct:
                    self._use(peer, way, relay, endpoint, now)
                return
        if any(endpoint.port in other.peer.relay_ports for other in self._ways.values()):
            return  # a relay's, from a former life or of the other's choice: the search goes on
        if way.via is None and now - way.proven_at < pathtime.REFRESH_INTERVAL_S:
            way.adopt(endpoint, now)  # found by the device, or by a former life
            self._voice.say(pathevent.PathsChanged())
        elif way.hear(endpoint, now) or not way.is_direct:
            self._voice.knock(peer, endpoint, now)
            way.proven_at = -inf

    # -- searching ------------------------------------------------------------------------------------

    def _search(self, way: Way, now: float, *, call_after_s: float = 0.0) -> None:
        self._start_rounds(way, now)
        if not way.is_relayed:
            way.relay_at = min(way.relay_at, now + self._relay_after_s(now))
        way.call_at = now + (self._patience.stretch(call_after_s, now) if call_after_s else 0.0)

    def _relay_after_s(self, now: float) -> float:
        return self._patience.stretch(pathtime.RELAY_AFTER_S, now)

    def _start_rounds(self, way: Way, now: float) -> None:
        if way.next_round_at == inf or way.round > 1:
            way.round, way.next_round_at = 0, now
            way.searching_since = min(way.searching_since, now)
        way.next_search_at = inf

    def _act(self, peer: PeerName, way: Way, now: float) -> None:
        if way.next_search_at <= now:
            if way.silent_since is not None or way.via is None:
                way.avoid.clear()  # nothing works: what did not may do so again
            self._search(way, now)
            self._look_for_better_relay(peer, way, now)
        if way.next_round_at <= now:
            self._next_round(peer, way, now)
        if way.call_at <= now:
            way.call_at = inf
            self._voice.call(self._ways, peer, now, reply=True)
        if way.relay_at <= now:
            way.relay_at = inf
            self._choose_relay(peer, way, now)
        if way.refresh_at <= now:
            way.refresh_at = now + way.refresh_interval_s
            if way.via == DIRECT:
                self._voice.knock(peer, way.endpoint, now)
        if way.assert_at and way.assert_at[0] <= now:
            way.assert_at = way.assert_at[1:]
            if way.endpoint is not None and (way.is_direct or way.is_relayed):
                self._voice.say(pathevent.SetEndpoint(peer, way.endpoint, greet=False))
        for relay, binding in list(way.bindings.items()):
            if binding.next_at <= now:
                self._bind_again(peer, way, relay, binding, now)

    def _next_round(self, peer: PeerName, way: Way, now: float) -> None:
        candidates = way.candidates()
        # What is in use and may be broken does not wait, but for ever.
        if not self._purse.take(now, count=len(candidates)) and not way.is_urgent(now):
            way.next_round_at = now + pathtime.UNPAID_S
            if way.via is None and way.relay_at != inf:  # nobody knows yet that what was not tried does not answer
                way.relay_at = way.next_round_at + self._relay_after_s(now)
            return
        for endpoint in candidates:
            self._voice.knock(peer, endpoint, now)
        if way.round < len(pathtime.ROUND_INTERVALS_S):
            way.next_round_at = now + self._patience.stretch(pathtime.ROUND_INTERVALS_S[way.round], now)
            way.round += 1
            return
        way.next_round_at = inf
        if not way.is_direct:
            is_urgent = way.peer.in_touch and not way.is_relayed
            most = pathtime.SEARCH_INTERVAL_URGENT_MAX_S if is_urgent else pathtime.SEARCH_INTERVAL_MAX_S
            way.backoff_s = min(most, way.backoff_s * 2 or pathtime.SEARCH_INTERVAL_S)
            way.next_search_at = now + self._patience.stretch(way.backoff_s, now)

    def _use(self, peer: PeerName, way: Way, via: str, endpoint: Endpoint, now: float) -> None:
        """Send over this path, which has been proven, from now on."""
        is_other, is_first = (way.via, way.endpoint) != (via, endpoint), way.via is None
        was_silent = way.silent_since is not None
        is_led_astray = way.proven_at == -inf
        if is_other:
            way.via, way.endpoint, way.since = via, endpoint, now
        way.silent_since, way.proven_at = None, now
        if via == DIRECT:
            way.adopt(endpoint, now)
            way.bindings.clear()  # the relay forgets us by itself; what is on its way over it still arrives
        else:
            self._doubt_what_leads_over(peer, now)
        if is_other or was_silent or is_led_astray:
            self._voice.say(pathevent.SetEndpoint(peer, endpoint, greet=is_other or was_silent))
        if is_other:
            asserted = pathtime.ASSERT_FIRST_AFTER_S if is_first else pathtime.ASSERT_AFTER_S
            way.assert_at = tuple(now + after for after in asserted)
        if is_other or was_silent:
            self._voice.say(pathevent.PathsChanged())

    # -- relays ---------------------------------------------------------------------------------------

    def _choose_relay(self, peer: PeerName, way: Way, now: float) -> None:
        if way.is_direct:
            self._doubt(peer, now)
        if way.is_relayed:
            return
        # The elder chooses; but should the other not hear of it, because it lost its links too, it may guess the same.
        for relay in list(relays_between(self._ways, peer, now))[: pathtime.RELAYS_AT_ONCE]:
            if relay not in way.bindings:
                self._bind(peer, way, relay, now)
        if way.bindings and self._is_elder(peer):
            self._voice.call(self._ways, peer, now, reply=way.told_relays is None, at_once=True)
        else:
            # Relays may still be looking for us, or the other for them: it is asked once more.
            self._voice.call(self._ways, peer, now, reply=True)
            way.relay_at = inf if way.bindings or way.next_round_at == inf else now + self._relay_after_s(now)

    def _look_for_better_relay(self, peer: PeerName, way: Way, now: float) -> None:
        if not way.is_relayed or not self._is_elder(peer):
            return
        best = next(iter(relays_between(self._ways, peer, now)), None)
        if best is not None and best not in way.bindings and is_better(self._ways, peer, best, now):
            self._bind(peer, way, best, now)
            self._voice.call(self._ways, peer, now, reply=False, at_once=True)

    def _bind(self, peer: PeerName, way: Way, relay: PeerName, now: float) -> None:
        endpoint = free_port(self._ways, relay)
        if endpoint is not None:
            way.bindings[relay] = binding = Binding(endpoint, began=now, next_at=now)
            self._bind_again(peer, way, relay, binding, now)

    def _bind_again(self, peer: PeerName, way: Way, relay: PeerName, binding: Binding, now: float) -> None:
        is_used = way.via == relay
        last = binding.began if binding.answered_at is None else binding.answered_at
        if is_used and now - last > pathtime.RELAY_DEAF_S:
            self._give_up(peer, way, relay, now)
            return
        if not is_used and now - binding.began > self._patience.stretch(pathtime.BIND_TIMEOUT_S, now):
            if not binding.both and self._is_elder(peer):
                self._give_up(peer, way, relay, now)
            else:
                del way.bindings[relay]
            return
        is_settled = is_used and way.since is not None and now - way.since > pathtime.SETTLE_S
        pause_s = pathtime.REBIND_INTERVAL_S if is_settled else self._patience.stretch(pathtime.BIND_INTERVAL_S, now)
        binding.next_at = now + pause_s
        self._voice.knock(relay, binding.endpoint, now, bind_for=peer, uses=is_used)

    def _give_up(self, peer: PeerName, way: Way, relay: PeerName, now: float) -> None:
        binding = way.bindings.pop(relay, None)
        answers = binding is not None and binding.answered_at is not None
        way.avoid[relay] = now + (pathtime.AVOID_UNBOUND_S if answers and way.via != relay else pathtime.AVOID_S)
        if way.via == relay:
            self._doubt(peer, now)
        if not way.is_direct and not way.is_relayed and not way.bindings:
            way.relay_at = now

    def _bound(self, relay: PeerName, peer: PeerName, event: pathevent.KnockAnswered, now: float) -> None:
        self._due = None
        way = self._ways[peer]
        binding = way.bindings.get(relay)
        if binding is None:
            return
        if event.refused:
            self._give_up(peer, way, relay, now)
            return
        binding.both = event.both_bound
        binding.answered_at = now if binding.both or way.via != relay else binding.answered_at  # alone it is no path
        is_path = event.both_bound and self._ways[relay].is_direct
        if way.is_direct or not is_path or (way.via == relay and way.silent_since is None):
            return
        if self._is_elder(peer):
            if not way.is_relayed or is_better(self._ways, peer, relay, now):
                self._go_over(relay, peer, way, binding, now)
        elif event.other_uses:
            self._go_over(relay, peer, way, binding, now)

    def _go_over(self, relay: PeerName, peer: PeerName, way: Way, binding: Binding, now: float) -> None:
        self._use(peer, way, relay, binding.endpoint, now)
        for other in [name for name in way.bindings if name != relay]:
            del way.bindings[other]
        self._bind_again(peer, way, relay, binding, now)

    def _is_elder(self, peer: PeerName) -> bool:
        return self._name < peer
