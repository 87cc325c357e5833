"""Two TLS ends without a socket: members recognise each other, and each failure has its reason on both sides."""

import ssl

import pytest

from weavemesh.certificate import LeafIssuer, MembershipAuthority, TlsContexts
from weavemesh.identity import Identity
from weavemesh.transport.failure import Failure, LinkFailed
from weavemesh.transport.tls import TlsChannel

from .members import MONTH_S, OURS, THEIRS, issuer

Outcome = LinkFailed | TlsChannel


def meet(dialer: ssl.SSLContext, acceptor: ssl.SSLContext) -> tuple[Outcome, Outcome]:
    """Carry bytes both ways until both ends are done or have failed."""
    ends = [TlsChannel(dialer, outbound=True), TlsChannel(acceptor, outbound=False)]
    outcomes: list[Outcome] = [ends[0], ends[1]]
    ends[0].start()
    for _ in range(4):
        for source, destination in ((0, 1), (1, 0)):
            chunk = ends[source].outgoing()
            if not chunk or isinstance(outcomes[destination], LinkFailed):
                continue
            try:
                ends[destination].receive(chunk)
            except LinkFailed as failure:
                outcomes[destination] = failure
    return outcomes[0], outcomes[1]


def codes(dialer: ssl.SSLContext, acceptor: ssl.SSLContext) -> tuple[Failure | None, Failure | None]:
    near, far = (outcome.code if isinstance(outcome, LinkFailed) else None for outcome in meet(dialer, acceptor))
    return near, far


def dial(authority: MembershipAuthority = OURS, *, clock_off_s: float = 0.0) -> ssl.SSLContext:
    return issuer(authority, clock_off_s=clock_off_s).contexts().dial


def accept(authority: MembershipAuthority = OURS, *, clock_off_s: float = 0.0) -> ssl.SSLContext:
    return issuer(authority, clock_off_s=clock_off_s).contexts().accept


def blind(authority: MembershipAuthority) -> ssl.SSLContext:
    """A dialer that does not look at the other's certificate, so that the other's verdict on it can be seen."""
    context = dial(authority)
    context.verify_mode = ssl.CERT_NONE
    return context


def test_members_recognise_each_other() -> None:
    one, other = issuer(), issuer()
    near, far = meet(one.contexts().dial, other.contexts().accept)
    assert isinstance(near, TlsChannel)
    assert isinstance(far, TlsChannel)
    assert (near.peer, far.peer) == (other.identity.name, one.identity.name)
    near.write(b"hello")
    assert far.receive(near.outgoing()) == b"hello"
    near.end()
    with pytest.raises(LinkFailed, match="it closed the link"):
        far.receive(near.outgoing())


def test_another_secret_is_named_on_both_sides() -> None:
    assert codes(dial(THEIRS), accept(OURS)) == (Failure.WRONG_SECRET, Failure.WRONG_SECRET)


def test_another_secret_of_a_dialer_that_does_not_look_is_named_on_both_sides() -> None:
    assert codes(blind(THEIRS), accept(OURS)) == (Failure.WRONG_SECRET, Failure.WRONG_SECRET)


def test_a_second_secret_can_be_trusted_for_a_while() -> None:
    both = LeafIssuer(identity=Identity.generate(), authority=OURS, also_trusted=(THEIRS,)).contexts()
    knows_ours = LeafIssuer(identity=Identity.generate(), authority=THEIRS, also_trusted=(OURS,)).contexts()
    assert codes(knows_ours.dial, both.accept) == (None, None)
    assert codes(both.dial, knows_ours.accept) == (None, None)


@pytest.mark.parametrize("off_s", [-MONTH_S, MONTH_S])
def test_a_wrong_clock_is_named_on_both_sides(off_s: float) -> None:
    assert codes(dial(clock_off_s=off_s), accept()) == (Failure.EXPIRED, Failure.EXPIRED)
    assert codes(dial(), accept(clock_off_s=off_s)) == (Failure.EXPIRED, Failure.EXPIRED)


