"""The thread that looks after idle sockets: when it is there, and that it is there again."""

from __future__ import annotations

import pytest

from tests.waiting import eventually
from workerpool.transport.reaper import Reaper


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_look_that_fails_is_not_the_last_one() -> None:
    looks: list[bool] = []

    def reap() -> bool:
        looks.append(True)
        if len(looks) == 1:
            raise OSError("no space left on device")
        return False

    reaper = Reaper(reap, 0.01)
    reaper.call()
    assert eventually(lambda: len(looks) == 1 and not reaper.is_running)
    reaper.call()
    assert eventually(lambda: len(looks) == 2 and not reaper.is_running)
