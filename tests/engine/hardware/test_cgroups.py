"""Limits of control groups, on file trees in Linux' layout."""

from pathlib import Path

from headrace.engine.hardware import cgroups


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_v2_uses_the_lowest_limit_of_all_ancestors(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pods/one\n",
            "sys/fs/cgroup/pods/one/memory.max": "max\n",
            "sys/fs/cgroup/pods/one/memory.current": "600\n",
            "sys/fs/cgroup/pods/one/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pods/memory.max": "1000\n",
            "sys/fs/cgroup/pods/memory.current": "900\n",
            "sys/fs/cgroup/pods/memory.stat": "anon 500\ninactive_file 250\n",
            "sys/fs/cgroup/pods/cpu.max": "150000 100000\n",
        },
    )
    assert cgroups.free_memory(root) == 1000 - (900 - 250)
    assert cgroups.cpu_quota(root) == 1.5


def test_v1_in_a_container_that_sees_only_its_own_group(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "7:memory:/docker/abc\n5:cpu,cpuacct:/docker/abc\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "400\n",
            "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 100\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cgroups.free_memory(root) == 700
    assert cgroups.cpu_quota(root) == 2.0


def test_no_limits_give_none(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "7:memory:/a\n5:cpu:/\n0::/\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "400\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cgroups.free_memory(root) is None
    assert cgroups.cpu_quota(root) is None


def test_usage_above_the_limit_leaves_nothing_free(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "1000\n",
            "sys/fs/cgroup/memory.current": "1200\n",
        },
    )
    assert cgroups.free_memory(root) == 0


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert cgroups.free_memory(tmp_path) is None
    assert cgroups.cpu_quota(tmp_path) is None
