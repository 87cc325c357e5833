from gossip import PathReport, ReportPaths, wire
from gossip.record import REPORT_CHARACTERS_MAX, REPORTS_MAX, RecordBody, seal
from tests.unit.gossip.transcript import NAMES, SIGNERS, Conversation, record


def test_any_peer_shows_which_ways_of_any_other_are_not_direct() -> None:
    reports = (PathReport(NAMES["cat"], NAMES["ann"], "no answer for 12 s"), PathReport(NAMES["eve"], None, "no way"))
    talk = Conversation()
    talk.meet(1, "bob", seal(SIGNERS["bob"], 1, 1, RecordBody(b"", (NAMES["me"],), reports)))
    bob = talk.mesh.peer(NAMES["bob"])
    assert bob is not None
    assert bob.reports == reports


def test_what_we_report_is_in_our_record_and_nothing_is_said_twice() -> None:
    reports = (PathReport(NAMES["cat"], None, "x" * REPORT_CHARACTERS_MAX),) * (REPORTS_MAX + 5)
    talk = Conversation()
    talk.pass_time(1.0)
    talk.feed(ReportPaths(reports))
    version = talk.mesh.peers()[0].version
    talk.feed(ReportPaths(reports))
    talk.pass_time(10.0)
    me = talk.mesh.peers()[0]
    assert (me.reports, me.version) == (reports[:REPORTS_MAX], version)
    talk.feed(ReportPaths(()))
    talk.pass_time(10.0)
    assert talk.mesh.peers()[0].reports == ()


def test_why_a_peer_could_not_be_dialled_is_shown_until_it_speaks_anew() -> None:
    talk = Conversation()
    talk.meet(1, "bob", record("bob", 1, 1, ["me"]), record("dan", 1, 1, summary=b"dan:1"))
    talk.pass_time(0.1)
    talk.fail("dan:1", "no answer within 5 s")
    dan = talk.mesh.peer(NAMES["dan"])
    assert dan is not None
    assert dan.dial_failure == "no answer within 5 s"
    talk.say(1, wire.Records((record("dan", 1, 2, summary=b"dan:2"),)))
    dan = talk.mesh.peer(NAMES["dan"])
    assert dan is not None
    assert dan.dial_failure is None
