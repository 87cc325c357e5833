"""The TLS end of a link over memory: bytes from the socket in, bytes for the socket and plaintext out.

It opens no socket, so that a handshake costs nothing before its first byte has come, no data is lost between plain
and encrypted, and each failure can be given its reason. Who is let in is decided by `weavemesh.certificate`.
"""

import ssl
from contextlib import suppress
from typing import Final

from gossip import PeerName
from weavemesh.certificate import WIRE_PROTOCOL, CertificateInvalid, peer_of
from weavemesh.transport.failure import Failure, LinkFailed

_READ_BYTES: Final = 64 * 1024
_RECORD_HANDSHAKE: Final = 0x16
_RECORD_ALERT: Final = 0x15
"""First byte of a TLS record (RFC 8446, §5.1)."""

# X.509 verification results (openssl-verify(1)).
_VERIFY_NOT_YET_VALID: Final = 9
_VERIFY_EXPIRED: Final = 10

_OTHER_SECRET: Final = "it has another cluster secret; compare `weavemesh secret fingerprint` on both hosts"
_NO_MEMBER: Final = "it is no weavemesh peer: it shows a certificate of something else"
_WRONG_CLOCK: Final = "its certificate is not valid at this host's time; set both hosts' clocks right"
_OUR_CLOCK: Final = "it finds our certificate not valid at its time; set both hosts' clocks right"

_ALERTS: Final = {
    # What the other end says of us (RFC 8446, §6.2), by OpenSSL's names.
    "TLSV1_ALERT_UNKNOWN_CA": (_OTHER_SECRET, Failure.WRONG_SECRET),
    "TLSV1_ALERT_DECRYPT_ERROR": (_OTHER_SECRET, Failure.WRONG_SECRET),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (_OUR_CLOCK, Failure.EXPIRED),
    "SSLV3_ALERT_BAD_CERTIFICATE": (_OUR_CLOCK, Failure.EXPIRED),  # OpenSSL's alert for "not yet valid"
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": ("it speaks TLS but not weavemesh", Failure.NOT_WEAVEMESH),
    "TLSV1_ALERT_PROTOCOL_VERSION": ("it does not speak TLS 1.3", Failure.NOT_WEAVEMESH),
    # What we find in its handshake.
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("it is no weavemesh peer: it shows no certificate", Failure.NOT_WEAVEMESH),
    "UNSUPPORTED_PROTOCOL": ("it does not speak TLS 1.3", Failure.NOT_WEAVEMESH),
}


class TlsChannel:
    """One end. `peer` is set when the handshake is done and the other end is a member."""

    def __init__(self, context: ssl.SSLContext, *, outbound: bool) -> None:
        self.peer: PeerName | None = None
        self._outbound = outbound
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=not outbound)
        self._begun = False
        self._broken = False

    def start(self) -> None:
        """Begin, at the dialing end."""
        self._shake()

    def receive(self, chunk: bytes | memoryview) -> bytes:
        """Take bytes from the socket; return the plaintext that they complete.

        LinkFailed when the handshake fails or the other end closes; `outgoing` may then hold an alert to send.
        """
        if not self._begun and chunk:
            self._begun = True
            _check_first_byte(chunk, outbound=self._outbound)
        self._incoming.write(chunk)
        if self.peer is None and not self._shake():
            return b""
        return self._read()

    def write(self, plaintext: bytes) -> None:
        """Encrypt; the result is in `outgoing`. Only after the handshake. Does nothing once TLS has failed."""
        if not self._broken:
            self._ssl.write(plaintext)

    def end(self) -> None:
        """Announce that no more will be written (close_notify)."""
        if not self._broken:
            with suppress(ssl.SSLError):  # it waits for the other end's, we do not
                self._ssl.unwrap()

    def outgoing(self) -> bytes:
        """The bytes to send to the socket now."""
        return self._outgoing.read()

    def _shake(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise self._explain(error) from error
        if self._ssl.selected_alpn_protocol() != WIRE_PROTOCOL:
            raise LinkFailed("it speaks another version of the weavemesh protocol", Failure.WRONG_VERSION)
        try:
            self.peer = peer_of(self._ssl.getpeercert(binary_form=True) or b"")
        except CertificateInvalid as error:
            raise LinkFailed(str(error), Failure.WRONG_IDENTITY) from error
        return True

    def _read(self) -> bytes:
        chunks: list[bytes] = []
        # Whatever is left is either here or decrypted already; to be told so by an exception costs as much as a read.
        while not chunks or self._incoming.pending or self._ssl.pending():
            try:
                chunk = self._ssl.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                return b"".join(chunks)
            except ssl.SSLError as error:
                raise self._explain(error) from error
            if not chunk:
                if chunks:
                    return b"".join(chunks)  # the goodbye is in there; the closing is seen again at the end
                raise LinkFailed("it closed the link", Failure.CLOSED_BY_PEER)
            chunks.append(chunk)
        return b"".join(chunks)

    def _explain(self, error: ssl.SSLError) -> LinkFailed:
        self._broken = True
        if isinstance(error, ssl.SSLCertVerificationError):
            if error.verify_code in (_VERIFY_EXPIRED, _VERIFY_NOT_YET_VALID):
                return LinkFailed(_WRONG_CLOCK, Failure.EXPIRED)
            if self._ssl.selected_alpn_protocol() == WIRE_PROTOCOL:
                return LinkFailed(_OTHER_SECRET, Failure.WRONG_SECRET)
            return LinkFailed(_NO_MEMBER, Failure.NOT_WEAVEMESH)
        reason = error.reason or type(error).__name__
        if reason in _ALERTS:
            return LinkFailed(*_ALERTS[reason])
        what = reason.replace("_", " ").lower()
        if self.peer is None:
            return LinkFailed(f"it does not speak weavemesh's TLS ({what})", Failure.NOT_WEAVEMESH)
        return LinkFailed(f"the link's encryption broke ({what})", Failure.LOST)


def _check_first_byte(chunk: bytes | memoryview, *, outbound: bool) -> None:
    """Recognise garbage at once: OpenSSL would wait for a whole record of it."""
    expected = (_RECORD_HANDSHAKE, _RECORD_ALERT) if outbound else (_RECORD_HANDSHAKE,)
    if chunk[0] not in expected:
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in bytes(chunk[:16]))
        raise LinkFailed(f"it does not speak TLS: it began with {shown!r}", Failure.NOT_WEAVEMESH)
