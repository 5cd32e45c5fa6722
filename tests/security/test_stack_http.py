"""What anybody may send to the stack's port: odd bodies, tokens, addresses, names and halves. 4xx, never 500, never silence."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from realtime_toolkit import phoenix
from realtime_toolkit.phoenix import Message, Vsn
from realtime_toolkit.stack import LocalStack
from realtime_toolkit.stack.front import serving
from realtime_toolkit.stack.front.hosts import admits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs_stack("about the stack's own gateway and servers")

PASSWORD = "correct horse battery"
LONG = "x" * 300
DEEP = b"[" * 100_000
VALUES: list[Any] = [
    None, True, 0, -1, 1.5, 10**400, "", " ", "x", LONG, "a\0b", "\ud800", "²", "ü" * 100, "../../etc", [], [1], ["\0"],
    {}, {"a": 1}, {"a\0": 1}, {"a": "\0"}, {"a": {"b": ["\ud800"]}}, "1e400h", "none", "99999999999h", "x\r\ny",
]  # fmt: skip
RAW = [
    b"{", b"[]", b"null", b'"x"', b"\xff\xfe{", b"\xef\xbb\xbf{}", b"\0", DEEP, b'{"data":' * 5000, b'{"data": {"a": NaN}}',
    b'{"data": {"a": 1e400}}', b'{"a":' * 300 + b"1" + b"}" * 300, b'{"data": {"a": %s}}' % (b"9" * 5000),
    b'{"data": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}", b'{"x": "%s"}' % (b"y" * 9_000_000),
    '{"data": {}}'.encode("utf-16"),
]  # fmt: skip


@pytest.fixture
async def http(stack: LocalStack) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"apikey": stack.anon_key, "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=stack.url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
async def account(http: httpx.AsyncClient) -> dict[str, Any]:
    credentials = {"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD}
    session: dict[str, Any] = (await http.post("/auth/v1/signup", json=credentials)).json()
    return session


def bodies(base: dict[str, Any], fields: str) -> Iterator[bytes]:
    """Each field with each value, beside what makes the rest of the request right; then what is no such object."""
    for name in fields.split():
        for value in VALUES:
            yield json.dumps({**base, name: value}).encode()
    yield from RAW


def said_no_or_yes(answer: httpx.Response, asked: object) -> None:
    assert answer.status_code < 500, (asked, answer.status_code, answer.text)
    assert answer.status_code < 400 or answer.text, asked


CREATE = "id email password password_hash phone user_metadata app_metadata role ban_duration email_confirm"


@pytest.mark.parametrize(
    ("asked", "who", "fields"),
    [
        ("POST /auth/v1/signup", "anybody", "email password phone data"),
        ("POST /auth/v1/token?grant_type=password", "anybody", "email password phone"),
        ("POST /auth/v1/token?grant_type=refresh_token", "anybody", "refresh_token"),
        ("POST /auth/v1/logout?scope=local", "anybody", ""),
        ("PUT /auth/v1/user", "user", "email password data"),
        ("POST /auth/v1/admin/users", "admin", CREATE),
        ("PUT /auth/v1/admin/users/{id}", "admin", CREATE),
        ("POST /toolkit/v1/faults", "admin", "fault count rate"),
        ("POST /realtime/v1/api/broadcast", "anybody", "messages"),
        ("POST /realtime/v1/api/broadcast/room/events/e", "anybody", "x"),
    ],
)
async def test_odd_bodies(
    stack: LocalStack, http: httpx.AsyncClient, account: dict[str, Any], asked: str, who: str, fields: str
) -> None:
    headers = {
        "anybody": {},
        "user": {"authorization": f"Bearer {account['access_token']}"},
        "admin": {"apikey": stack.service_role_key},
    }[who]
    base = {"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD, "fault": "replay-capped:25"}
    verb, address = asked.format(id=account["user"]["id"]).split()
    if verb == "PUT":
        base = {}
    for body in bodies(base, fields):
        said_no_or_yes(await http.request(verb, address, content=body, headers=headers), body[:200])
    for content_type in ("", "text/plain", "application/json; charset=utf-16", "multipart/form-data"):
        for body in (b"", b"{}", b"x=1", b"\0" * 100):
            odd = {**headers, "content-type": content_type}
            said_no_or_yes(await http.request(verb, address, content=body, headers=odd), (content_type, body))
    stack.faults.clear("replay-capped")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"email": "q@x.test", "password": PASSWORD, "data": [1]}, "validation_failed"),
        ({"email": "q\0@x.test", "password": PASSWORD}, "validation_failed"),
        ({"email": "q@x.test", "password": PASSWORD, "data": {"a": {"b": "\0"}}}, "validation_failed"),
        ({"email": ["q@x.test"], "password": PASSWORD}, "validation_failed"),
        ({"email": "q@x.test", "password": 12345678}, "validation_failed"),
        ({"email": f"{'q' * 250}@x.test", "password": PASSWORD}, "validation_failed"),
    ],
)
async def test_what_supabase_auth_refuses(http: httpx.AsyncClient, body: dict[str, Any], code: str) -> None:
    answer = await http.post("/auth/v1/signup", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, code)


async def test_half_a_surrogate_pair_is_replaced_as_go_does(http: httpx.AsyncClient) -> None:
    body = b'{"email": "%s@x.test", "password": "%s", "data": {"a": "\\ud800!"}}'
    answer = await http.post("/auth/v1/signup", content=body % (uuid.uuid4().hex.encode(), PASSWORD.encode()))
    assert answer.json()["user"]["user_metadata"]["a"] == "\ufffd!"


@pytest.mark.parametrize(
    "query", ["page=²", "page=" + "9" * 5000, "per_page=-1", "page=1&per_page=999999999", "page=%00"]
)
async def test_odd_pages(http: httpx.AsyncClient, stack: LocalStack, query: str) -> None:
    answer = await http.get(f"/auth/v1/admin/users?{query}", headers={"apikey": stack.service_role_key})
    said_no_or_yes(answer, query)


@pytest.mark.parametrize("user_id", ["x", "%00", "..", "{}", "0" * 5000])
async def test_odd_ids(http: httpx.AsyncClient, stack: LocalStack, user_id: str) -> None:
    for verb in ("GET", "PUT", "DELETE"):
        answer = await http.request(
            verb, f"/auth/v1/admin/users/{user_id}", headers={"apikey": stack.service_role_key}
        )
        assert answer.status_code in (404, 405), answer.text


# --- tokens -----------------------------------------------------------------------------------------------


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


HEAD = part(b'{"alg": "HS256", "typ": "JWT"}')
HEADS = [
    b'{"alg": [], "typ": "JWT"}', b'{"alg": {}, "typ": "JWT"}', b'{"alg": null}', b'{"alg": "none"}', b"[]", b"\xff",
    b"[" * 3000, b'{"alg": "HS256", "typ": []}', b'{"alg": "HS256", "typ": "JWT"}',
]  # fmt: skip
CLAIMS = [
    b'{"role": "authenticated", "exp": Infinity}', b'{"role": "authenticated", "exp": []}', b"[]", b"1", b"{",
    b"[" * 3000, b'{"role": [], "exp": 4000000000}', b'{"role": "a\\u0000b", "exp": 4000000000}', b"\xff",
    b'{"role": "no such role", "sub": {}, "exp": 4000000000}', b'{"role": {}, "sub": "\\ud800", "exp": 4000000000}',
    b'{"role": "authenticated", "sub": "x", "exp": 1e400}', b'{"role": "authenticated", "exp": 9e99, "session_id": []}',
]  # fmt: skip
UNSIGNED = [
    *(".", "..", "...", "a.b.c", "%", "é", "x" * 5000),
    *(f"{part(head)}.{part(b'{}')}.{part(b'x')}" for head in HEADS),
    *(f"{HEAD}.{part(claims)}.{part(b'x')}" for claims in CLAIMS),
]


def signed(secret: str) -> list[str]:
    """With claims that make no sense."""
    bodies = [f"{HEAD}.{part(claims)}" for claims in CLAIMS]
    return [f"{it}.{part(hmac.digest(secret.encode(), it.encode(), 'sha256'))}" for it in bodies]


@pytest.mark.parametrize("path", ["/auth/v1/user", "/auth/v1/admin/users", "/realtime/v1/api/broadcast"])
async def test_odd_tokens(http: httpx.AsyncClient, stack: LocalStack, path: str) -> None:
    for token in [*UNSIGNED, *signed(stack.jwt_secret)]:
        value = b"Bearer " + token.encode("latin-1")
        verb = "POST" if "broadcast" in path else "GET"
        answer = await http.request(verb, path, headers={b"authorization": value})
        assert 400 <= answer.status_code < 500, (token, answer.status_code, answer.text)


async def test_odd_tokens_for_sockets(stack: LocalStack) -> None:
    """A socket is refused, a join answered."""
    base = stack.url.replace("http", "ws") + "/realtime/v1/websocket?vsn=2.0.0&apikey="
    async with connect(base + stack.anon_key) as socket:
        for number, token in enumerate([*UNSIGNED, *signed(stack.jwt_secret)]):
            ref = str(number)
            join = phoenix.join(f"realtime:{number}", ref, {"private": True}, token)
            await socket.send(phoenix.encode(join, Vsn.V2))
            async with asyncio.timeout(10):
                frame = await socket.recv()
                while json.loads(frame)[1] != ref:
                    frame = await socket.recv()
    for token in UNSIGNED:
        async with asyncio.timeout(10):
            with pytest.raises(InvalidStatus) as refused:
                await connect(base + quote(token, safe=""))
        assert 400 <= refused.value.response.status_code < 500


async def test_odd_frames_leave_the_socket_alive(stack: LocalStack) -> None:
    address = f"{stack.url.replace('http', 'ws')}/realtime/v1/websocket?vsn=2.0.0&apikey={stack.anon_key}"
    async with connect(address) as socket:
        for topic in ("realtime:a\0b", "realtime:x", "realtime:" + LONG, "realtime:\ud800"):
            for config in ({}, {"private": True}, {"broadcast": {"self": True, "ack": True}}):
                message = json.dumps(["1", "1", topic, "phx_join", {"config": config}])
                await socket.send(message)
                for event in ("broadcast", "presence", "access_token", "\0"):
                    for payload in (
                        *VALUES,
                        {"event": "track", "payload": {"a": "\ud800"}},
                        {"access_token": "x.y"},
                    ):
                        await socket.send(json.dumps(["1", "2", topic, event, payload]))
        deep = '["1","1","realtime:x","broadcast",' + '{"a":' * 600 + "1" + "}" * 600 + "]"
        for frame in (deep, "[" * 100_000, "{}", "", "\0", b"", b"\xff" * 100):
            await socket.send(frame)
        await socket.send(phoenix.encode(Message("phoenix", "heartbeat", {}, "beat"), Vsn.V2))
        async with asyncio.timeout(20):
            while b'"beat"' not in (
                frame if isinstance(frame := await socket.recv(), bytes) else frame.encode()
            ):
                pass


# --- addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/rest%2Fv1/tasks", 404),
        ("/%72est/v1/tasks", 404),
        ("/auth%2fv1/health", 404),
        ("/realtime%2Fv1/api/broadcast", 404),
        ("/toolkit%2Fv1/faults", 404),
        ("//rest/v1/tasks", 404),
        ("/rest/v1/" + "x" * 70_000, 400),
    ],
)
async def test_odd_addresses(stack: LocalStack, path: str, status: int) -> None:
    answer = await raw(stack, f"GET {path} HTTP/1.1\r\nhost: localhost\r\napikey: {stack.anon_key}\r\n\r\n")
    assert answer.split()[1] == str(status), answer


async def raw(stack: LocalStack, text: str) -> str:
    """What a connection that sends this and nothing more gets, until it has an answer's head or is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(stack.url.rpartition(":")[2]))
    writer.write(text.encode("latin-1"))
    try:
        async with asyncio.timeout(20):
            return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        return error.partial.decode("latin-1")
    finally:
        writer.close()


