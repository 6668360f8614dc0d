/** Artifacts of a daemon with keys and two front threads, over HTTP, and the transcripts of its tasks, full and redacted. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { artifactEntrySchema, artifactListSchema, artifactSchema } from '../../src/transport/api/artifact-schemas.ts';
import { taskSchema } from '../../src/transport/api/response-schemas.ts';
import { json, refused } from '../transport/published-answers.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { planted, remember } from './leaks.ts';

const keyOf = (): string => {
	const key = planted('key');
	remember('a key', key);
	return key;
};
const keys = { anna: keyOf(), ben: keyOf(), boss: keyOf() };
const idOf = (content: string): string => `sha256:${createHash('sha256').update(content).digest('hex')}`;
const auth = {
	keys: [
		{ name: 'anna', sha256: createHash('sha256').update(keys.anna).digest('hex'), tenant: 'a' },
		{ name: 'ben', sha256: createHash('sha256').update(keys.ben).digest('hex'), tenant: 'b' },
		{ name: 'boss', sha256: createHash('sha256').update(keys.boss).digest('hex'), roles: ['operator'] },
	],
};
const scripted = { prefill_tokens_per_s: 1e6, decode_tokens_per_s: 500, tokens: 12, text: 'echo' };
const pools = [
	{ id: 'demo', engine: 'scripted', model: 'scripted:demo', slots: 4, scripted },
	{ id: 'slow', engine: 'scripted', model: 'scripted:slow', slots: 4, scripted: { ...scripted, tokens: 5000, decode_tokens_per_s: 50 } },
];

class Client {
	readonly daemon: Daemon;

	constructor(daemon: Daemon) {
		this.daemon = daemon;
	}

	async call(
		who: keyof typeof keys | null,
		method: string,
		path: string,
		body?: unknown,
		headers: Readonly<Record<string, string>> = {},
	): Promise<Response> {
		return await fetch(`${this.daemon.url}${path}`, {
			method,
			headers: {
				...(who === null ? {} : { authorization: `Bearer ${keys[who]}` }),
				...(body === undefined ? {} : { 'content-type': 'application/json' }),
				...headers,
			},
			...(body === undefined ? {} : { body: JSON.stringify(body) }),
		});
	}

	/** Of a task that has ended: what its transcript holds. */
	async transcript(who: keyof typeof keys | null, taskId: string): Promise<{ entry: Record<string, unknown>; content: string }> {
		for (const until = performance.now() + 10_000; ; ) {
			const task = await json(await this.call(who, 'GET', `/v2/tasks/${taskId}`), 200, taskSchema);
			const id = task['transcript_artifact'];
			if (typeof id === 'string') {
				const { content, ...entry } = await json(await this.call(who, 'GET', `/v2/artifacts/${id}`), 200, artifactSchema);
				return { entry, content: String(content) };
			}
			assert.ok(performance.now() < until, JSON.stringify(task));
		}
	}

	async run(who: keyof typeof keys | null, body: Readonly<Record<string, unknown>>): Promise<string> {
		const accepted = await this.call(who, 'POST', '/v2/tasks', body);
		assert.equal(accepted.status, 202);
		const { task_id: id } = (await accepted.json()) as { task_id: string };
		await (await this.call(who, 'GET', `/v2/tasks/${id}/result`)).text();
		return id;
	}
}

