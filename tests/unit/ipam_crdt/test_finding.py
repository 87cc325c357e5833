"""Findings: one sentence for each subject, never too many, gone when what they say is over."""

from ipaddress import IPv4Network

from ipam_crdt.cidr import Block
from ipam_crdt.error import RemoteViolation
from ipam_crdt.finding import FINDINGS_MAX, Findings
from ipam_crdt.ring import Change, Conflict, Title
from ipam_crdt.roster import Owner

ANNE, BERT = Owner("anne"), Owner("bert")
ONE, OTHER = Block.of(IPv4Network("10.0.0.0/24")), Block.of(IPv4Network("10.1.0.0/24"))


def test_one_subject_has_one_finding_the_latest() -> None:
    findings = Findings()
    findings.add_violation(ANNE, RemoteViolation("this"))
    findings.add_violation(ANNE, RemoteViolation("that"))
    (sentence,) = findings.sentences()
    assert sentence.startswith("anne sent that;")


def test_different_subjects_are_kept_apart_the_oldest_first() -> None:
    findings = Findings()
    findings.add_violation(BERT, RemoteViolation("this"))
    findings.add_violation(ANNE, RemoteViolation("this"))
    findings.add_other_ring(BERT, bytes(16), bytes(range(16)))
    assert [sentence.split()[0] for sentence in findings.sentences()] == ["bert", "anne", "bert"]


def test_there_are_never_too_many_and_the_oldest_goes_first() -> None:
    findings = Findings()
    for number in range(FINDINGS_MAX + 3):
        findings.add_limit(Owner(f"peer{number}"))
    assert len(findings.sentences()) == FINDINGS_MAX
    assert findings.sentences()[0].startswith("peer3 ")


def test_a_peer_that_sends_what_is_right_is_cleared_and_no_other_one() -> None:
    findings = Findings()
    for owner in (ANNE, BERT):
        findings.add_violation(owner, RemoteViolation("this"))
        findings.add_other_universe(owner, OTHER, ONE)
    findings.clear_source(ANNE)
    assert [sentence.split()[0] for sentence in findings.sentences()] == ["bert", "bert"]


def test_a_broken_law_stays_whoever_sends_what_is_right() -> None:
    findings = Findings()
    findings.add_conflict(Conflict(ONE, Title(2, BERT, ANNE), Title(2, ANNE, BERT)))
    findings.add_loss(Change(ONE, Title(1, ANNE, BERT), Title(2, BERT, ANNE)), 3)
    for owner in (ANNE, BERT):
        findings.clear_source(owner)
    conflict, loss = findings.sentences()
    assert "given both to bert and to anne at version 2" in conflict and "restart the pods of anne" in conflict
    assert "3 addresses" in loss and "restart the pods" in loss


def test_a_foreign_ring_is_found_among_others() -> None:
    findings = Findings()
    findings.add_violation(ANNE, RemoteViolation("this"))
    assert findings.any_foreign_ring() is None
    findings.add_other_universe(BERT, OTHER, ONE)
    foreign = findings.any_foreign_ring()
    assert foreign is not None and "10.1.0.0/24" in foreign and "10.0.0.0/24" in foreign


def test_a_conflict_goes_when_a_person_has_looked_at_its_range_and_no_other_finding_does() -> None:
    findings = Findings()
    for block in (ONE, OTHER):
        findings.add_conflict(Conflict(block, Title(2, BERT, ANNE), Title(2, ANNE, BERT)))
    findings.add_loss(Change(ONE, Title(1, ANNE, BERT), Title(2, BERT, ANNE)), 3)
    findings.clear_conflicts(ONE.halves()[0])
    assert [sentence.split()[0] for sentence in findings.sentences()] == ["10.1.0.0/24", "10.0.0.0/24"]
    findings.clear_conflicts(Block(0, 0))
    assert len(findings.sentences()) == 1


def test_a_block_that_was_settled_without_us_is_a_loss_with_a_reason_of_its_own() -> None:
    findings = Findings()
    findings.add_passed_on(Change(ONE, Title(3, ANNE, BERT), Title(1 << 32, BERT, Owner(""))), 2)
    (sentence,) = findings.sentences()
    assert sentence.startswith("10.0.0.0/24 belongs to bert: this peer had it from one that was removed")
    assert "2 addresses in use here" in sentence and "restart the pods" in sentence
