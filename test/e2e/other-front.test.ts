/**
 * What is promised of tasks, of connections that end up on another front thread than the task: watching from the first event,
 * resuming, cancelling, asking again. Each test runs twice, and the two runs differ only in where the second connection is.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { checkOrder, numbered, postJson, type SeenEvent, submit, textOf, Watch } from './client.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { FrontConnection, frontOf } from './front-connection.ts';

const pools = [
	{
		id: 'demo',
		engine: 'scripted',
		model: 'scripted:demo',
		aliases: ['default'],
		slots: 8,
		ctx: 8192,
		max_tokens_out: 8000,
		scripted: { prefill_tokens_per_s: 1_000_000, decode_tokens_per_s: 400, tokens: 8000 },
	},
	{ id: 'vectors', engine: 'scripted', model: 'scripted:vectors', slots: 2, scripted: {} },
];
const endless = { max_tokens: 8000 };
const task = { model_ref: 'default', prompt: 'a fox on two fronts', seed: 1, max_tokens: 60 };
const home = 1;

interface TaskBody {
	readonly state: string;
	readonly watchers: number;
	readonly tokens_out: number;
	readonly finish_reason: string | null;
	readonly error: { readonly code: string } | null;
}

async function json<T>(connection: FrontConnection, path: string): Promise<T> {
	const answer = await connection.request(path);
	return (await answer.json()) as T;
}

/** Asks until it is so. */
async function when<T>(ask: () => Promise<T>, isSo: (answer: T) => boolean): Promise<T> {
	const deadline = performance.now() + 10_000;
	for (;;) {
		const answer = await ask();
		if (isSo(answer)) return answer;
		assert.ok(performance.now() < deadline, JSON.stringify(answer));
	}
}

let daemon: Daemon;
before(async () => {
	daemon = await startDaemon({
		config: { pools, tasks: { retention_ms: 20_000, disconnect_grace_ms: 100 } },
		fronts: 2,
		withCrashes: true,
	});
});
after(() => daemon.stop());

