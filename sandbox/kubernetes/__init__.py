"""A stand-in for Kubernetes: its API on loopback, and pods that are processes of this machine.

It carries what Airflow uses: the KubernetesExecutor, the provider's KubernetesPodOperator and their
clients. ``Cluster`` starts it, harms it and ends it.

It keeps to Kubernetes in:

- discovery, list and watch with ``resourceVersion`` and selectors of labels and fields, 410 Gone,
  create, read, patch, delete with a grace period and conditions, dry runs, logs that are followed,
  events, namespaces, config maps, secrets;
- what is refused of a pod: names, labels, containers, volumes, quantities, a change of its spec;
- a container's command, arguments, working directory and environment, and nothing else of the
  environment; ``$(NAME)`` in them, config maps, secrets, fields of the pod, its resources;
- volumes of ``emptyDir``, ``configMap``, ``secret``, ``projected`` and ``downwardAPI``; a read-only
  root file system and read-only mounts, where root may mount (Linux);
- a limit of memory by a cgroup, where root may make one: exit code 137, reason OOMKilled;
- SIGTERM, then SIGKILL when ``terminationGracePeriodSeconds`` are over; ``activeDeadlineSeconds``;
- the message of a container that has ended, and StartError for a command that is not there.

It does not do what it cannot do without containers:

- It pulls no image. It knows images by name: folders of this machine, and variables.
- It schedules nothing: one node takes every pod, however large its requests are. CPUs are not
  limited, nor is the size of a volume.
- Security contexts have no effect but for ``readOnlyRootFilesystem``: processes run as the user who
  started it. There are no service accounts, no tokens, no network policies and no admission.
- Only a pod's first container runs; there are no init containers, probes and restarts.
- A patch merges as a merge patch does: lists are replaced.

docs/kubernetes.md has the whole list.
"""

from sandbox.kubernetes.cluster import Cluster
from sandbox.kubernetes.image import Image

__all__ = ["Cluster", "Image"]