describe('the artifacts of a daemon with keys', () => {
	let client: Client;
	before(async () => {
		client = new Client(await startDaemon({ fronts: 2, config: { pools, auth, artifacts: { transcripts: 'full' } } }));
	});
	after(() => client.daemon.stop());
	const add = async (who: keyof typeof keys, body: unknown): Promise<Record<string, unknown>> =>
		await json(await client.call(who, 'POST', '/v2/artifacts', body), 201, artifactEntrySchema);

	it('keeps a text under its digest, and answers 304 to who has it', async () => {
		const content = planted('prompt');
		const entry = await add('anna', { kind: 'plan', content, tags: ['fox'], metadata: { step: 1 } });
		assert.deepEqual([entry['id'], entry['tenant'], entry['tags'], entry['metadata']], [idOf(content), 'a', ['fox'], { step: 1 }]);
		const path = `/v2/artifacts/${idOf(content)}`;
		const got = await client.call('anna', 'GET', path);
		const etag = got.headers.get('etag') ?? '';
		assert.deepEqual(await json(got, 200, artifactSchema), { ...entry, content });
		const again = await client.call('anna', 'GET', path, undefined, { 'if-none-match': `"other", ${etag}` });
		assert.deepEqual([again.status, again.headers.get('etag'), await again.text()], [304, etag, '']);
		assert.equal((await client.call('anna', 'GET', path.replace(':', '%3A'), undefined, { 'if-none-match': '"other"' })).status, 200);
		// What is said of it has changed.
		const { id: parent } = await add('anna', { kind: 'logs', content: 'x' });
		assert.equal((await add('anna', { kind: 'plan', content, parent }))['parent'], idOf('x'));
		assert.equal((await client.call('anna', 'GET', path, undefined, { 'if-none-match': etag })).status, 200);
	});

	it('shows nobody the artifacts of another tenant, but operators', async () => {
		const content = 'what ben has written';
		await add('ben', { kind: 'summary', content, tags: ['of ben'] });
		const path = `/v2/artifacts/${idOf(content)}`;
		await refused(await client.call('anna', 'GET', path), 404, 'NOT_FOUND');
		await refused(await client.call('anna', 'GET', path, undefined, { 'if-none-match': '*' }), 404, 'NOT_FOUND');
		await refused(await client.call('anna', 'DELETE', path), 404, 'NOT_FOUND');
		await refused(await client.call('anna', 'GET', `${path}?tenant=b`), 403, 'FORBIDDEN');
		await refused(await client.call('anna', 'GET', '/v2/artifacts?tenant=b'), 403, 'FORBIDDEN');
		await refused(await client.call('anna', 'POST', '/v2/artifacts', { kind: 'plan', content: 'x', tenant: 'b' }), 403, 'FORBIDDEN');
		const child = { kind: 'diff', content: 'y', parent: idOf(content) };
		await refused(await client.call('anna', 'POST', '/v2/artifacts', child), 404, 'NOT_FOUND');
		await refused(await client.call(null, 'GET', path), 401, 'UNAUTHORIZED');
		const idsFor = async (who: keyof typeof keys): Promise<unknown[]> => {
			const page = await json(await client.call(who, 'GET', '/v2/artifacts?tag=of%20ben&kind=summary'), 200, artifactListSchema);
			return (page['artifacts'] as { id: string }[]).map(({ id }) => id);
		};
		assert.deepEqual([await idsFor('anna'), await idsFor('ben'), await idsFor('boss')], [[], [idOf(content)], [idOf(content)]]);
		assert.equal((await json(await client.call('boss', 'GET', path), 200, artifactSchema))['content'], content);
		assert.equal((await client.call('ben', 'DELETE', path)).status, 204);
		await refused(await client.call('ben', 'GET', path), 404, 'NOT_FOUND');
	});

	it('refuses in words what is none', async () => {
		const post = async (body: unknown): Promise<Response> => await client.call('anna', 'POST', '/v2/artifacts', body);
		await refused(await post({ kind: 'poem', content: 'x' }), 400, 'INVALID_PARAMS');
		await refused(await post({ kind: 'plan' }), 400, 'INVALID_PARAMS');
		await refused(await post({ kind: 'plan', content: 'x', parent: 'sha256:0' }), 400, 'INVALID_PARAMS');
		await refused(await post({ kind: 'plan', content: 'x', metadata: { text: 'x'.repeat(17_000) } }), 400, 'INVALID_PARAMS');
		await refused(await client.call('anna', 'GET', '/v2/artifacts/sha256:0'), 404, 'NOT_FOUND');
		await refused(await client.call('anna', 'GET', '/v2/artifacts?kind=poem'), 400, 'INVALID_PARAMS');
		await refused(await client.call('anna', 'GET', '/v2/artifacts?cursor=x'), 400, 'INVALID_PARAMS');
	});

	it('keeps a full transcript of a task for its tenant, with all that was asked and answered', async () => {
		const said = planted('prompt');
		remember('a prompt', said);
		const session = crypto.randomUUID();
		const body = {
			model_ref: 'scripted:demo',
			messages: [{ role: 'user', content: said }],
			session_id: session,
			sampling: { stop: ['never'] },
		};
		const taskId = await client.run('anna', body);
		const { entry, content } = await client.transcript('anna', taskId);
		const { text } = (await (await client.call('anna', 'GET', `/v2/tasks/${taskId}/result`)).json()) as { text: string };
		assert.ok(text.length > 0);
		const transcript = JSON.parse(content) as Record<string, Record<string, unknown>>;
		assert.deepEqual(transcript['input'], { kind: 'messages', messages: [{ role: 'user', content: said }] });
		assert.deepEqual(transcript['output'], { text, reasoning: '', tool_calls: [] });
		assert.deepEqual(transcript['sampling']?.['stop'], ['never']);
		assert.deepEqual([transcript['mode'], transcript['task']?.['state'], transcript['task']?.['tokens_out']], ['full', 'done', 12]);
		assert.deepEqual([entry['kind'], entry['tenant'], entry['tags']], ['transcript', 'a', [`task:${taskId}`, `session:${session}`]]);
		const ofSession = await client.call('anna', 'GET', `/v2/artifacts?kind=transcript&tag=session:${session}`);
		assert.equal(((await json(ofSession, 200, artifactListSchema))['artifacts'] as unknown[]).length, 1);
		await refused(await client.call('ben', 'GET', `/v2/artifacts/${String(entry['id'])}`), 404, 'NOT_FOUND');
	});

	it('keeps what had come of a task that was cancelled, and nothing of one that was refused or made vectors', async () => {
		const accepted = await client.call('anna', 'POST', '/v2/tasks', { model_ref: 'scripted:slow', prompt: 'x', max_tokens: 1000 });
		const { task_id: taskId } = (await accepted.json()) as { task_id: string };
		const events = await client.call('anna', 'GET', `/v2/tasks/${taskId}/events`);
		const reader = events.body?.pipeThrough(new TextDecoderStream()).getReader();
		for (let seen = ''; !seen.includes('event: token'); ) seen += (await reader?.read())?.value ?? '';
		assert.equal((await client.call('anna', 'POST', `/v2/tasks/${taskId}/cancel`)).status, 204);
		await reader?.cancel();
		const transcript = JSON.parse((await client.transcript('anna', taskId)).content) as Record<string, Record<string, unknown>>;
		assert.deepEqual([transcript['task']?.['state'], transcript['task']?.['finish_reason']], ['canceled', 'canceled']);
		assert.ok(String(transcript['output']?.['text']).length > 0);

		const refusedId = crypto.randomUUID();
		await refused(
			await client.call('anna', 'POST', '/v2/tasks', {
				task_id: refusedId,
				model_ref: 'scripted:demo',
				prompt: 'x',
				max_tokens: 1_000_000,
			}),
			400,
			'INVALID_PARAMS',
		);
		const vectors = await client.run('anna', { model_ref: 'scripted:demo', workload: 'embedding', inputs: ['x'] });
		await client.transcript('anna', await client.run('anna', { model_ref: 'scripted:demo', prompt: 'y' }));
		for (const id of [refusedId, vectors]) {
			const page = await json(await client.call('anna', 'GET', `/v2/artifacts?tag=task:${id}`), 200, artifactListSchema);
			assert.deepEqual(page['artifacts'], []);
		}
	});
});