for (const where of ['same', 'other'] as const) {
	describe(`a second connection on the ${where} front`, () => {
		let first: FrontConnection;
		let second: FrontConnection;
		before(async () => {
			first = await FrontConnection.open(daemon.url, home);
			second = await FrontConnection.open(daemon.url, where === 'same' ? home : 1 - home);
		});
		after(() => {
			first.close();
			second.close();
		});
		const another = (): Promise<FrontConnection> => FrontConnection.open(daemon.url, where === 'same' ? home : 1 - home);

		async function begin(more: Readonly<Record<string, unknown>> = {}): Promise<string> {
			const { task_id: taskId } = await submit(first, { ...task, ...more });
			assert.equal(frontOf(taskId), home);
			return taskId;
		}

		async function readAll(connection: FrontConnection, taskId: string, options?: { after: number }): Promise<SeenEvent[]> {
			return numbered(await (await Watch.open(connection, taskId, options)).all());
		}

		it('sees every event from the first, whenever it comes, as any other watcher does', async () => {
			const taskId = await begin();
			const early = await readAll(second, taskId);
			checkOrder(early);
			const late = await readAll(second, taskId);
			assert.deepEqual(late, early);
			assert.deepEqual(await readAll(first, taskId), early);
			assert.equal(textOf(late), textOf(early));
		});

		it('finds, follows, goes on behind and forgets a response of another front thread', async () => {
			const post = (more: object): RequestInit => ({
				method: 'POST',
				body: JSON.stringify({ model: 'default', input: 'a fox', max_output_tokens: 20, ...more }),
			});
			const made = await first.request('/v1/responses', post({}));
			const text = await made.text();
			const { id } = JSON.parse(text) as { id: string };
			assert.equal(frontOf(id), home);
			const path = `/v1/responses/${id}`;
			assert.equal(await (await second.request(path)).text(), text);
			const events = async (query: string): Promise<string[]> =>
				(await (await second.request(`${path}?stream=true${query}`)).text()).split('\n\n').filter((each) => each.startsWith('event: '));
			const all = await events('');
			assert.equal(all.length, 20 + 8);
			assert.deepEqual(await events('&starting_after=9'), all.slice(10));
			const behind = await second.request('/v1/responses', post({ previous_response_id: id }));
			const next = (await behind.json()) as { id: string; status: string };
			assert.equal(next.status, 'incomplete');
			const items = await json<{ data: object[] }>(first, `/v1/responses/${next.id}/input_items`);
			assert.equal(items.data.length, 3);
			await (await second.request(path, { method: 'DELETE' })).arrayBuffer();
			const gone = await when(
				async () => {
					const answer = await first.request(path);
					await answer.arrayBuffer();
					return answer.status;
				},
				(status) => status === 404,
			);
			assert.equal(gone, 404);
		});

		it('resumes behind any event without a gap or a repeat', async () => {
			const taskId = await begin({ max_tokens: 200 });
			const watch = await Watch.open(first, taskId);
			const begun = numbered(await watch.until('token'));
			const last = begun.at(-1)?.id ?? 0;
			const rest = await readAll(second, taskId, { after: last });
			checkOrder([...begun, ...rest]);
			assert.equal(rest[0]?.id, last + 1);
			const end = rest.at(-1)?.id ?? 0;
			const headers = (id: string): RequestInit => ({ headers: { 'last-event-id': id } });
			const path = `/v2/tasks/${taskId}/events`;
			assert.equal((await second.request(path, headers(String(end)))).status, 204);
			const above = await second.request(path, headers(String(end + 1)));
			assert.equal(above.status, 400);
			assert.match(await above.text(), new RegExp(`the last event of this task is ${end}`));
			const garbage = await second.request(path, headers('x'));
			assert.equal(garbage.status, 400);
			await garbage.arrayBuffer();
		});

		it('resumes at the last event that was read on the first one, while tokens come', async () => {
			const taskId = await begin(endless);
			const watch = await Watch.open(first, taskId);
			let last = 0;
			for (let read = 0; read < 20; read++) last = numbered(await watch.until('token')).at(-1)?.id ?? 0;
			const resumed = await Watch.open(second, taskId, { after: last });
			const [next] = numbered(await resumed.until('token'));
			assert.equal(next?.id, last + 1);
			resumed.close();
			watch.close();
			const cancel = await another();
			assert.equal((await cancel.request(`/v2/tasks/${taskId}/cancel`, { method: 'POST' })).status, 204);
			cancel.close();
			first.close();
			second.close();
			first = await FrontConnection.open(daemon.url, home);
			second = await another();
		});

		it('cancels: behind the 204 the log gains no token, and every watcher reads its end', async () => {
			const taskId = await begin(endless);
			const watch = await Watch.open(first, taskId);
			const begun = await watch.until('token');
			assert.equal((await second.request(`/v2/tasks/${taskId}/cancel`, { method: 'POST' })).status, 204);
			const { state, tokens_out: tokens, finish_reason: reason } = await json<TaskBody>(second, `/v2/tasks/${taskId}`);
			assert.deepEqual([state, reason], ['canceled', 'canceled']);
			const seen = [...begun, ...(await watch.all())];
			checkOrder(seen);
			assert.equal(seen.at(-1)?.data['tokens_out'], tokens);
			assert.equal(seen.at(-1)?.data['canceled'], true);
			assert.equal((await second.request(`/v2/tasks/${taskId}`, { method: 'DELETE' })).status, 204);
			assert.equal((await second.request(`/v2/tasks/${randomUUID()}/cancel`, { method: 'POST' })).status, 204);
		});

		it('gets the task, why it is where it is, its result, and a place for it in the list', async () => {
			const taskId = await begin();
			const result = await json<{ text: string; state: string }>(second, `/v2/tasks/${taskId}/result`);
			const events = await readAll(first, taskId);
			assert.equal(result.text, textOf(events));
			assert.equal((await json<TaskBody>(second, `/v2/tasks/${taskId}`)).state, 'done');
			assert.match((await json<{ human: string }>(second, `/v2/tasks/${taskId}/explain`)).human, /./);
			const ids = async (connection: FrontConnection): Promise<string[]> => {
				const found: string[] = [];
				let cursor: string | null = '';
				while (cursor !== null) {
					type Page = { tasks: { task_id: string }[]; next_cursor: string | null };
					const page: Page = await json<Page>(connection, `/v2/tasks?limit=3${cursor === '' ? '' : `&cursor=${cursor}`}`);
					found.push(...page.tasks.map((each) => each.task_id));
					cursor = page.next_cursor;
				}
				return found;
			};
			const seen = await ids(second);
			assert.deepEqual(seen, await ids(first));
			assert.equal(new Set(seen).size, seen.length);
			assert.ok(seen.includes(taskId));
			const strange = await second.request(`/v2/tasks/${randomUUID()}`);
			assert.equal(strange.status, 404);
			await strange.arrayBuffer();
		});

		it('gets the vectors of an embedding', async () => {
			const { task_id: taskId } = await submit(first, { model_ref: 'scripted:vectors', workload: 'embedding', inputs: ['a', 'b'] });
			const { vectors } = await json<{ vectors: number[][] }>(second, `/v2/tasks/${taskId}/result`);
			assert.equal(vectors.length, 2);
			assert.deepEqual(vectors, (await json<{ vectors: number[][] }>(first, `/v2/tasks/${taskId}/result`)).vectors);
		});

		it('that sends the same id or key again is the same task, and another body a conflict', async () => {
			const named = { ...task, task_id: randomUUID() };
			const key = { 'idempotency-key': randomUUID() };
			const post = async (connection: FrontConnection, body: unknown, headers = {}): Promise<[number, string, string]> => {
				const answer = await postJson(connection, '/v2/tasks', body, headers);
				const { task_id: id, code } = (await answer.json()) as { task_id?: string; code?: string };
				return [answer.status, id ?? '', code ?? ''];
			};
			assert.deepEqual(await post(first, named), [202, named.task_id, '']);
			assert.deepEqual(await post(second, named), [202, named.task_id, '']);
			assert.deepEqual(await post(second, { ...named, prompt: 'other' }), [409, '', 'CONFLICT']);
			assert.deepEqual(await post(second, named, key), [202, named.task_id, '']);
			assert.deepEqual(await post(first, task, key), [202, named.task_id, '']);
			const keyed = { 'idempotency-key': randomUUID() };
			const [, taskId] = await post(first, task, keyed);
			assert.deepEqual(await post(second, task, keyed), [202, taskId, '']);
			assert.deepEqual(await post(second, { ...task, prompt: 'other' }, keyed), [409, '', 'CONFLICT']);
			const [status, , code] = await post(second, { ...named }, keyed);
			assert.deepEqual([status, code], [409, 'CONFLICT']);
			// Attaches to the running stream from its first event.
			const streamed = await postJson(second, '/v2/tasks', task, { ...keyed, accept: 'text/event-stream' });
			assert.equal(streamed.headers.get('x-task-id'), taskId);
			assert.match(await streamed.text(), /event: started\n[^]*event: end\n/);
			const both = randomUUID();
			const atOnce = await Promise.all([first, second].map((connection) => post(connection, { ...task, task_id: both })));
			for (const [answered, id] of atOnce) assert.ok((answered === 202 && id === both) || answered === 503, String(answered));
			assert.ok(atOnce.some(([answered]) => answered === 202));
		});

		it('that watches keeps a task alive, and its leaving ends one that nobody else watches', async () => {
			const taskId = await begin({ ...endless, on_disconnect: 'cancel' });
			const watching = await another();
			const watch = await Watch.open(watching, taskId);
			await watch.until('token');
			const about = (): Promise<TaskBody> => json<TaskBody>(first, `/v2/tasks/${taskId}`);
			await when(about, ({ watchers }) => watchers === 1);
			watch.close();
			watching.close();
			const { finish_reason: reason } = await when(about, ({ state }) => state !== 'running');
			assert.equal(reason, 'canceled');
		});

		it('is a WebSocket with credit', async () => {
			const taskId = await begin({ max_tokens: 20 });
			const { agent } = await another();
			const socket = new WebSocket(`${daemon.url.replace('http', 'ws')}/v2/ws`, 'orchestratord.v2', { agent });
			await once(socket, 'open');
			const seen: { event: string; data: Record<string, unknown> }[] = [];
			let wake = (): void => undefined;
			socket.on('message', (text: Buffer) => {
				seen.push(JSON.parse(text.toString()) as (typeof seen)[number]);
				wake();
			});
			const until = async (isSo: () => boolean): Promise<void> => {
				while (!isSo())
					await new Promise<void>((resolve) => {
						wake = resolve;
					});
			};
			const tokens = (): number => seen.filter(({ event }) => event === 'token').length;
			socket.send(JSON.stringify({ op: 'watch', task_id: taskId, credit: 2 }));
			socket.send(JSON.stringify({ op: 'credit', task_id: taskId, n: 3 }));
			await until(() => tokens() === 5);
			await json(first, `/v2/tasks/${taskId}/result`);
			socket.send(JSON.stringify({ op: 'ping' }));
			await until(() => seen.at(-1)?.event === 'pong');
			assert.equal(tokens(), 5);
			socket.send(JSON.stringify({ op: 'credit', task_id: taskId, n: 100 }));
			await until(() => seen.at(-1)?.event === 'end');
			assert.equal(tokens(), 20);
			socket.send(JSON.stringify({ op: 'cancel', task_id: taskId }));
			await until(() => seen.at(-1)?.event === 'accepted');
			socket.close();
		});
	});
}

