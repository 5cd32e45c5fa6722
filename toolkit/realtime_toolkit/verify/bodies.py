"""What the bodies of functions say that neither the catalog nor a call can tell: read-only, in a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.catalogue import facts
from realtime_toolkit.verify.functions import read_functions
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from realtime_toolkit.verify.session import settings, snapshot
from realtime_toolkit.verify.sqlbuilding import TEXTS, pasted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from realtime_toolkit.verify.functions import Function
    from realtime_toolkit.verify.session import Connection

FUN003 = Rule(
    "FUN003",
    "functions",
    "A SECURITY DEFINER function builds SQL from its arguments",
    "Whoever may call it runs whatever statement they like, with the rights of its owner.",
)

_CLIENTS = "select count(*) from pg_roles where rolname in ('anon', 'authenticated')"


def run_bodies(connection: Connection, *, schemas: Sequence[str] = ()) -> CheckResult:
    """FUN003 on every function that clients may call."""
    try:
        with snapshot(connection):
            settings(connection, schemas)
            clients = connection.execute(_CLIENTS).fetchone()
            functions = read_functions(connection, facts())
    except psycopg.Error as error:
        if error.sqlstate is None:
            raise
        text = f"{error.diag.message_primary} ({error.sqlstate})"
        return CheckResult(FUN003, Outcome.UNDECIDED, reason=shown(text))
    if clients is None or clients[0] < 2:
        return CheckResult(
            FUN003, Outcome.UNDECIDED, reason="this is no Supabase database: it has no role for clients"
        )
    found = tuple(_findings(functions))
    return CheckResult(FUN003, Outcome.FAIL if found else Outcome.PASS, found)


def _findings(functions: Iterable[Function]) -> Iterator[Finding]:
    for function in functions:
        if not (function.definer and function.roles and function.language == "plpgsql"):
            continue
        texts = {
            name: p.name or name
            for place, p in enumerate(function.parameters, 1)
            if p.base in TEXTS
            for name in (p.name, f"${place}")
        }
        names = sorted({texts[name] for name in pasted(function.source, texts)})
        if names:
            yield Finding.of(
                "FUN003",
                Level.ERROR,
                f"function {function.signature}",
                f"{' and '.join(function.roles)} can run SQL of their own with the rights of the owner of {function.signature}, "
                f"which is SECURITY DEFINER and executes a statement that its argument {' and '.join(names)} is pasted into.",
                "-- compare it with a list of what is allowed, or write format('… %I … $1', …) using …; or: "
                f"alter function {function.signature} security invoker;",
                f"FUN003 {function.signature}",
            )