describe('a daemon that keeps redacted transcripts', () => {
	let client: Client;
	before(async () => {
		client = new Client(await startDaemon({ config: { pools, artifacts: { transcripts: 'redacted' } } }));
	});
	after(() => client.daemon.stop());

	it('keeps who spoke and how long, and no word of it', async () => {
		const words = ['Sesame', 'Oyster', 'Quartz', 'Walrus', 'Zeppelin', 'Nutmeg'];
		const [system, user, call, stop, tool, answer] = words as [string, string, string, string, string, string];
		const taskId = await client.run(null, {
			model_ref: 'scripted:demo',
			messages: [
				{ role: 'system', content: system },
				{ role: 'user', content: user },
				{
					role: 'assistant',
					content: '',
					tool_calls: [{ id: 'c1', type: 'function', function: { name: call, arguments: `{"a":"${tool}"}` } }],
				},
				{ role: 'tool', content: answer, tool_call_id: 'c1' },
			],
			sampling: { stop: [stop] },
			max_tokens: 12,
		});
		const { content } = await client.transcript(null, taskId);
		for (const word of words) assert.ok(!content.includes(word), `${word} in ${content}`);
		const { text } = (await (await client.call(null, 'GET', `/v2/tasks/${taskId}/result`)).json()) as { text: string };
		assert.ok(text.length > 3 && !content.includes(text));
		const transcript = JSON.parse(content) as Record<string, Record<string, unknown>>;
		assert.deepEqual(transcript['input'], {
			kind: 'messages',
			messages: [
				{ role: 'system', characters: 6 },
				{ role: 'user', characters: 6 },
				{ role: 'assistant', characters: 0, tool_calls: 1 },
				{ role: 'tool', characters: 6 },
			],
			tools: 0,
		});
		assert.deepEqual(transcript['output'], { text_characters: text.length, reasoning_characters: 0, tool_calls: 0 });
		assert.deepEqual([transcript['mode'], transcript['sampling']?.['stop'], transcript['task']?.['tokens_out']], ['redacted', 1, 12]);
	});
});
