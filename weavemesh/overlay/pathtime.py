"""How long the path machine (`path.py`) waits for what, in seconds, and how much it does at once."""

ROUND_INTERVALS_S = (0.1, 0.2, 0.4, 0.8)
"""Between the rounds of one search: there is one round more."""
CALL_AFTER_S = 0.1
"""Whoever can be knocked at without a translator on the way has answered by then; a call crosses the mesh."""
RELAY_AFTER_S = 0.3
UNPAID_S = 0.5
"""Until a round of knocks is tried again for which the purse held too little."""
URGENT_S = 10.0
"""So long a path in use that broke is searched for whatever the purse holds: two ends that hear each other in one
direction only keep each other searching by their calls.
"""
SEARCH_INTERVAL_S = 2.0
"""After the first search without success; doubled after each."""
SEARCH_INTERVAL_MAX_S = 30.0
SEARCH_INTERVAL_URGENT_MAX_S = 4.0
"""Where the peer can be called but there is no way at all."""
ANSWER_TIMEOUT_S = 5.0
"""A later answer to a knock counts no more; on starved hosts it has longer."""
KNOCK_BACK_INTERVAL_S = 0.05
"""At least between two knocks with which one peer's are returned; on starved hosts it is more. Where answers come too
late to count, two ends would else return each other's knocks for ever.
"""
REFRESH_INTERVAL_S = 15.0
"""Many translators forget a flow after 30 s (RFC 4787 §4.3 asks for 120)."""
REFRESH_UNTRANSLATED_S = 100.0
"""Firewalls that only remember flows keep these for 120 s and more (Linux: nf_conntrack_udp_timeout_stream)."""
ASSERT_AFTER_S = (0.2, 0.5, 1.0, 2.0)
ASSERT_FIRST_AFTER_S = (2.0,)
"""Of a first path: no packets are on their way over a former one; but the other end may have found another."""
CALL_INTERVAL_S = 0.25
"""At least between two calls to one peer."""
BIND_INTERVAL_S = 0.15
"""Until both ends are bound; on starved hosts it is more."""
SETTLE_S = 1.0
"""After going over to a relay bindings go on as often, so that the other end hears of it though some are lost."""
BIND_TIMEOUT_S = 1.5
REBIND_INTERVAL_S = 5.0
RELAY_DEAF_S = 13.0
"""A relay in use that does not answer bindings for so long is exchanged, though it may still forward."""
AVOID_S = 20.0
AVOID_UNBOUND_S = 3.0
"""Where only the other end did not come: it may have been late."""
RELAYS_AT_ONCE = 2
RELAYS_TOLD_MAX = 8