def test_a_clock_that_is_hours_off_does_no_harm() -> None:
    for off_s in (-20 * 3600.0, 20 * 3600.0):
        assert codes(dial(clock_off_s=off_s), accept()) == (None, None)


def test_a_web_server_and_a_browser_are_not_taken_for_a_wrong_secret() -> None:
    server, browser = accept(THEIRS), blind(THEIRS)
    for context in (server, browser):
        context.set_alpn_protocols(["h2"])
    assert codes(dial(), server)[0] is Failure.NOT_WEAVEMESH
    assert codes(browser, accept())[1] is Failure.NOT_WEAVEMESH
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.verify_mode = ssl.CERT_NONE
    assert codes(nobody, accept())[1] is Failure.NOT_WEAVEMESH
    nobody.maximum_version = ssl.TLSVersion.TLSv1_2
    assert codes(nobody, accept())[1] is Failure.NOT_WEAVEMESH


def test_a_member_of_another_wire_version_is_named_on_both_sides() -> None:
    later = accept()
    later.set_alpn_protocols(["weavemesh/9"])
    assert codes(dial(), later) == (Failure.WRONG_VERSION, Failure.WRONG_VERSION)


def test_a_member_that_takes_anothers_name_is_recognised() -> None:
    class Impostor(Identity):
        @property
        def name(self):  # type: ignore[no-untyped-def]  # whatever the base says
            return victim.name

    victim = Identity.generate()
    honest = Identity.generate()
    impostor = Impostor(identity_key=honest.key_of_links, wireguard_key=honest.wireguard_key, nickname=honest.nickname)
    contexts: TlsContexts = LeafIssuer(identity=impostor, authority=OURS).contexts()
    assert codes(contexts.dial, accept())[1] is Failure.WRONG_IDENTITY
    assert codes(dial(), contexts.accept)[0] is Failure.WRONG_IDENTITY


@pytest.mark.parametrize("garbage", [b"G", b"\x00", b"SSH-2.0-x\r\n", b"\xff" * 100, b"\x16\x03\x01\x00\x05hello"])
def test_garbage_is_recognised_from_its_first_bytes(garbage: bytes) -> None:
    for end in (TlsChannel(accept(), outbound=False), TlsChannel(dial(), outbound=True)):
        with pytest.raises(LinkFailed) as failure:
            end.receive(garbage)
        assert failure.value.code is Failure.NOT_WEAVEMESH


def test_an_altered_record_breaks_the_link() -> None:
    near, far = meet(dial(), accept())
    assert isinstance(near, TlsChannel)
    assert isinstance(far, TlsChannel)
    near.write(b"hello")
    record = bytearray(near.outgoing())
    record[-1] ^= 1
    with pytest.raises(LinkFailed, match="encryption broke") as failure:
        far.receive(bytes(record))
    assert failure.value.code is Failure.LOST


@pytest.mark.parametrize("step", [1, 1000, 16 * 1024, 1 << 20])
def test_all_that_has_come_is_read_however_it_was_cut(step: int) -> None:
    near, far = meet(dial(), accept())
    assert isinstance(near, TlsChannel)
    assert isinstance(far, TlsChannel)
    said = [bytes([number]) * length for number, length in enumerate((1, 40_000, 3, 70_000, 1))]
    for part in said[: 3 if step == 1 else 5]:
        near.write(part)
    stream = near.outgoing()
    heard = b"".join(far.receive(memoryview(stream)[at : at + step]) for at in range(0, len(stream), step))
    assert heard == b"".join(said[: 3 if step == 1 else 5])


def test_what_was_said_before_the_end_is_read_first() -> None:
    near, far = meet(dial(), accept())
    assert isinstance(near, TlsChannel)
    assert isinstance(far, TlsChannel)
    near.write(b"farewell")
    near.end()
    assert far.receive(near.outgoing()) == b"farewell"
    with pytest.raises(LinkFailed, match="it closed the link"):
        far.receive(b"")
