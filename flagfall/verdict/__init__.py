"""The verdict on a feed: whether today is normal, why not, and what to do.

``look`` gathers facts, ``judge`` makes one verdict of them. The report, ``flagfall status``, the
notices and the report's Asset all show that one. ``told`` remembers what people were told.
"""
