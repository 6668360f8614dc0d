/** The parent that restarts the daemon, over a real child that a test steers: endings, restarts, signals, lost tasks, codes. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { after, afterEach, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { SupervisionSpec } from '../../src/actors/kernel/supervision.ts';
import { exitCodes } from '../../src/cli/exit-codes.ts';
import { superviseDaemon } from '../../src/cli/parent.ts';
import type { Order, Report } from './supervised-child.ts';

const folder = mkdtempSync(join(tmpdir(), 'orchd-parent-'));
const socketPath = join(folder, 's');
const script = fileURLToPath(new URL(`./supervised-child${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url));

const calls: Socket[] = [];
const server = createServer((socket) => {
	calls.push(socket);
	server.emit('called');
});
before(async () => {
	server.listen(socketPath);
	await once(server, 'listening');
});
afterEach(() => {
	// A child that is still there leaves with its socket.
	for (const socket of calls.splice(0)) socket.destroy();
});
after(async () => {
	await new Promise((resolve) => server.close(resolve));
	rmSync(folder, { recursive: true });
});

/** One start of the daemon, as the test sees it. */
class FakeDaemon {
	readonly #socket: Socket;
	readonly #reports: AsyncIterator<string>;

	constructor(socket: Socket) {
		this.#socket = socket;
		const lines: Interface = createInterface({ input: socket });
		this.#reports = lines[Symbol.asyncIterator]();
	}

