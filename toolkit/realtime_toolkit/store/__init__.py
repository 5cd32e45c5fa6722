"""Every statement on the product's tables, over psycopg or over PostgREST.

:class:`Store` holds the statements, once: SQL functions by name and named argument, and a few inserts,
selects and deletes. :class:`PostgresStore` and :class:`RestStore` supply the four ways to run one. Both
raise errors of :mod:`realtime_toolkit.errors` only, each one line that names the statement and the address,
never a key:

- nobody listens there → :class:`~realtime_toolkit.errors.Unreachable`: nothing was sent;
- no answer, a reset, overload → :class:`~realtime_toolkit.errors.StoreUnavailable`: it may have happened or not,
  so a caller repeats it only if it is idempotent, as everything here is but ``claim_task``;
- wrong key, expired token, a policy's no → :class:`~realtime_toolkit.errors.Unauthorized`, which is retryable where
  another token may do, or the same one a moment later;
- an argument that cannot be stored → :class:`~realtime_toolkit.errors.InputError`, before anything is sent;
- a function that is not there, a policy or trigger that fails → :class:`~realtime_toolkit.errors.SchemaError`.
"""

from realtime_toolkit.store.postgres import PostgresStore
from realtime_toolkit.store.rest import RestStore
from realtime_toolkit.store.statements import Store

__all__ = ["PostgresStore", "RestStore", "Store"]
