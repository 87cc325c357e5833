"""Why a link failed: a reason for people and a code for programs."""

from weavemesh.transport.failure import Failure, LinkFailed


def test_a_failure_has_a_reason_and_a_code() -> None:
    failure = LinkFailed("no answer", Failure.TIMEOUT)
    assert (str(failure), failure.reason, failure.code) == ("no answer", "no answer", Failure.TIMEOUT)


def test_what_tells_more_about_the_other_side_comes_later() -> None:
    order = list(Failure)
    telling = [Failure.UNREACHABLE, Failure.TIMEOUT, Failure.REFUSED, Failure.NOT_WEAVEMESH, Failure.WRONG_SECRET]
    assert sorted(telling, key=order.index) == telling