	async next(): Promise<Report> {
		const { value } = (await this.#reports.next()) as { value: string };
		return JSON.parse(value) as Report;
	}

	order(order: Order): void {
		this.#socket.write(`${JSON.stringify(order)}\n`);
	}

	async roll(...lines: string[]): Promise<void> {
		this.order({ type: 'roll', lines });
		assert.equal((await this.next()).type, 'done');
	}
}

async function nextStart(): Promise<FakeDaemon> {
	if (calls.length === 0) await once(server, 'called');
	const daemon = new FakeDaemon(calls.shift() as Socket);
	assert.equal((await daemon.next()).type, 'started');
	return daemon;
}

const eager: SupervisionSpec = {
	onFailure: 'restart',
	intensity: { restarts: 3, withinMs: 60_000 },
	backoff: { firstMs: 1, maxMs: 1, jitter: 0 },
	shutdownMs: 0,
};

interface Parent {
	readonly code: Promise<number>;
	readonly said: readonly string[];
	/** Resolves when something of it was said. */
	says(words: RegExp): Promise<void>;
}

function parent(supervision = eager, more: { readonly args?: readonly string[]; readonly command?: string } = {}): Parent {
	const said: string[] = [];
	const waiting: { readonly words: RegExp; readonly resolve: () => void }[] = [];
	const code = superviseDaemon({
		command: more.command ?? process.execPath,
		args: [script, socketPath, ...(more.args ?? [])],
		env: { PATH: '/usr/local/bin:/usr/bin:/bin' },
		supervision,
		say(line) {
			said.push(line);
			for (const { words, resolve } of waiting) if (words.test(line)) resolve();
		},
	});
	const says = (words: RegExp): Promise<void> =>
		said.some((line) => words.test(line)) ? Promise.resolve() : new Promise((resolve) => waiting.push({ words, resolve }));
	return { code, said, says };
}

describe('the parent of the daemon', () => {
	for (const name of ['ok', 'usage', 'config', 'unavailable', 'interrupted'] as const) {
		it(`ends as its daemon ends with exit code ${exitCodes[name]}, and says nothing`, async () => {
			const { code, said } = parent();
			(await nextStart()).order({ type: 'exit', code: exitCodes[name] });
			assert.equal(await code, exitCodes[name]);
			assert.deepEqual(said, []);
		});
	}

	it('starts a daemon again that crashed, by code or by signal, says how it ended, and ends as it then ends', async () => {
		const { code, said } = parent();
		(await nextStart()).order({ type: 'exit', code: 1 });
		(await nextStart()).order({ type: 'die', signal: 'SIGKILL' });
		(await nextStart()).order({ type: 'die', signal: 'SIGABRT' });
		(await nextStart()).order({ type: 'exit', code: 0 });
		assert.equal(await code, 0);
		assert.deepEqual(said, [
			'orchestratord ended with exit code 1',
			'orchestratord is started again in 0.0 s',
			'orchestratord was killed (SIGKILL); as a rule the system had no memory left: use a smaller model, less ctx or fewer slots',
			'orchestratord is started again in 0.0 s',
			'orchestratord aborted (SIGABRT): a check inside the engine failed',
			'orchestratord is started again in 0.0 s',
		]);
	});

	it('gives up a daemon that fails at every start, after as many as it may, with its code', async () => {
		const { code, said } = parent();
		for (let start = 0; start < 4; start += 1) (await nextStart()).order({ type: 'exit', code: 70 });
		assert.equal(await code, 70);
		assert.equal(said.at(-1), 'orchestratord failed 4 times within 60 s; giving up');
		assert.equal(said.filter((line) => /started again/.test(line)).length, 3);
		assert.deepEqual(calls, []);
	});

	it('does not try again what could not be started at all', async () => {
		const { code, said } = parent(eager, { command: join(folder, 'no-such-program') });
		assert.equal(await code, exitCodes.unavailable);
		assert.equal(said.length, 1);
		assert.match(said[0] ?? '', /^orchestratord could not be started: .*ENOENT/);
	});

	it('says which tasks went with a crash: those that had begun and not ended', async () => {
		const { code, said } = parent();
		const first = await nextStart();
		await first.roll('+a', '+b', '+c', '-b', '+d', '-never', '+e', '-e');
		first.order({ type: 'die', signal: 'SIGKILL' });
		const second = await nextStart();
		assert.ok(said.includes('3 tasks were lost: a, c, d'));
		// They are not lost once more with the next.
		await second.roll('+f');
		second.order({ type: 'exit', code: 1 });
		const third = await nextStart();
		assert.ok(said.includes('1 task was lost: f'));
		third.order({ type: 'exit', code: 0 });
		assert.equal(await code, 0);
		assert.equal(said.filter((line) => /lost/.test(line)).length, 2);
	});

	it('names the first twenty of many lost tasks and counts the rest', async () => {
		const { code, said } = parent();
		const first = await nextStart();
		const ids = Array.from({ length: 300 }, (_, index) => `task-${index}`);
		await first.roll(...ids.map((id) => `+${id}`));
		first.order({ type: 'die', signal: 'SIGKILL' });
		(await nextStart()).order({ type: 'exit', code: 0 });
		await code;
		assert.ok(said.includes(`300 tasks were lost: ${ids.slice(0, 20).join(', ')} and 280 more`));
	});

	it('passes a hangup on and restarts as before', async () => {
		const { code } = parent();
		const first = await nextStart();
		process.emit('SIGHUP');
		assert.deepEqual(await first.next(), { type: 'signal', name: 'SIGHUP' });
		first.order({ type: 'exit', code: 1 });
		(await nextStart()).order({ type: 'exit', code: 0 });
		assert.equal(await code, 0);
	});

	for (const name of ['SIGTERM', 'SIGINT'] as const) {
		it(`passes ${name} on, as often as it comes, and ends with its daemon, whatever the code`, async () => {
			const { code, said } = parent();
			const first = await nextStart();
			for (let time = 0; time < 2; time += 1) {
				process.emit(name);
				assert.deepEqual(await first.next(), { type: 'signal', name });
			}
			await first.roll('+cut');
			first.order({ type: 'exit', code: 1 });
			assert.equal(await code, 1);
			assert.deepEqual(said, ['1 task was lost: cut']);
		});
	}

	it('tells a daemon that a signal ended before it could listen by the code of the signal', async () => {
		for (const [name, expected] of [
			['SIGTERM', exitCodes.terminated],
			['SIGINT', exitCodes.interrupted],
		] as const) {
			const { code } = parent(eager, { args: [`--default=${name}`] });
			await nextStart();
			process.emit(name);
			assert.equal(await code, expected);
		}
	});

	it('ends at once when it is told to while it waits to start its daemon again', async () => {
		const { code, says } = parent({ ...eager, backoff: { firstMs: 3_600_000, maxMs: 3_600_000, jitter: 0 } });
		(await nextStart()).order({ type: 'exit', code: 1 });
		await says(/started again in 3600/);
		process.emit('SIGHUP');
		process.emit('SIGTERM');
		assert.equal(await code, 0);
		assert.deepEqual(calls, []);
	});

	it('leaves no listener behind', async () => {
		const listeners = (): number[] => ['SIGTERM', 'SIGINT', 'SIGHUP'].map((name) => process.listenerCount(name));
		const before = listeners();
		const { code } = parent();
		const first = await nextStart();
		assert.deepEqual(
			listeners(),
			before.map((count) => count + 1),
		);
		first.order({ type: 'exit', code: 0 });
		await code;
		assert.deepEqual(listeners(), before);
	});
});
