"""The number of cores that this process may use, by its affinity and the quotas of its cgroups."""

from __future__ import annotations

import math
import os
import pathlib

# the files with the quota and the period of a cgroup, in microseconds, by type of file system
_FILES = {'cgroup2': ['cpu.max'], 'cgroup': ['cpu.cfs_quota_us', 'cpu.cfs_period_us']}
_SIBLINGS = '/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list'


def processors() -> int:
    """Return the number of logical processors that the process may use at a time, at least 1."""
    if not hasattr(os, 'sched_getaffinity'):
        return os.cpu_count() or 1
    return _within_quota(len(os.sched_getaffinity(0)))


def cores() -> int:
    """Return the number of cores that the process may use at a time, at least 1.

    Two logical processors of a core count once: the second adds next to nothing to a product.
    """
    if not hasattr(os, 'sched_getaffinity'):
        return os.cpu_count() or 1
    found = set()
    for cpu in os.sched_getaffinity(0):
        try:
            found.add(pathlib.Path(_SIBLINGS.format(cpu)).read_text())
        except OSError:
            found.add(str(cpu))
    return _within_quota(len(found))


def _within_quota(count: int) -> int:
    """Return the count limited by the quota, rounded up: with a quota of 1.5 cores two threads run
    three quarters of the time, while one thread would leave a third of the quota unused.
    """
    return max(math.ceil(min(count, quota())), 1)


def quota(root: pathlib.Path = pathlib.Path('/')) -> float:
    """Return the number of cores that the cgroup of the process and those above it allow:
    the smallest of their quotas, infinite if there is none.

    Args:
        root: Folder of ``proc`` and of the mount points.
    """
    try:
        groups = (root / 'proc/self/cgroup').read_text().splitlines()
        mounts = (root / 'proc/self/mountinfo').read_text().splitlines()
    except OSError:  # not on Linux
        return math.inf
    # by controller; the one hierarchy of version 2 names none
    paths = {
        controller: path
        for _, controllers, path in (group.split(':', 2) for group in groups)
        for controller in controllers.split(',')
    }
    least = math.inf
    for mount in mounts:
        fields, _, described = mount.partition(' - ')
        top, point = fields.split()[3:5]
        kind, _, options = described.split(' ', 2)
        controller = 'cpu' if kind == 'cgroup' else ''
        if kind not in _FILES or (controller and controller not in options.split(',')):
            continue
        for folder in _folders(root / point.lstrip('/'), top, paths.get(controller, '/')):
            least = min(least, _quota_of(folder, _FILES[kind]))
    return least


def _folders(point: pathlib.Path, top: str, group: str) -> list[pathlib.Path]:
    """Return the folders of a cgroup and of those above it, as far as they are mounted.

    Args:
        point: Where a hierarchy is mounted.
        top: The cgroup that is mounted there.
        group: The cgroup.  A container may see itself alone, and its path from elsewhere.
    """
    within = pathlib.PurePosixPath(group)
    if '..' in within.parts or not within.is_relative_to(top):
        return [point]
    parts = within.relative_to(top).parts
    return [point.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _quota_of(folder: pathlib.Path, files: list[str]) -> float:
    try:
        limit, period = ' '.join((folder / file).read_text() for file in files).split()
    except (OSError, ValueError):  # without the controller
        return math.inf
    return math.inf if limit in ('max', '-1') else int(limit) / int(period)
