"""Every error the toolkit raises, in one tree.

    ToolkitError
    ├── ConfigError            a setting is missing or malformed
    │   └── PortInUse          the address is taken by somebody else
    ├── InputError             the caller's input cannot be used (not UTF-8, a malformed scope, …)
    │   └── NotFound           no such row, or not visible to this user: the two cannot be told apart
    ├── Unreachable            nobody answers there                                    (retryable)
    │   └── GaveUp             … and the allowed number of attempts is used up
    ├── Unauthorized           wrong key, wrong or expired token, or a policy said no
    │                          (retryable where another token, or the same a moment later, may do)
    ├── StackError             the local stack cannot start or has died
    ├── MigrationError         a migration failed, or its history does not fit
    ├── StoreError             the database refused a statement
    │   ├── StoreUnavailable   it may be repeated: connection lost, timeout, overload  (retryable)
    │   ├── StoreClosed        the store was closed by its owner; a ConfigError, too
    │   ├── SchemaError        a function, table or column is not there, or a policy or trigger failed
    │   ├── StaleAttempt       another worker has taken the task or message over
    │   ├── IllegalTransition  the status cannot go there
    │   └── ContentMismatch    stored text and sent text differ
    └── ProtocolError          a frame or WAL message that the protocol does not know

``code`` is stable and meant for machines, ``exit_code`` is what the command line exits with (1 a bad finding,
2 usage, 3 cannot connect or bad configuration). ``retryable`` says whether repeating the same call may help, and
``retry_after`` how many seconds the other side asked us to wait before. The caller's own mistakes are
:class:`ConfigError`, :class:`InputError` and an :class:`Unauthorized` that is not retryable; a
:class:`SchemaError` is final where a call is made for the first time, and passes (a migration is under way) where it
has worked before.
"""

from __future__ import annotations

from typing import ClassVar


class ToolkitError(Exception):
    """Root of the tree. ``str(error)`` is one line that names what failed and where."""

    code: ClassVar[str] = "error"
    retryable: bool = False
    retry_after: float | None = None
    exit_code: ClassVar[int] = 1

    def __init__(
        self, *args: object, retryable: bool | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(*args)
        if retryable is not None:
            self.retryable = retryable
        self.retry_after = retry_after


class ConfigError(ToolkitError):
    code = "config"
    exit_code = 3


class PortInUse(ConfigError):
    code = "port_in_use"


class InputError(ToolkitError):
    code = "input"
    exit_code = 2


class NotFound(InputError):
    code = "not_found"


class Unreachable(ToolkitError):
    code = "unreachable"
    retryable = True
    exit_code = 3


class GaveUp(Unreachable):
    code = "gave_up"
    retryable = False


class Unauthorized(ToolkitError):
    code = "unauthorized"
    exit_code = 3


class StackError(ToolkitError):
    code = "stack"
    exit_code = 3


class MigrationError(ToolkitError):
    code = "migration"


class StoreError(ToolkitError):
    code = "store"


class StoreUnavailable(StoreError):
    code = "store_unavailable"
    retryable = True
    exit_code = 3


class StoreClosed(StoreError, ConfigError):
    code = "store_closed"
    exit_code = 3


class SchemaError(StoreError):
    code = "schema"


class StaleAttempt(StoreError):
    code = "stale_attempt"


class IllegalTransition(StoreError):
    code = "illegal_transition"


class ContentMismatch(StoreError):
    code = "content_mismatch"


class ProtocolError(ToolkitError):
    code = "protocol"