describe('tasks of a front that is lost', () => {
	/** Front 1 is lost, and these threads with it. */
	const isKnown =
		(...alongside: readonly string[]) =>
		async (): Promise<void> => {
			const lost = await FrontConnection.open(daemon.url, 1);
			const named = { ...task, ...endless, task_id: randomUUID() };
			const key = { 'idempotency-key': randomUUID() };
			assert.equal((await postJson(lost, '/v2/tasks', named, key)).status, 202);
			const made = await submit(lost, { ...task, ...endless });
			const watching = await FrontConnection.open(daemon.url, 0);
			const watch = await Watch.open(watching, named.task_id);
			const begun = await watch.until('token');
			await daemon.crash('front-1', ...alongside);
			const seen = [...begun, ...(await watch.all())];
			checkOrder(seen);
			assert.equal(seen.at(-1)?.data['code'], 'WORKER_RESET');
			// Open now: one that is idle for ten seconds is closed, and a busy machine takes that long to start threads.
			for (const front of [0, 1]) {
				const connection = await FrontConnection.open(daemon.url, front);
				for (const taskId of [named.task_id, made.task_id]) {
					const about = await when(
						() => connection.request(`/v2/tasks/${taskId}`),
						({ status }) => status !== 503,
					);
					assert.equal(about.status, 200);
					const { state, error } = (await about.json()) as TaskBody;
					assert.deepEqual([state, error?.code], ['failed', 'WORKER_RESET']);
				}
				const resumed = numbered(await (await Watch.open(connection, named.task_id, { after: 1 })).all());
				assert.deepEqual(
					resumed.map(({ name, data }) => [name, data['code']]),
					[['error', 'WORKER_RESET']],
				);
				// By its id and its key, by the key alone, and by the key with another body.
				for (const [body, status] of [
					[named, 202],
					[{ ...task, ...endless }, 202],
					[{ ...task, ...endless, seed: 2 }, 409],
				] as const) {
					const again = await when(
						() => postJson(connection, '/v2/tasks', body, key),
						(answer) => answer.status !== 503,
					);
					assert.equal(again.status, status);
					if (status === 202) assert.equal(((await again.json()) as { task_id: string }).task_id, named.task_id);
				}
			}
		};

	it('are told so to whoever reads or asks, on every front, and never denied', isKnown());

	it('are known also where the control thread, and its directory, was lost in the same moment', isKnown('control'));
});
