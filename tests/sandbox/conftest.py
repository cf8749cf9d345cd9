from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.client import CoreV1Api
from kubernetes.config import new_client_from_config

from sandbox.kubernetes import Cluster, Image


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    image = Image({"/opt/image": Path(__file__).parent}, {"OF_IMAGE": "1"}, "/opt/image")
    with Cluster(tmp_path, {"known": image}, config_maps={"ours": {"OF_MAP": "2"}}) as started:
        yield started


@pytest.fixture
def api(cluster: Cluster) -> CoreV1Api:
    return CoreV1Api(new_client_from_config(str(cluster.kubeconfig())))
