"""The access matrix as a pgTAP file, for teams on ``supabase test db``. It stands alone: no toolkit needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from realtime_toolkit.migrate.sqlsplit import printable
from realtime_toolkit.shown import shown
from realtime_toolkit.verify.access import Command
from realtime_toolkit.verify.probing import Answer
from realtime_toolkit.verify.sequences import restarts
from realtime_toolkit.verify.stage import staged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_toolkit.verify.access import Cell
    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.stage import Stage

# Undoes what it does: the exception that carries the answer out ends a subtransaction, settings included.
_REACHED = """\
create function pg_temp.reached(as_role text, claims text, before text[], statement text) returns text
language plpgsql as $reached$
declare
  preparation text;
  reached integer;
begin
  foreach preparation in array before loop
    execute preparation;
  end loop;
  perform set_config('role', as_role, true), set_config('request.jwt.claims', claims, true);
  execute statement;
  get diagnostics reached = row_count;
  raise exception using errcode = 'PT001', message = case when reached > 0 then 'allow' else 'deny' end;
exception
  when sqlstate 'PT001' then return sqlerrm;
  when insufficient_privilege then return 'deny';
  when foreign_key_violation or restrict_violation then
    return case when statement ~ '^delete ' then 'allow' else 'undecided ' || sqlstate end;
  when others then return 'raises ' || sqlstate;
end
$reached$;"""


def pgtap_script(
    connection: Connection, config: Config, *, schemas: Sequence[str] = (), alone: bool = False
) -> str:
    """A test file that holds what is true now: rows for three people, then one test a cell that is decided."""
    with staged(connection, config, schemas=schemas, alone=alone) as stage:
        cells = [cell for table in stage.model.reachable for cell in stage.access.cells(table)]
        tests = [_test(stage, cell) for cell in cells if cell.result.answer in (Answer.ALLOW, Answer.DENY)]
        rows = [*stage.seeder.world.script, *restarts(connection, stage.model.sequences)]
    return "\n".join(
        [
            "-- Who can select, insert, update and delete whose rows: written by `realtime-toolkit verify --pgtap`.",
            "begin;",
            "create extension if not exists pgtap with schema extensions;",
            "set local search_path = public, extensions;",
            f"select plan({len(tests)});",
            "",
            *(f"{printable(row)};" for row in rows),
            "",
            _REACHED,
            "",
            *tests,
            "",
            "select * from finish();",
            "rollback;",
            "",
        ]
    )


def _test(stage: Stage, cell: Cell) -> str:
    table = stage.model.tables[cell.table]
    probe = stage.access.probe(table, cell.whose, Command(cell.command), cell.role)
    assert probe is not None
    context = stage.connection
    before = [statement.as_string(context) for statement in probe.before]
    verb = "can" if cell.result.answer is Answer.ALLOW else "cannot"
    return printable(
        sql.SQL("select is(pg_temp.reached({}, {}, {}::text[], {}), {}, {});")
        .format(
            sql.Literal(cell.role),
            sql.Literal(stage.access.actors[cell.role].text),
            sql.Literal(before),
            sql.Literal(probe.statement.as_string(context)),
            sql.Literal(cell.result.answer.value),
            sql.Literal(
                f"{cell.role} {verb} {cell.command.value} a row of {shown(cell.table)}: {cell.whose.value}"
            ),
        )
        .as_string(context)
    )