# --- host names -------------------------------------------------------------------------------------------

OURS = ["127.0.0.1", "127.0.0.1:54321", "localhost", "LOCALHOST:1", "localhost.", "app.localhost:3000", "[::1]:54321",
        "host.docker.internal:54321", "10.0.2.2:54321", "192.168.1.5"]  # fmt: skip
FOREIGN = ["evil.example", "evil.example:54321", "127.0.0.1.evil.example", "localhost.evil.example", "evillocalhost",
           "", ":54321", "[::1", "::1", "user@localhost", "localhost:x", "localhost evil", "evil.internal"]  # fmt: skip


@pytest.mark.parametrize("host", OURS)
def test_names_of_this_machine(host: str) -> None:
    assert admits([host])


@pytest.mark.parametrize("host", FOREIGN)
def test_foreign_names(host: str) -> None:
    assert not admits([host])


def test_names_that_were_allowed_and_names_that_are_none() -> None:
    assert admits(["Tunnel.Example:443"], {"tunnel.example"})
    assert not admits([])
    assert not admits(["localhost", "evil.example"])


@pytest.mark.parametrize(
    "path",
    [
        "/rest/v1/",
        "/auth/v1/health",
        "/realtime/v1/api/broadcast",
        "/toolkit/v1/faults",
        "/auth/v1/verify",
        "/",
    ],
)
async def test_a_foreign_host_is_not_served(stack: LocalStack, http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path, headers={"host": "evil.example", "apikey": stack.service_role_key})
    assert answer.status_code == 421
    preflight = {"host": "evil.example", "origin": "http://x", "access-control-request-method": "GET"}
    assert (await http.options(path, headers=preflight)).status_code == 421


