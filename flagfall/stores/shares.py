"""Which directories lie on another machine, as on NFS or sshfs.

There a client shows what it saw seconds ago, and times are those of another clock.
"""

from __future__ import annotations

import os
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
TYPES = (
    "nfs", "fuse", "cifs", "smb", "9p", "virtiofs", "ceph", "lustre", "gpfs", "afs", "beegfs",
    "glusterfs", "gfs2", "ocfs2", "vboxsf", "prl_fs",
)  # fmt: skip
"""What the names of such file systems begin with."""


def is_share(folder: str) -> bool:
    """Whether a directory is on a share, as far as this machine tells."""
    try:
        device = os.stat(folder).st_dev
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    name = f"{os.major(device)}:{os.minor(device)}"
    types = (line.partition(" - ")[2] for line in lines if line.split()[2] == name)
    return any(one.startswith(TYPES) for one in types)
