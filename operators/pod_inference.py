"""Inference in a Kubernetes pod of its own, for datasets that say ``engine: pod``.

The one module that needs Airflow's Kubernetes provider; nothing else imports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator, make_safe_label_value
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodNotFoundException
from airflow.sdk.exceptions import AirflowException
from kubernetes.client import models as k8s

from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import datasets_folder, find_dataset, variables
from flagfall.dataset.model import Pod
from flagfall.errors import HOPELESS_EXIT, NotThere, PodRefused
from flagfall.inbox.inbox import Inbox
from flagfall.lake.records import Predicted
from flagfall.operators.airflow_release import fails_for_good
from flagfall.operators.work.batches import deliveries, label, leave, summary, update
from flagfall.stages.shard import Delivery

if TYPE_CHECKING:
    from airflow.sdk import Context

STAGE = "infer"
SCRATCH = "/tmp"
"""The one place that the container may write to: parts are there while they are worked on."""
TO_END = 5
"""Seconds that a pod gets to end: a stage that is cut off leaves nothing to put in order."""


class PodInferenceOperator(KubernetesPodOperator):
    """Runs ``flagfall stage infer`` on a shard in a pod, and holds no worker while it runs.

    What it returns is what ``StageOperator`` does. It does not come from the pod, but from the
    lake: a batch that has its predictions there is done. So the pod needs no side container, and
    one that wrote to another lake is found out.

    Args:
        dataset: Name of the dataset.
        batches: What the stage before returned (templated); ``None`` where it died and returned
            nothing.
        pod: What to run it in.
        datasets: Folder of the dataset's file; ``None`` as for ``StageOperator``.
    """

    template_fields: Sequence[str] = (*KubernetesPodOperator.template_fields, "batches")
    ui_color = "#e4efe6"

    def __init__(
        self,
        *,
        dataset: str,
        batches: Any,
        pod: Pod,
        datasets: Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            name=f"flagfall-{dataset.replace('_', '-')}-infer",
            image=pod.image,
            cmds=["flagfall"],
            namespace=pod.namespace or None,
            service_account_name=pod.service_account or None,
            pod_template_file=pod.template or None,
            kubernetes_conn_id=pod.conn_id,
            labels={"app": "flagfall", "flagfall-dataset": make_safe_label_value(dataset)},
            container_security_context=_restricted(),
            automount_service_account_token=False,
            volumes=[] if pod.template else [_scratch()],
            volume_mounts=[] if pod.template else [_mount()],
            startup_timeout_seconds=ceil(pod.starts_within.total_seconds()),
            termination_message_policy="FallbackToLogsOnError",
            log_pod_spec_on_failure=False,
            termination_grace_period=TO_END,
            on_kill_action="keep_pod",  # a triggerer kills what another one has taken over, too
            deferrable=True,
            **kwargs,
        )
        self.dataset = dataset
        self.wanted = pod
        self.datasets = datasets
        self.batches = batches

    @property
    def label(self) -> str:
        """As of ``StageOperator``."""
        return label(list(self._given()))

    def build_pod_request_obj(self, context: Context | None = None, **kwargs: Any) -> k8s.V1Pod:
        """The pod, with the ids of the shard's batches as arguments.

        It gets the variables that the dataset's file takes from the environment, so that the file
        says the same there as here.
        """
        ids = [delivery.marker.batch_id for delivery in _accepted(self._given())]
        self.arguments = ["stage", STAGE, self.dataset, *ids]
        self.container_resources = _resources(self.wanted)
        self.env_vars = variables((self.datasets or datasets_folder()) / f"{self.dataset}.yaml")
        return super().build_pod_request_obj(context, **kwargs)

    @fails_for_good
    def execute(self, context: Context) -> None:
        """Start the pod and wait for it on the triggerer; if nothing was accepted, do neither."""
        if any(_accepted(self._given())):
            super().execute(context)
        else:
            self._conclude(context)

    def invoke_defer_method(self, *args: Any, **kwargs: Any) -> None:
        """Hand over to a trigger that connects as this task did.

        With neither a connection nor a file, the task's hook takes the pod's own token. That of a
        trigger does so only where it is given ``in_cluster``.
        """
        self.in_cluster = self.hook.is_in_cluster
        super().invoke_defer_method(*args, **kwargs)

    @fails_for_good
    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> None:
        """The pod has ended: see what it did.

        Raises:
            PodRefused: It failed on what trying again cannot help.
            AirflowException: It failed otherwise; either message has the end of its log. Or it is
                gone, and predictions are missing.
            NotThere: It ended well and there are no predictions.
        """
        try:
            super().trigger_reentry(context, event)
        except PodNotFoundException:
            if self._conclude(context):
                raise
            return  # it was done before it was deleted
        except Exception:
            self._conclude(context)
            raise
        if missing := self._conclude(context):
            hint = "the pod ended well: have its image and this Airflow the same dataset file?"
            raise NotThere("predictions of batch", missing[0], hint)

    def cleanup(self, pod: k8s.V1Pod, remote_pod: k8s.V1Pod, *args: Any, **kwargs: Any) -> None:
        """Called when the pod has ended.

        Raises:
            PodRefused: It failed on what trying again cannot help.
            AirflowException: It failed otherwise.
        """
        try:
            super().cleanup(pod, remote_pod, *args, **kwargs)
        except AirflowException as failed:
            if _exit_code(remote_pod, self.base_container_name) == HOPELESS_EXIT:
                raise PodRefused(STAGE, str(failed)) from failed
            raise

    def _given(self) -> list[Delivery]:
        return list(deliveries(self.batches or ()))

    def _conclude(self, context: Context) -> list[str]:
        """Pass on what is done; return the ids of the batches that are not."""
        inbox = Inbox(Feed.of(find_dataset(self.dataset, self.datasets)))
        given = self._given()
        ids = [delivery.marker.batch_id for delivery in _accepted(given)]
        found = zip(ids, inbox.lake.find_all(Predicted, ids), strict=True)
        missing = [batch_id for batch_id, record in found if record is None]
        done = [delivery for delivery in given if delivery.marker.batch_id not in missing]
        update(self.outlets, context, summary(inbox, STAGE, done))
        leave(context, done)
        return missing


def _accepted(given: Iterable[Delivery]) -> list[Delivery]:
    return [delivery for delivery in given if delivery.status == "accepted"]


def _exit_code(pod: k8s.V1Pod, container: str) -> int | None:
    """How the container ended; ``None`` where it did not: its node was lost, say."""
    ended = [
        one.state.terminated
        for one in pod.status.container_statuses or []
        if one.name == container and one.state.terminated
    ]
    return ended[0].exit_code if ended else None


def _resources(pod: Pod) -> k8s.V1ResourceRequirements:
    """What the dataset asks for, beside what else the template's container does, such as a GPU.

    CPUs have no limit, as in ``pods``: one of the template's could be below what is asked for.
    """
    template = PodGenerator.deserialize_model_file(pod.template).to_dict() if pod.template else {}
    (container, *_) = (template.get("spec") or {}).get("containers") or [{}]
    theirs = container.get("resources") or {}
    limits = {k: v for k, v in (theirs.get("limits") or {}).items() if k != "cpu"}
    return k8s.V1ResourceRequirements(
        claims=theirs.get("claims"),
        requests={**(theirs.get("requests") or {}), "cpu": pod.cpu, "memory": pod.memory},
        limits={**limits, "memory": pod.memory},
    )


def _scratch() -> k8s.V1Volume:
    return k8s.V1Volume(name="scratch", empty_dir=k8s.V1EmptyDirVolumeSource())


def _mount() -> k8s.V1VolumeMount:
    return k8s.V1VolumeMount(name="scratch", mount_path=SCRATCH)


def _restricted() -> k8s.V1SecurityContext:
    """What Kubernetes' "restricted" standard asks for, and no writing but to the scratch volume."""
    return k8s.V1SecurityContext(
        allow_privilege_escalation=False,
        capabilities=k8s.V1Capabilities(drop=["ALL"]),
        read_only_root_filesystem=True,
        run_as_non_root=True,
        seccomp_profile=k8s.V1SeccompProfile(type="RuntimeDefault"),
    )