async def test_a_socket_under_a_foreign_host_is_refused(stack: LocalStack) -> None:
    port = int(stack.url.rpartition(":")[2])
    address = f"ws://evil.example:{port}/realtime/v1/websocket?apikey={stack.anon_key}"
    with pytest.raises(InvalidStatus) as refused:
        await connect(address, host="127.0.0.1", port=port)
    assert refused.value.response.status_code == 421
    async with connect(address.replace("evil.example", "localhost"), host="127.0.0.1", port=port):
        pass


async def test_a_further_name_can_be_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_STATE_DIR", str(tmp_path))
    async with LocalStack(hosts=["Tunnel.example"]) as stack, httpx.AsyncClient() as client:
        headers = {"host": "tunnel.example", "apikey": stack.anon_key}
        assert (await client.get(f"{stack.url}/auth/v1/health", headers=headers)).status_code == 200


# --- halves -----------------------------------------------------------------------------------------------

HALVES = [
    "",
    "GET /rest/v1/ HTTP/1.1\r\nhost: localhost\r\n",
    "POST /auth/v1/signup HTTP/1.1\r\nhost: localhost\r\napikey: KEY\r\ncontent-length: 100\r\n\r\n{",
    "POST /rest/v1/conversations HTTP/1.1\r\nhost: localhost\r\napikey: KEY\r\ncontent-length: 100\r\n\r\n{",
    "POST /realtime/v1/api/broadcast HTTP/1.1\r\nhost: localhost\r\napikey: KEY\r\ncontent-type: application/json\r\n"
    "transfer-encoding: chunked\r\n\r\n5\r\n{",
    "GET /realtime/v1/websocket?apikey=KEY HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n",
]


@pytest.mark.parametrize("half", HALVES)
async def test_half_a_request_is_not_waited_for(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 0.5)
    answer = await raw(stack, half.replace("KEY", stack.anon_key))
    assert answer.startswith("HTTP/1.1 408 ")


async def test_a_body_that_comes_slowly_is_taken(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "PATIENCE", 1.0)

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"messages": ['
        for _ in range(8):
            await asyncio.sleep(0.25)
            yield b" "
        yield b'{"topic": "t", "event": "e", "payload": {}}]}'

    headers = {"apikey": stack.anon_key, "content-type": "application/json"}
    async with httpx.AsyncClient(headers=headers) as client:
        answer = await client.post(f"{stack.url}/realtime/v1/api/broadcast", content=pieces())
    assert answer.status_code == 202


async def test_headers_without_end_are_refused(stack: LocalStack) -> None:
    many = "".join(f"x-{number}: {'y' * 1000}\r\n" for number in range(200))
    answer = await raw(stack, f"GET / HTTP/1.1\r\nhost: localhost\r\n{many}")
    assert answer.startswith("HTTP/1.1 431 ")
