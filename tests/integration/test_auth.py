"""Auth through the official client, and the bodies and codes of its errors."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import psycopg
import pytest
from supabase import AsyncClient, acreate_client
from supabase.lib.client_options import AsyncClientOptions
from supabase_auth.errors import AuthApiError, AuthWeakPasswordError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from realtime_toolkit.stack import LocalStack

    NewClient = Callable[..., Coroutine[Any, Any, AsyncClient]]

pytestmark = pytest.mark.needs_stack("about the stack's own Auth")

PASSWORD = "correct horse battery"


@pytest.fixture
async def new_client(stack: LocalStack) -> AsyncIterator[NewClient]:
    async with httpx.AsyncClient() as http:

        async def make(key: str | None = None) -> AsyncClient:
            options = AsyncClientOptions(auto_refresh_token=False, httpx_client=http)
            return await acreate_client(stack.url, key or stack.anon_key, options)

        yield make


@pytest.fixture
async def client(new_client: NewClient) -> AsyncClient:
    return await new_client()


@pytest.fixture
def email() -> str:
    return f"{uuid.uuid4().hex}@example.com"


def credentials(email: str, password: str = PASSWORD, **data: Any) -> Any:
    return {"email": email, "password": password, "options": {"data": data}}


async def test_sign_up_gives_a_session_that_rest_accepts(
    client: AsyncClient, new_client: NewClient, stack: LocalStack, email: str
) -> None:
    made = await client.auth.sign_up(credentials(email, nickname="Ada"))
    assert made.session is not None
    assert made.user is not None
    assert made.user.email == email
    assert made.user.user_metadata["nickname"] == "Ada"
    claims = jwt.decode(made.session.access_token, stack.jwt_secret, ["HS256"], audience="authenticated")
    assert (claims["sub"], claims["role"], claims["email"]) == (made.user.id, "authenticated", email)
    await client.table("conversations").insert({"title": "mine"}).execute()
    rows = (await client.table("conversations").select("user_id, title").execute()).data
    assert rows == [{"user_id": made.user.id, "title": "mine"}]
    stranger = await new_client()
    await stranger.auth.sign_up(credentials(f"x{email}"))
    assert (await stranger.table("conversations").select("*").execute()).data == []


async def test_sign_in_with_the_right_and_a_wrong_password(client: AsyncClient, email: str) -> None:
    await client.auth.sign_up(credentials(email))
    signed_in = await client.auth.sign_in_with_password(credentials(email.upper()))
    assert signed_in.user is not None
    assert signed_in.user.last_sign_in_at is not None
    for wrong in (
        credentials(email, "wrong password"),
        credentials(f"no{email}"),
        credentials(email, "x" * 99),
    ):
        with pytest.raises(AuthApiError, match="Invalid login credentials") as raised:
            await client.auth.sign_in_with_password(wrong)
        assert (raised.value.code, raised.value.status) == ("invalid_credentials", 400)


async def test_the_password_is_stored_as_a_bcrypt_hash(
    client: AsyncClient, db: psycopg.AsyncConnection[Any], email: str
) -> None:
    await client.auth.sign_up(credentials(email))
    stored = await db.execute("select encrypted_password from auth.users where email = %s", [email])
    row = await stored.fetchone()
    assert row is not None
    assert row[0].startswith("$2a$")


async def test_signing_up_twice(client: AsyncClient, email: str) -> None:
    await client.auth.sign_up(credentials(email))
    with pytest.raises(AuthApiError, match="User already registered") as raised:
        await client.auth.sign_up(credentials(email))
    assert (raised.value.code, raised.value.status) == ("user_already_exists", 422)


async def test_a_weak_password(client: AsyncClient, email: str) -> None:
    with pytest.raises(AuthWeakPasswordError) as raised:
        await client.auth.sign_up(credentials(email, "short"))
    assert (raised.value.status, raised.value.reasons) == (422, ["length"])


@pytest.mark.parametrize("wrong", ["nonsense", "a b@example.com", "@example.com"])
async def test_an_address_that_is_none(client: AsyncClient, wrong: str) -> None:
    with pytest.raises(AuthApiError, match="Unable to validate email address") as raised:
        await client.auth.sign_up(credentials(wrong))
    assert raised.value.code == "validation_failed"


async def test_refreshing_rotates_the_token(client: AsyncClient, email: str) -> None:
    first = (await client.auth.sign_up(credentials(email))).session
    assert first is not None
    second = (await client.auth.refresh_session(first.refresh_token)).session
    assert second is not None
    assert second.refresh_token != first.refresh_token
    again = (await client.auth.refresh_session(first.refresh_token)).session
    assert again is not None
    assert again.refresh_token == second.refresh_token  # the answer may have been lost: honoured once more


async def test_an_old_refresh_token_revokes_its_family(
    client: AsyncClient, db: psycopg.AsyncConnection[Any], email: str
) -> None:
    first = (await client.auth.sign_up(credentials(email))).session
    assert first is not None
    second = (await client.auth.refresh_session(first.refresh_token)).session
    assert second is not None
    third = (await client.auth.refresh_session(second.refresh_token)).session
    assert third is not None
    await db.execute("update auth.refresh_tokens set updated_at = now() - interval '1 minute'")
    for token in (first.refresh_token, third.refresh_token):
        with pytest.raises(AuthApiError, match="Already Used") as raised:
            await client.auth.refresh_session(token)
        assert str(raised.value.code) == "refresh_token_already_used"


async def test_an_unknown_refresh_token(client: AsyncClient) -> None:
    with pytest.raises(AuthApiError, match="Refresh Token Not Found") as raised:
        await client.auth.refresh_session("nonsense")
    assert str(raised.value.code) == "refresh_token_not_found"


async def test_the_user_can_be_read_and_changed(client: AsyncClient, email: str) -> None:
    await client.auth.sign_up(credentials(email, a=1, b=2))
    changed = await client.auth.update_user(
        {"email": f"new-{email}", "password": "another password", "data": {"a": None, "c": 3}}
    )
    assert changed.user.email == f"new-{email}"
    read = await client.auth.get_user()
    assert read is not None
    assert {key: read.user.user_metadata.get(key) for key in "abc"} == {"a": None, "b": 2, "c": 3}
    await client.auth.sign_in_with_password(credentials(f"new-{email}", "another password"))
    with pytest.raises(AuthApiError) as raised:
        await client.auth.update_user({"password": "another password"})
    assert raised.value.code == "same_password"


async def test_logging_out_ends_the_session(client: AsyncClient, email: str) -> None:
    session = (await client.auth.sign_up(credentials(email))).session
    assert session is not None
    await client.auth.sign_out()
    with pytest.raises(AuthApiError) as raised:
        await client.auth.get_user(session.access_token)
    assert (raised.value.code, raised.value.status) == ("session_not_found", 403)
    with pytest.raises(AuthApiError, match="Not Found"):
        await client.auth.refresh_session(session.refresh_token)


async def test_logging_out_the_others_keeps_this_one(new_client: NewClient, email: str) -> None:
    here, there = await new_client(), await new_client()
    await here.auth.sign_up(credentials(email))
    await there.auth.sign_in_with_password(credentials(email))
    await here.auth.sign_out({"scope": "others"})
    assert await here.auth.get_user() is not None
    with pytest.raises(AuthApiError):
        await there.auth.get_user()


async def test_anonymous_users(client: AsyncClient, stack: LocalStack) -> None:
    signed_in = await client.auth.sign_in_anonymously()
    assert signed_in.session is not None
    claims = jwt.decode(signed_in.session.access_token, stack.jwt_secret, ["HS256"], audience="authenticated")
    assert claims["is_anonymous"] is True


# --- the admin's users ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["service_role_key", "secret_key"])
async def test_admin_creates_lists_changes_and_deletes(
    new_client: NewClient, stack: LocalStack, email: str, key: str
) -> None:
    admin = await new_client(getattr(stack, key))
    made = await admin.auth.admin.create_user(
        {"email": email, "password": PASSWORD, "email_confirm": True, "user_metadata": {"team": "red"}}
    )
    assert made.user.user_metadata == {"team": "red"}
    assert made.user.app_metadata["provider"] == "email"
    assert email in [user.email for user in await admin.auth.admin.list_users(page=1, per_page=1000)]
    await (await new_client()).auth.sign_in_with_password(credentials(email))
    await admin.auth.admin.update_user_by_id(made.user.id, {"ban_duration": "1h"})
    with pytest.raises(AuthApiError) as raised:
        await (await new_client()).auth.sign_in_with_password(credentials(email))
    assert raised.value.code == "user_banned"
    await admin.auth.admin.delete_user(made.user.id)
    with pytest.raises(AuthApiError, match="User not found") as raised:
        await admin.auth.admin.get_user_by_id(made.user.id)
    assert (raised.value.code, raised.value.status) == ("user_not_found", 404)


async def test_admin_cannot_create_an_address_twice(
    new_client: NewClient, stack: LocalStack, email: str
) -> None:
    admin = await new_client(stack.service_role_key)
    await admin.auth.admin.create_user({"email": email})
    with pytest.raises(AuthApiError) as raised:
        await admin.auth.admin.create_user({"email": email})
    assert (raised.value.code, raised.value.status) == ("email_exists", 422)


async def test_an_unconfirmed_address_cannot_sign_in(
    new_client: NewClient, client: AsyncClient, stack: LocalStack, email: str
) -> None:
    admin = await new_client(stack.service_role_key)
    await admin.auth.admin.create_user({"email": email, "password": PASSWORD})
    with pytest.raises(AuthApiError) as raised:
        await client.auth.sign_in_with_password(credentials(email))
    assert raised.value.code == "email_not_confirmed"


async def test_a_user_is_no_admin(client: AsyncClient, email: str) -> None:
    await client.auth.sign_up(credentials(email))
    with pytest.raises(AuthApiError, match="User not allowed") as raised:
        await client.auth.admin.list_users()
    assert (raised.value.code, raised.value.status) == ("not_admin", 403)


# --- on the wire ------------------------------------------------------------------------------------------


async def test_errors_come_in_both_versions_of_the_api(stack: LocalStack) -> None:
    url = f"{stack.url}/auth/v1/token?grant_type=password"
    body = {"email": "nobody@example.com", "password": PASSWORD}
    async with httpx.AsyncClient(headers={"apikey": stack.anon_key}) as http:
        old = await http.post(url, json=body)
        new = await http.post(url, json=body, headers={"x-supabase-api-version": "2024-01-01"})
    message = "Invalid login credentials"
    assert old.json() == {"code": 400, "error_code": "invalid_credentials", "msg": message}
    assert new.json() == {"code": "invalid_credentials", "message": message}
    assert new.headers["x-supabase-api-version"] == "2024-01-01"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "signup", b"{", 400, "bad_json"),
        ("POST", "signup", b"[]", 400, "bad_json"),
        ("POST", "signup", b'{"email": "a@example.com"}', 400, "validation_failed"),
        ("POST", "signup", b'{"phone": "1", "password": "123456"}', 400, "phone_provider_disabled"),
        ("POST", "token?grant_type=refresh_token", b"{}", 400, "validation_failed"),
        ("POST", "token?grant_type=magic", b"{}", 400, "invalid_credentials"),
        ("GET", "user", b"", 403, "bad_jwt"),
        ("GET", "admin/users", b"", 403, "not_admin"),
        ("POST", "logout?scope=some", b"", 400, "validation_failed"),
    ],
)
async def test_requests_that_are_wrong(
    stack: LocalStack, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    async with httpx.AsyncClient(headers={"apikey": stack.anon_key}) as http:
        answer = await http.request(method, f"{stack.url}/auth/v1/{path}", content=body)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)


@pytest.mark.parametrize("token", ["nonsense", "a.b.c"])
async def test_a_token_that_is_none(stack: LocalStack, token: str) -> None:
    headers = {"apikey": stack.anon_key, "authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers) as http:
        answer = await http.get(f"{stack.url}/auth/v1/user")
    assert (answer.status_code, answer.json()["error_code"]) == (403, "bad_jwt")


async def test_a_token_of_somebody_who_never_signed_up(stack: LocalStack) -> None:
    headers = {"apikey": stack.anon_key, "authorization": f"Bearer {stack.token(str(uuid.uuid4()))}"}
    async with httpx.AsyncClient(headers=headers) as http:
        answer = await http.get(f"{stack.url}/auth/v1/user")
    assert (answer.status_code, answer.json()["error_code"]) == (403, "user_not_found")


@pytest.mark.parametrize(
    ("function", "signs_up"),
    [
        ("language plpgsql as $$ begin insert into welcome values (new.id); return new; end $$", False),
        (
            "language plpgsql as $$ begin insert into public.welcome values (new.id); return new; end $$",
            False,
        ),
        (
            "language plpgsql security definer as $$ begin insert into welcome values (new.id); return new; end $$",
            False,
        ),
        (
            "language plpgsql security definer set search_path = '' as"
            " $$ begin insert into public.welcome values (new.id); return new; end $$",
            True,
        ),
    ],
)
async def test_triggers_on_users_run_with_the_rights_and_the_path_of_auth(
    stack: LocalStack, client: AsyncClient, email: str, function: str, signs_up: bool
) -> None:
    """As on a hosted project, where `Database error saving new user` is what most projects meet first."""
    with psycopg.connect(stack.database_url, autocommit=True) as db:
        db.execute("create table public.welcome (user_id uuid)")
        db.execute(f"create function public.greet() returns trigger {function}".encode())
        db.execute(
            "create trigger greet after insert on auth.users for each row execute function public.greet()"
        )
        try:
            if signs_up:
                assert (await client.auth.sign_up(credentials(email))).session is not None
            else:
                with pytest.raises(AuthApiError, match="Database error"):
                    await client.auth.sign_up(credentials(email))
            assert db.execute("select count(*) from public.welcome").fetchone() == (int(signs_up),)
        finally:
            db.execute(
                "drop trigger greet on auth.users; drop function public.greet; drop table public.welcome"
            )
