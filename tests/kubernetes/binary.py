"""stub"""

from collections.abc import Sequence


class BuildFailed(Exception): ...


def build(programs: Sequence[str]) -> None: ...
