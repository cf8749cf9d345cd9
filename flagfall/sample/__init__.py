"""From a sample of data to a dataset file: ``flagfall init``.

::

    files     ─▶ the data files, and what the names of their folders say
    dialects  ─▶ encoding, delimiter, quotes and lines before the header
    reading   ─▶ for each column the different values that the sample has
    types     ─▶ the column's type, and the texts that mean "no value"
    typed     ─▶ the sample, read as ingest reads it with these columns
    keys      ─▶ columns that may be the primary key
    yaml_text ─▶ the dataset file, with comments that say what was seen
    draft     goes through all of it

Only the beginning of large files is read, and nothing is written but the dataset file.
"""
