/** What is the same again and what is reused, with the real llama.cpp over two replicas: strict, cold, warm, and whose slot it is. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { checkOrder, postJson, type SeenEvent, submit, textOf, Watch } from './client.ts';
import { type Daemon, descendants, startDaemon } from './daemon.ts';

type Json = Record<string, unknown>;

const fox = 'Tell me a story about a fox and a lantern in the wood behind the mill';
const sampled = { sampling: { temperature: 1.2 }, seed: 42, max_tokens: 40 };
const greedy = { sampling: { temperature: 0 }, max_tokens: 8 };

describe('tasks that ask for their cache and their slot', () => {
	let daemon: Daemon;
	before(async () => {
		daemon = await startDaemon({
			config: {
				pools: [{ id: 'tiny', engine: 'llamacpp', replicas: 2, slots: 2, aliases: ['default'] }],
				sessions: { turns_max: 0 },
			},
		});
	});
	after(async () => {
		assert.equal(await daemon.stop(), 0);
	});

	const getJson = async (path: string): Promise<Json> => (await (await fetch(`${daemon.url}${path}`)).json()) as Json;

	interface Ran {
		readonly text: string;
		readonly events: readonly SeenEvent[];
		readonly replica: unknown;
		readonly cached: unknown;
	}

	async function run(body: Json): Promise<Ran> {
		const { task_id: id } = await submit(daemon.url, { model_ref: 'default', prompt: fox, ...body });
		const events = await (await Watch.open(daemon.url, id)).all();
		checkOrder(events);
		assert.equal(events.at(-1)?.name, 'end', JSON.stringify(events.at(-1)));
		const { replica_id: replica, tokens_cached: cached } = await getJson(`/v2/tasks/${id}`);
		return { text: textOf(events), events, replica, cached };
	}

	it('gives a strict task the same tokens again on any replica, alone or while others run, and never from a cache', async () => {
		const strict = { ...sampled, determinism: 'strict' };
		const alone = await run(strict);
		const others = Array.from({ length: 6 }, (_, seed) => run({ ...sampled, seed, prompt: `${fox} and bird ${seed}` }));
		const beside = await Promise.all([run(strict), run(strict), run(strict)]);
		await Promise.all(others);
		for (const each of beside) assert.equal(each.text, alone.text);
		for (const { cached } of [alone, ...beside]) assert.equal(cached, 0);
		assert.notEqual((await run({ ...strict, seed: 43 })).text, alone.text);
	});

	it("refuses a sampler profile that is not the pool's, and takes the one that it tells", async () => {
		const refused = await postJson(daemon.url, '/v2/tasks', { model_ref: 'default', prompt: 'x', sampler_profile_version: 'other-9' });
		const { code, message } = (await refused.json()) as Json;
		assert.deepEqual([refused.status, code], [400, 'INVALID_PARAMS']);
		const { replicas } = (await getJson('/v2/pools/tiny')) as { replicas: readonly { sampler_profile_version: string }[] };
		const version = replicas[0]?.sampler_profile_version ?? '';
		assert.match(String(message), new RegExp(`sampler_profile_version is "other-9"; tiny has ${version}`));
		assert.equal((await run({ ...greedy, sampler_profile_version: version })).events.at(-1)?.data['finish_reason'], 'length');
	});

	it('finds a prompt of its session in the cache of its last replica, unless it is to be cold, and says the same', async () => {
		const session = { ...greedy, session_id: crypto.randomUUID(), prompt: `${fox} by night` };
		const first = await run(session);
		const warm = await run(session);
		const cold = await run({ ...session, kv_hint: 'cold' });
		assert.ok(Number(warm.cached) > 0, String(warm.cached));
		assert.equal(Number(warm.cached), Number(warm.events.at(-1)?.data['tokens_in']) - 1, 'all but the last, which is sampled from');
		assert.equal(cold.cached, 0);
		assert.deepEqual([warm.text, cold.text], [first.text, first.text]);
		const told = (ran: Ran) => ran.events.filter(({ name }) => name === 'metrics').flatMap(({ data }) => data['kv_warmth'] ?? []);
		assert.ok(told(warm).length > 0 && told(warm).every((is) => is === true), JSON.stringify(warm.events));
		assert.ok(told(cold).every((is) => is === false));
	});

	it('stays with its session on one replica, and is cold on the other when that is lost', async () => {
		const id = crypto.randomUUID();
		const warmth = async () => (await getJson(`/v2/sessions/${id}`))['kv_warmth'];
		const ask = (turn: number) => run({ ...greedy, session_id: id, prompt: `${fox}, part ${turn}` });
		const kvBytes = async () => (await getJson(`/v2/sessions/${id}`))['kv_bytes'];
		const settled = async (): Promise<unknown> => {
			// Another front may ask before the pool has heard of the end.
			for (;;) {
				const bytes = await kvBytes();
				if (bytes !== null) return bytes;
				await new Promise((resolve) => setTimeout(resolve, 20));
			}
		};
		const begun = await ask(0);
		const home = begun.replica;
		const { tokens_in: tokensIn, tokens_out: tokensOut } = begun.events.at(-1)?.data ?? {};
		// Of each token the built-in model keeps 96 numbers as keys and 96 as values, of two bytes, in each of 5 layers.
		assert.equal(await settled(), (Number(tokensIn) + Number(tokensOut)) * (96 + 96) * 2 * 5);
		for (const turn of [1, 2, 3]) assert.equal((await ask(turn)).replica, home);
		assert.equal(await warmth(), true);
		const host = descendants(daemon.pid).find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(String(home)));
		assert.ok(host !== undefined);
		process.kill(host, 'SIGKILL');
		while ((await warmth()) === true) await new Promise((resolve) => setTimeout(resolve, 20));
		assert.equal(await kvBytes(), null, 'nobody has it any more');
		const next = await ask(4);
		assert.notEqual(next.replica, home);
		assert.equal(await warmth(), true, 'of its new replica');
	});
});
