// The official JavaScript client against the stack. Prints one line of JSON per check; run by
// test_javascript_client.py, which made the tables and policies.
import { createRequire } from "node:module";
const require = createRequire(process.env.JS_MODULES + "/");
const { createClient } = require("@supabase/supabase-js");

const { SUPABASE_URL, SUPABASE_ANON_KEY, SUPABASE_SERVICE_ROLE_KEY } = process.env;
const options = globalThis.WebSocket ? {} : { realtime: { transport: require("ws") } };
const PATIENCE = 8000;

function inbox() {
  const items = [], waiting = [];
  const check = () => waiting.splice(0).forEach((retry) => retry());
  return {
    items,
    push: (item) => (items.push(item), check()),
    async until(enough, what = "something") {
      const deadline = Date.now() + PATIENCE;
      while (!enough(items)) {
        const left = deadline - Date.now();
        if (left <= 0) throw new Error(`${what} did not come: ${JSON.stringify(items)}`);
        await Promise.race([new Promise((r) => waiting.push(r)), new Promise((r) => setTimeout(r, left))]);
      }
      return items;
    },
  };
}

async function check(name, run) {
  try {
    await run();
    console.log(JSON.stringify({ check: name, ok: true }));
  } catch (error) {
    console.log(JSON.stringify({ check: name, ok: false, error: String(error.stack ?? error) }));
  }
}

function expect(got, wanted) {
  if (JSON.stringify(got) !== JSON.stringify(wanted))
    throw new Error(`got ${JSON.stringify(got)}, expected ${JSON.stringify(wanted)}`);
}

async function join(channel, states = inbox()) {
  channel.subscribe((status) => states.push(status));
  await states.until((all) => all.includes("SUBSCRIBED"), "SUBSCRIBED");
  return states;
}

async function follow(client, name, filter) {
  const changes = inbox(), system = inbox();
  const channel = client
    .channel(name)
    .on("postgres_changes", { event: "*", schema: "public", table: "js_notes", ...filter }, (c) => changes.push(c))
    .on("system", {}, (message) => system.push(message.message));
  await join(channel);
  await system.until((all) => all.includes("Subscribed to PostgreSQL"), "Subscribed to PostgreSQL");
  return { channel, changes, system };
}

async function signUp() {
  const client = createClient(SUPABASE_URL, SUPABASE_ANON_KEY, options);
  const email = `${crypto.randomUUID()}@example.org`;
  const { data, error } = await client.auth.signUp({ email, password: "correct horse battery" });
  if (error) throw error;
  await client.realtime.setAuth(data.session.access_token);
  return { client, user: data.user.id };
}

async function insert(client, rows) {
  const { error } = await client.from("js_notes").insert(rows);
  if (error) throw new Error(JSON.stringify(error));
}

async function admin(method, body) {
  const answer = await fetch(`${SUPABASE_URL}/toolkit/v1/faults`, {
    method, body: JSON.stringify(body), headers: { apikey: SUPABASE_SERVICE_ROLE_KEY },
  });
  if (!answer.ok) throw new Error(await answer.text());
}

const mine = await signUp(), stranger = await signUp();
const service = createClient(SUPABASE_URL, SUPABASE_SERVICE_ROLE_KEY, options);
const told = (changes) => changes.items.map((c) => [c.eventType, c.new.body ?? null, c.old.id ?? null]);

await check("changes under row level security", async () => {
  const here = await follow(mine.client, "notes"), there = await follow(stranger.client, "notes");
  await insert(mine.client, [{ id: 1, body: "first" }]);
  await here.changes.until((all) => all.length === 1, "the insert");
  await mine.client.from("js_notes").update({ body: "second" }).eq("id", 1);
  await here.changes.until((all) => all.length === 2, "the update");
  await mine.client.from("js_notes").delete().eq("id", 1);
  await here.changes.until((all) => all.length === 3, "the delete");
  await insert(stranger.client, [{ id: 2, body: "the stranger's" }]);
  await there.changes.until((all) => all.some((c) => c.eventType === "INSERT"), "the stranger's own");
  expect(told(here.changes), [["INSERT", "first", null], ["UPDATE", "second", 1], ["DELETE", null, 1]]);
  expect(told(there.changes), [["DELETE", null, 1], ["INSERT", "the stranger's", null]]);
  await here.channel.unsubscribe();
});

await check("filters", async () => {
  const { changes, channel } = await follow(mine.client, "filtered", { filter: "body=in.(yes,maybe)" });
  await insert(mine.client, [{ id: 10, body: "no" }, { id: 11, body: "maybe" }]);
  await changes.until((all) => all.length >= 1);
  expect(changes.items.map((c) => c.new.id), [11]);
  await channel.unsubscribe();
});

await check("broadcast and private channels", async () => {
  const received = inbox(), refused = inbox();
  const config = { config: { private: true, broadcast: { ack: true } } };
  await join(stranger.client.channel("js:open", config).on("broadcast", { event: "*" }, (m) => received.push(m)));
  const sender = mine.client.channel("js:open", config);
  await join(sender);
  expect(await sender.send({ type: "broadcast", event: "hi", payload: { n: 1 } }), "ok");
  await received.until((all) => all.length === 1, "the broadcast");
  expect(received.items[0].payload, { n: 1 });
  mine.client.channel("secret", config).subscribe((status, error) => refused.push([status, String(error)]));
  await refused.until((all) => all.some(([status]) => status === "CHANNEL_ERROR"), "the refusal");
});

await check("presence", async () => {
  const joins = inbox(), leaves = inbox();
  const key = (name) => ({ config: { presence: { key: name } } });
  const watching = mine.client.channel("js-lobby", key("one"))
    .on("presence", { event: "join" }, ({ key }) => joins.push(key))
    .on("presence", { event: "leave" }, ({ key }) => leaves.push(key));
  await join(watching);
  const coming = stranger.client.channel("js-lobby", key("two")).on("presence", { event: "sync" }, () => {});
  await join(coming);
  await coming.track({ mood: "good" });
  await joins.until((all) => all.includes("two"), "the join");
  expect(watching.presenceState().two[0].mood, "good");
  await coming.untrack();
  await leaves.until((all) => all.includes("two"), "the leave");
});

await check("replay", async () => {
  const since = Date.now() - 60_000;
  for (const n of [1, 2]) {
    const { error } = await service.rpc("js_send", { n });
    if (error) throw new Error(JSON.stringify(error));
  }
  const received = inbox();
  const config = { config: { private: true, broadcast: { replay: { since, limit: 10 } } } };
  await join(mine.client.channel("js:replay", config).on("broadcast", { event: "*" }, (m) => received.push(m)));
  await received.until((all) => all.length === 2, "the replay");
  expect(received.items.map((m) => [m.payload.n, m.meta.replayed]), [[1, true], [2, true]]);
});

await check("token refresh", async () => {
  const { changes, channel } = await follow(mine.client, "refreshed");
  const { data, error } = await mine.client.auth.refreshSession();
  if (error) throw error;
  await mine.client.realtime.setAuth(data.session.access_token);
  await insert(mine.client, [{ id: 20, body: "after the refresh" }]);
  await changes.until((all) => all.length === 1, "the insert");
  await channel.unsubscribe();
});

await check("reconnect", async () => {
  const { changes, system } = await follow(mine.client, "again");
  await admin("POST", { fault: "abort" });
  await system.until((all) => all.filter((text) => text === "Subscribed to PostgreSQL").length >= 2, "the return");
  await insert(mine.client, [{ id: 30, body: "back" }]);
  await changes.until((all) => all.some((c) => c.new.id === 30), "the insert");
});

process.exit(0);
