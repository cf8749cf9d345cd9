"""Untrusted data files: read, checked row by row against a dataset's columns, written as Parquet.

::

    checked_files ─▶ csv_rows  json_rows  parquet_rows ─▶ source    a file becomes blocks of rows
                  csv_rows ─▶ whole_rows, quoting, swallowed    … and what its quotes enclose
                  csv_rows ─▶ csv_columns              … numbers as such where that is certain
                  parquet_rows ─▶ parquet_names, parquet_sandbox    … if reading it is safe
                  source ─▶ packed, decoding           … what it is, in the dataset's dialect
                  ─▶ rules ─▶ casting, sql_rules       each row is accepted, or has reasons
                  ─▶ repeated_keys                     no key twice, over the whole batch
                  ─▶ batch_rules                       warnings, or a refusal of the batch
                  ─▶ output                            parts and ``rows.jsonl``

One row is rejected if the rest of its file can still be read: too few or too many fields, a line
that is not JSON, a value that breaks a rule. Otherwise (an open quote, bytes that are not UTF-8, a
file that is cut short), ``BatchInvalid`` rejects the whole batch.

Memory does not grow with the files: a few blocks of ``source.BLOCK_BYTES`` are read and checked at
once, a part is written when it is full, and keys are compared on disk. Memory grows a little with
the threads (see ``concurrency.thread_count``); ``POLARS_MAX_THREADS`` limits them.
"""

from flagfall.rows.checked_files import Checked, blocks_of, check_copies, check_files
from flagfall.rows.source import DataFile

__all__ = ["Checked", "DataFile", "blocks_of", "check_copies", "check_files"]
