/** The client library against a daemon: over event streams and a WebSocket, through a way that is cut again and again; and every example of its documentation. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import WebSocket from 'ws';
import { DaemonError, Orchestratord, type TaskEvent } from '../../src/client/index.ts';
import { type Daemon, repository, startDaemon } from './daemon.ts';

/** A way to the daemon that cuts every connection after so many bytes of answers. */
class CuttingProxy {
	readonly #server: Server;
	readonly #sockets = new Set<Socket>();
	cuts = 0;
	/** 0: none is cut. */
	afterBytes = 0;

	constructor(port: number) {
		this.#server = createServer((client) => {
			const daemon = connect(port, '127.0.0.1');
			let bytes = 0;
			for (const socket of [client, daemon]) {
				this.#sockets.add(socket);
				socket.on('error', () => undefined);
				socket.on('close', () => {
					this.#sockets.delete(socket);
					client.destroy();
					daemon.destroy();
				});
			}
			// A daemon answers to its own name only.
			client.on('data', (chunk: Buffer) =>
				daemon.write(chunk.toString('latin1').replace(/^(host): .*$/im, `$1: 127.0.0.1:${port}`), 'latin1'),
			);
			daemon.on('data', (chunk: Buffer) => {
				bytes += chunk.length;
				client.write(chunk);
				if (this.afterBytes === 0 || bytes < this.afterBytes) return;
				this.cuts += 1;
				client.destroy();
			});
		});
	}

	async listen(): Promise<string> {
		this.#server.listen(0, '127.0.0.1');
		await once(this.#server, 'listening');
		const address = this.#server.address();
		assert.ok(typeof address === 'object' && address !== null);
		return `http://127.0.0.1:${address.port}`;
	}

	close(): void {
		for (const socket of this.#sockets) socket.destroy();
		this.#server.close();
	}
}

/** Index of each token, which must be whole, and the end. */
async function read(events: AsyncIterable<TaskEvent>): Promise<{ readonly tokens: number; readonly seqs: readonly number[] }> {
	const seqs: number[] = [];
	const indices: number[] = [];
	for await (const event of events) {
		if (event.seq !== null) seqs.push(event.seq);
		if (event.type === 'token') indices.push(...event.tokens.map(({ i }) => i));
		if (event.type === 'error') assert.fail(JSON.stringify(event.data));
	}
	assert.deepEqual(
		indices,
		indices.map((_, index) => index),
	);
	assert.ok(
		seqs.every((seq, index) => index === 0 || seq > (seqs[index - 1] ?? 0)),
		'events came out of order',
	);
	return { tokens: indices.length, seqs };
}

describe('the client library', () => {
	let daemon: Daemon;
	let proxy: CuttingProxy;
	let api: Orchestratord;
	before(async () => {
		const scripted = { decode_tokens_per_s: 400, tokens: 120 };
		const demo = { id: 'demo', engine: 'scripted', model: 'scripted:demo', aliases: ['default'], slots: 8, scripted };
		daemon = await startDaemon({ config: { pools: [demo] } });
		proxy = new CuttingProxy(daemon.port);
		const url = await proxy.listen();
		api = new Orchestratord({ url, retryMs: 5, webSocket: WebSocket });
	});
	after(async () => {
		proxy.close();
		await daemon.stop();
	});

	it('reads a stream whole through a way that is cut again and again', async () => {
		const task = await api.submit({ model_ref: 'default', prompt: 'x' });
		proxy.afterBytes = 1_500;
		const { tokens } = await read(task.events());
		proxy.afterBytes = 0;
		assert.equal(tokens, 120);
		assert.ok(proxy.cuts >= 1, 'it was never cut');
		assert.match((await task.result()).text ?? '', /\w/);
	});

	it('reads many tasks over a WebSocket that is cut, each whole, and runs each once', async () => {
		const cuts = proxy.cuts;
		proxy.afterBytes = 9_000;
		const socket = api.socket({ credit: 20 });
		const tasks = Array.from({ length: 4 }, () => socket.submit({ model_ref: 'default', prompt: 'x', on_disconnect: 'detach' }));
		const lengths = await Promise.all(tasks.map(async (task) => (await read(task)).tokens));
		proxy.afterBytes = 0;
		assert.deepEqual(lengths, [120, 120, 120, 120]);
		assert.ok(proxy.cuts > cuts, 'it was never cut');
		socket.close();
		const { tasks: known } = await api.tasks();
		assert.equal(known.filter(({ task_id: id }) => tasks.some((task) => task.id === id)).length, 4);
	});

	it('says over a WebSocket what was refused, and cancels', async () => {
		const socket = api.socket();
		const wrong = socket.submit({ model_ref: 'nobody', prompt: 'x' });
		await assert.rejects(wrong.accepted, (error) => error instanceof DaemonError && error.code === 'NOT_FOUND');
		const task = socket.submit({ model_ref: 'default', prompt: 'x' });
		const seen: TaskEvent[] = [];
		for await (const event of task) {
			if (event.type === 'token' && !seen.some(({ type }) => type === 'token')) task.cancel();
			seen.push(event);
		}
		const last = seen.at(-1);
		assert.ok(last?.type === 'end' && last.data.canceled);
		socket.close();
	});

	it('asks for pools, sessions and tokens', async () => {
		assert.deepEqual(
			(await api.pools()).map(({ pool_id: id }) => id),
			['demo'],
		);
		assert.equal((await api.pool('demo').health()).ready, true);
		const session = crypto.randomUUID();
		await (await api.submit({ model_ref: 'default', prompt: 'x', session_id: session, max_tokens: 1 })).result();
		assert.equal((await api.session(session).setBudgets({ tokens: 1000 })).tokens_budget_remaining, 1000);
		assert.equal((await api.session(session).info()).turns, 1);
		await api.session(session).delete();
		assert.equal((await api.preview({ model_ref: 'default', prompt: 'x' })).feasible, true);
		assert.equal((await api.capabilities()).api_version, '2.0.0');
		await api.pool('demo').drain(1000);
		await api.pool('demo').undrain();
	});

	const blocks = [
		...readFileSync(join(repository, 'docs/client.md'), 'utf8').matchAll(/^### (.*)\n(?:(?!^#|^```).*\n)*```js\n([\s\S]*?)^```/gm),
	];
	it('has examples that say what they show', () => assert.ok(blocks.length >= 5));
	for (const [, title = '', code = ''] of blocks) {
		it(`runs the example "${title}" as it is written`, async () => {
			const child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
				cwd: repository,
				env: { ...process.env, ORCHD_URL: daemon.url },
				stdio: ['ignore', 'pipe', 'pipe'],
			});
			let out = '';
			for (const stream of [child.stdout, child.stderr]) {
				stream.setEncoding('utf8').on('data', (text: string) => {
					out += text;
				});
			}
			const [status] = (await once(child, 'close')) as [number];
			assert.equal(status, 0, out);
			assert.match(out, /\S/, 'it says nothing');
		});
	}
});
