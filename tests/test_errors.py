from __future__ import annotations

import errno
import os
import shutil

import pytest

from dcops.errors import disk_full


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_known_also_where_a_tree_was_copied(number: int) -> None:
    why = OSError(number, os.strerror(number), "/there")
    assert disk_full(why) is not None
    assert disk_full(shutil.Error([("/here", "/there", str(why))])) is not None


def test_other_errors_are_no_full_disk() -> None:
    assert disk_full(OSError(errno.EACCES, "no", "/there")) is None
    assert disk_full(shutil.Error([("/here", "/there", "[Errno 13] no")])) is None
    assert disk_full(ValueError("[Errno 28]")) is None
