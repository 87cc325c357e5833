import os

from weavemesh.kernel.cpu import current_cpu


def test_it_is_one_that_this_process_may_use() -> None:
    assert current_cpu() in os.sched_getaffinity(0)
