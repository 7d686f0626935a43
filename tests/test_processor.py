"""The CPU quota of a control group, read from a tree of files like Linux's."""

from pathlib import Path

import pytest

from facecls.processor import cpu_quota


@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({}, None),
        ({"a/b": "max 100000"}, None),
        ({"a/b": "200000 100000"}, 2),
        ({"a/b": "150000 100000"}, 2),  # a part of a core counts as one
        ({"a/b": "10000 100000"}, 1),
        ({"a/b": "max 100000", "a": "300000 100000"}, 3),
        ({"a/b": "800000 100000", "a": "300000 100000"}, 3),
        ({".": "400000 100000"}, 4),  # as in a container, whose group is the root of its file system
        ({"a/b": "unreadable"}, None),
    ],
)
def test_the_quota_is_the_smallest_of_the_group_and_those_above_it(
    tmp_path: Path, quotas: dict[str, str], cores: int | None
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("3:cpuset:/\n0::/a/b\n")
    for group, text in quotas.items():
        folder = tmp_path / "sys" / "fs" / "cgroup" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(f"{text}\n")
    assert cpu_quota(tmp_path) == cores


def test_there_is_no_quota_where_there_are_no_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
