"""cleanup: deleting what retention rules say is due.

A run reads its rules and their tables (rules.py), composes their SQL (statements.py) and runs one
rule after another (run.py).  A rule (rule_run.py) drops whole partitions (partitions.py), stops at
its fuse (preview.py), then deletes batches (batches.py), which an archive may keep (archive.py).
"""

from leadctl.postgres.queries import queries_of

QUERIES = queries_of(__file__, "cleanup.sql")
