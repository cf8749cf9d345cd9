"""OpenLineage: what a stage read and wrote, for Airflow's provider, where that is installed.

Places are named as the provider names assets of the same URI.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from flagfall.concurrency import in_parallel
from flagfall.dataset.feed import Feed
from flagfall.dataset.loader import find_dataset
from flagfall.dataset.schema import Dataset
from flagfall.inbox.inbox import Inbox
from flagfall.operators.work.batches import OUTPUT
from flagfall.stages.shard import Delivery

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from flagfall.operators.stages import StageOperator

_READ = {
    "ingest": (),
    "preprocess": ("staged",),
    "infer": ("features",),
    "evaluate": ("staged", "predictions"),
}
_TABLES = {"ingest": "tables/rows", "infer": "tables/predictions"}


def lineage_of(operator: StageOperator) -> OperatorLineage[Any, Any]:
    """What an operator read and wrote when it ran its stage on a shard."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    dataset, stage = find_dataset(operator.dataset, operator.datasets), operator.stage
    inbox, done = Inbox(Feed.of(dataset)), operator.done or []
    lake, facets = inbox.lake.store.uri, _documented(dataset, stage)
    inputs = [InputDataset(*named(f"{lake}/{folder}")) for folder in _READ[stage]]
    if stage == "ingest":
        judged = _judged(dataset, inbox, done)
        inputs = [InputDataset(*named(inbox.landing.uri), inputFacets=judged)]
    tables = [_TABLES[stage]] if dataset.lake.table and stage in _TABLES else []
    outputs = [
        OutputDataset(*named(f"{lake}/{folder}"), facets=facets, outputFacets=_counted(done))
        for folder in (OUTPUT[stage], *tables)
    ]
    return OperatorLineage(inputs=inputs, outputs=outputs)


def named(uri: str) -> tuple[str, str]:
    """Namespace and name of a place on a disk or on S3."""
    if not uri.startswith("s3://"):
        return "file", uri
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")  # "#" and "?" may be in names
    return f"s3://{bucket}", prefix.strip("/") or "/"


def _counted(done: Sequence[Delivery]) -> dict[str, Any]:
    from openlineage.client.generated.output_statistics_output_dataset import (
        OutputStatisticsOutputDatasetFacet,
    )

    rows = sum(one.rows for one in done if one.status == "accepted")
    return {"outputStatistics": OutputStatisticsOutputDatasetFacet(rowCount=rows)}


def _documented(dataset: Dataset, stage: str) -> dict[str, Any]:
    """What a dataset is; of staged rows also their columns."""
    from openlineage.client.generated.documentation_dataset import DocumentationDatasetFacet
    from openlineage.client.generated.schema_dataset import (
        SchemaDatasetFacet,
        SchemaDatasetFacetFields,
    )

    text = "\n".join(filter(None, (dataset.title, dataset.description)))
    facets: dict[str, Any] = {"documentation": DocumentationDatasetFacet(description=text)}
    if stage == "ingest":
        fields = [
            SchemaDatasetFacetFields(column.name, column.type, column.description or None)
            for column in dataset.table.fields
        ]
        facets["schema"] = SchemaDatasetFacet(fields=fields)
    return facets


def _judged(dataset: Dataset, inbox: Inbox, done: Sequence[Delivery]) -> dict[str, Any]:
    """Which rules the rows of a shard keep."""
    from openlineage.client.generated.data_quality_assertions_dataset import (
        DataQualityAssertionsDatasetFacet,
    )

    receipts = in_parallel(inbox.receipts.find, [one.marker for one in done])
    broken: Counter[str] = Counter()
    for receipt in filter(None, receipts):
        broken.update(receipt.reasons)
    found = list(_assertions(dataset, broken))
    return {"dataQualityAssertions": DataQualityAssertionsDatasetFacet(assertions=found)}


def _assertions(dataset: Dataset, broken: Counter[str]) -> Iterator[Any]:
    from openlineage.client.generated.data_quality_assertions_dataset import Assertion

    from flagfall.rows.rules import RowRules  # polars, only where there is work

    columns = [column.name for column in dataset.table.fields]
    for rule in dict.fromkeys([*RowRules(dataset).names, *broken]):
        yield Assertion(
            assertion="no row is rejected",
            name=rule,
            column=column_of(rule, columns),
            success=not broken[rule],
            expected="0",
            actual=str(broken[rule]),
        )


def column_of(rule: str, columns: Collection[str]) -> str | None:
    """The column that a rule is of, by its name; ``None`` for a rule of whole rows."""
    found = (column for column in columns if rule.startswith(f"{column}: "))
    return max(found, key=len, default=None)
