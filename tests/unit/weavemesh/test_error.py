"""A failure for people is one line: cause; remedy."""

from weavemesh.error import UserError


def test_a_failure_reads_as_cause_and_remedy() -> None:
    error = UserError("TCP port 6783 is taken", remedy="choose another")
    assert str(error) == "TCP port 6783 is taken; choose another"
    assert (error.sentence, error.remedy, error.exit_status) == ("TCP port 6783 is taken", "choose another", 1)
    assert UserError("no such option", remedy="see --help", exit_status=2).exit_status == 2
