"""The size of the volume that a batch's files are copied to, where a deployment limits it.

A process cannot see it: the disk below an ``emptyDir`` is the node's, and Kubernetes ends a pod
whose volume has grown beyond its ``sizeLimit``. So the pod template says it in the environment.
"""

from __future__ import annotations

import os
import re

from flagfall.dataset.schema import Dataset
from flagfall.errors import FlagfallError
from flagfall.lake.output import Lake
from flagfall.landing.limits import Limits

SCRATCH_SIZE = "FLAGFALL_SCRATCH_SIZE"
"""Environment variable with the size of the volume at ``/tmp``, such as ``16Gi``."""
_FORM = re.compile(r"(\d+)(Mi|Gi|Ti)")
_UNITS = {"Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


class ScratchSizeInvalid(FlagfallError):
    """The environment names a size that is none."""

    def __init__(self, given: str) -> None:
        super().__init__(f"{SCRATCH_SIZE}={given!r}: expected a size such as 512Mi or 16Gi")


class LimitsOfScratch(Limits):
    """A dataset's limits, with a batch no larger than the volume bears.

    Attributes:
        volume: Size of the volume, as the environment says it.
    """

    volume: str

    @property
    def why_batch_bytes(self) -> str:
        """What the limit of a batch follows from, and what moves it."""
        return (
            f"a batch takes twice its size of the scratch volume, which has {self.volume}:"
            f" enlarge the volume and {SCRATCH_SIZE} in the pod template"
        )


def within_scratch(dataset: Dataset, lake: Lake) -> Dataset:
    """The dataset, with a limit of bytes that fits the scratch volume.

    Args:
        dataset: As its file says.
        lake: Its lake; one on a disk has its scratch beside itself, and not in the volume.

    Raises:
        ScratchSizeInvalid: The environment names a size that is none.
    """
    given = os.environ.get(SCRATCH_SIZE, "")
    if not given or lake.store.scratch_root() is not None:
        return dataset
    if not (match := _FORM.fullmatch(given)):
        raise ScratchSizeInvalid(given)
    most = int(match[1]) * _UNITS[match[2]] // 2
    if dataset.limits.batch_bytes <= most:
        return dataset
    limits = {**dataset.limits.model_dump(), "batch_bytes": most, "volume": given}
    return dataset.model_copy(update={"limits": LimitsOfScratch.model_validate(limits)})
