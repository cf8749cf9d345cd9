from __future__ import annotations

from flagfall.stores import open_store
from tests.s3 import S3Server


def test_a_page_is_a_request_and_a_listing_starts_where_it_is_told(
    s3: S3Server, bucket: str
) -> None:
    for n in range(1500):
        s3.client().put_object(Bucket=bucket, Key=f"in/d={n // 100:03d}/{n % 100:03d}")
    s3.requests.clear()
    store = open_store(f"s3://{bucket}/in")
    assert len(list(store.list())) == 1500
    assert len(s3.requests) == 2
    assert [entry.key for entry in store.list(start_after="d=014/097")] == [
        "d=014/098",
        "d=014/099",
    ]
    assert len(s3.requests) == 3
