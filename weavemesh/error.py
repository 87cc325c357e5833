"""The failure that a person can do something about: what went wrong and what to do, in one sentence each.

Not for bugs (those are assertions) and not for a peer's misbehaviour (`gossip` and `ipam_crdt` have their own errors;
links end with `weavemesh.transport.LinkFailed`). Its counterpart is the command line, which prints it on one line.
"""


class UserError(Exception):
    """A failure with its remedy; printed as `weavemesh: <sentence>; <remedy>`."""

    def __init__(self, sentence: str, *, remedy: str, exit_status: int = 1) -> None:
        super().__init__(sentence, remedy)
        self.sentence = sentence
        """The cause, without a full stop at the end."""
        self.remedy = remedy
        """What to do about it, without a full stop at the end."""
        self.exit_status = exit_status
        """1: it failed; 2: the command was used wrongly."""

    def __str__(self) -> str:
        return f"{self.sentence}; {self.remedy}"
