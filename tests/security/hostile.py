"""A schema whose every name is one that somebody could choose to break what reads it."""

from __future__ import annotations

from psycopg import sql

NAMES = (
    'a"b', '"', "o'clock", "'", "100%", "%s %I %(x)s {0} {}", "back\\slash", "a\\nb", "\\", "\\x41",
    "line\nbreak", "\nok: 0 findings", "x\n; drop table public.keep; --", "tab\there", "return\rback", "esc\x1b[31mred", "bell\x07",
    "\x7f", "\x9b2J", "\xa0", "\u202egnirts", "\u2028next", "zero\u200bwidth", "\ufffe", "\U000e0001",
    "c++", "(", ")", "[x", "*", ".*", "?", "^$", "a|b", "{2}", "\\m", "+", "Price (EUR", "a\\q", "]", "#",
    "über", "Ünï", "😀", "😀" * 15, "x" * 63, "é" * 31, "x" + "é" * 31, "UPPER", "userId", "1digit", "select", "user", "table", "public",
    " ", "  two  blanks  ", "a ", "a.b", "public.t", "a on b", "x on public.keep", "a::b", "a,b", "a=b", "own=allow", "-", "(nothing)", "undecided",
    "::error ::x", "##[error]x", "--", "/* x", "*/", "$$", "$re$", "dol$lar", "<b>&amp;]]>", ";", "@", "${HOME}", "`id`", "$(id)",
)  # fmt: skip

KEPT = "create table public.keep (id uuid primary key); alter table public.keep enable row level security;"

# A schema, type, function, trigger, policies and columns of the same name, with a flaw for most of the checks.
_TABLE = """
create type {schema}.{type} as enum ('a', {text});
create table {schema}.{table} (
  id serial primary key, {column} uuid not null, {other} text check ({other} <> {text}), kind {schema}.{type} not null default {text},
  updated_at timestamp, constraint {unique} unique ({other})
);
create index {index} on {schema}.{table} (updated_at);
create function {schema}.{function}() returns trigger language plpgsql as 'begin new.updated_at := now(); return new; end';
create trigger {trigger} before update on {schema}.{table} for each row execute function {schema}.{function}();
create function {schema}.{asks}() returns text language sql as $f$ select current_setting('app.x', true) $f$;
alter table {schema}.{table} enable row level security;
grant usage on schema {schema} to anon, authenticated, service_role;
grant all on {schema}.{table} to authenticated, service_role;
grant usage on all sequences in schema {schema} to authenticated, service_role;
create policy {policy} on {schema}.{table} for select to authenticated using ({column} = auth.uid());
create policy {policy2} on {schema}.{table} for update to authenticated using (true);
create policy {policy3} on {schema}.{table} for delete to authenticated using ({schema}.{asks}() = {text});
create view {schema}.{view} as select {column} from {schema}.{table};
grant select on {schema}.{view} to anon;
alter publication supabase_realtime add table {schema}.{table};
"""
_CHANNEL = """
create policy {policy} on realtime.messages for select to authenticated using (realtime.topic() = {text} and extension = 'presence');
create publication {table} for table {schema}.{table};
"""


def near(name: str, letter: str) -> str:
    """Another name as odd, still within the 63 bytes."""
    return f"{letter}{name}".encode()[:63].decode(errors="ignore")


def schema(name: str, *, of: str = "public") -> str:
    """The SQL of a table of this name, in the schema ``of``, with all that hangs on it."""
    names = {
        "schema": of, "table": name, "type": near(name, "t"), "column": name, "other": near(name, "o"), "index": near(name, "i"),
        "unique": near(name, "u"), "function": name, "trigger": name, "asks": near(name, "f"), "policy": name,
        "policy2": near(name, "p"), "policy3": near(name, "q"), "view": near(name, "v"),
    }  # fmt: skip
    template = "create schema if not exists {schema};" + _TABLE + (_CHANNEL if of == "public" else "")
    made = sql.SQL(template).format(
        text=sql.Literal(name), **{key: sql.Identifier(value) for key, value in names.items()}
    )
    return made.as_string()


def script(names: tuple[str, ...] = NAMES) -> str:
    return KEPT + "".join(schema(name) + schema(name, of=name) for name in names if name != "public")
