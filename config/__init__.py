"""Puts a safe SQLite in place before Django looks for one.

SQLite 3.7.0 to 3.51.2 can corrupt a WAL file when a commit meets a checkpoint, and Debian's
Python links 3.40.1. The pysqlite3 wheel carries a newer one. Where no wheel exists, settings
choose journal mode DELETE and the system check chat.W001 says so.
"""

import sys

try:
    import pysqlite3
except ImportError:  # no wheel for this platform: Python's own sqlite3 serves
    pass
else:
    sys.modules["sqlite3"] = pysqlite3
    sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2
