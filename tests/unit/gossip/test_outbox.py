from gossip import CloseLink, Dial, LinkId, PeerChanged, Persist, SendFrame, Target
from gossip.outbox import Outbox
from gossip.wire import Ping, encode
from tests.unit.gossip.transcript import NAMES


def test_outputs_keep_their_order_and_changes_come_last_once_each() -> None:
    outbox = Outbox()
    outbox.persist()
    outbox.changed(NAMES["bob"])
    outbox.dial(Target("h:1"))
    outbox.changed(NAMES["ann"])
    outbox.send(LinkId(1), Ping(1))
    outbox.changed(NAMES["bob"])
    outbox.persist()
    outbox.close(LinkId(1), "why not")
    assert outbox.take() == [
        Dial(Target("h:1")),
        SendFrame(LinkId(1), encode(Ping(1))),
        CloseLink(LinkId(1), "why not"),
        PeerChanged(NAMES["ann"]),
        PeerChanged(NAMES["bob"]),
        Persist(),
    ]
    assert outbox.take() == []
