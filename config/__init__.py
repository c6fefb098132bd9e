"""Replacement of ``sqlite3`` by a version with a safe WAL, before Django imports it.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL file when a commit coincides with a checkpoint, and Debian's
Python links 3.40.1. The pysqlite3 wheel carries a newer one. Where no wheel exists, settings
choose journal mode DELETE and the system check chat.W001 reports it.
"""

import sys

try:
    import pysqlite3
except ImportError:  # no wheel for this platform: use Python's own sqlite3
    pass
else:
    sys.modules["sqlite3"] = pysqlite3
    sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2
