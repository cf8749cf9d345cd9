"""Untrusted data files: read, checked row by row against a dataset's columns, written as Parquet.

::

    checked_files ─▶ csv_rows  json_rows  parquet_rows ─▶ source    a file becomes blocks of rows
                                 parquet_rows ─▶ parquet_sandbox    … if reading it is safe
                  ─▶ rules ─▶ casting                  each row is accepted, or has reasons
                  ─▶ repeated_keys                     no key twice, over the whole batch
                  ─▶ output                            parts and ``rows.jsonl``

A row is turned away alone where the rest of its file is still certain: too few or too many fields,
a line that is not JSON, a value that breaks a rule. Where it is not (an open quote, bytes that are
not UTF-8, a file that is cut short), the whole batch is turned away by ``BatchInvalid``.

Memory does not grow with the files: a few blocks of ``source.BLOCK_BYTES`` are read and checked at
once, a part is written when it is full, and keys are compared on disk. It grows a little with the
threads (see ``concurrency.thread_count``); ``POLARS_MAX_THREADS`` bounds them.
"""

from flagfall.rows.checked_files import Checked, check_files
from flagfall.rows.source import DataFile

__all__ = ["Checked", "DataFile", "check_files"]
