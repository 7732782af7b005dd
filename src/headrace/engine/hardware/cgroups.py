"""Memory and CPU limits of this process's control groups (Linux, v1 and v2).

Reads files below a root folder, which tests replace.
"""

from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 1 << 60
"""v1 reports "no limit" as a number near 2^63; values above this one mean no limit."""


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still allocate; None where no group sets a limit.

    Usage includes the page cache; its inactive part counts as free, because it is reclaimed first.
    """
    free: int | None = None
    for group in _groups(root, "memory"):
        limit = _number(group / "memory.max") or _number(group / "memory.limit_in_bytes")
        usage = _number(group / "memory.current") or _number(group / "memory.usage_in_bytes")
        if limit is None or usage is None or limit >= _UNLIMITED:
            continue
        left = max(0, limit - max(0, usage - _inactive_file(group)))
        free = left if free is None else min(free, left)
    return free


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The CPU quota of this process's groups, in CPUs; None where no group sets one."""
    quota: float | None = None
    for group in _groups(root, "cpu"):
        allowed = _quota_v2(group) or _quota_v1(group)
        if allowed is not None:
            quota = allowed if quota is None else min(quota, allowed)
    return quota


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """This process's group and all above it, under each hierarchy that has the controller.

    A limit of any ancestor binds. In a container the path may name groups that are not visible
    here; the mount's own root stands for them then.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            mount = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            mount = root / "sys/fs/cgroup" / controllers
            if not mount.is_dir():
                mount = root / "sys/fs/cgroup" / controller
        else:
            continue
        group = mount / path.strip("/")
        while True:
            if group.is_dir():
                yield group
            if group == mount:
                break
            group = group.parent


def _inactive_file(group: Path) -> int:
    found = 0
    for line in _read(group / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "total_inactive_file":  # v1, with the groups below
            return int(value)
        if name == "inactive_file":
            found = int(value)
    return found


def _quota_v2(group: Path) -> float | None:
    words = _read(group / "cpu.max").split()
    if len(words) != 2 or words[0] == "max":
        return None
    return int(words[0]) / int(words[1])


def _quota_v1(group: Path) -> float | None:
    quota = _number(group / "cpu.cfs_quota_us")
    period = _number(group / "cpu.cfs_period_us")
    return quota / period if quota and period else None


def _number(path: Path) -> int | None:
    """The file's one number; None where it is missing, "max" or negative (unlimited)."""
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
