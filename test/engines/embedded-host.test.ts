/** The llama.cpp host as a process: readiness, words for every kind of failure, and that it never outlives its daemon. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { DecodeNews } from '../../src/actors/serving/decode.ts';
import type { EngineLife, LifeNews } from '../../src/actors/serving/engine-life.ts';
import type { Failure } from '../../src/actors/serving/failure.ts';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import { type Child, type ChildExit, spawnChild } from '../../src/engines/child-process.ts';
import type { EmbeddedSettings } from '../../src/engines/embedded/embedded-settings.ts';
import { HostProcessDriver } from '../../src/engines/host-process-driver.ts';
import { parseAddress } from '../../src/engines/wire/host-address.ts';
import { HostConnection } from '../../src/engines/wire/host-connection.ts';
import { goldenText } from '../fixtures/golden-gguf.ts';
import { hostRequest, type RequestOptions, raw, settings, testFolder } from './embedded-world.ts';

const folder = testFolder();
after(() => folder.remove());

const entry = new URL('../../src/roles/llama-host.js', import.meta.url);
/** What a process needs here to start at all. */
const bareEnv = { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: folder.path };

interface Life {
	readonly life: EngineLife;
	readonly lines: readonly string[];
	/** The next news of the life. */
	next(): Promise<LifeNews>;
	ready(): Promise<ReplicaFacts>;
	ended(): Promise<Failure>;
}

/** Not the name of a process of another run. */
const replicaId = `golden-${process.pid}`;

function startLife(modelPath: string, more: Partial<EmbeddedSettings> = {}, readyWithinMs = 60_000): Life {
	const lines: string[] = [];
	const driver = new HostProcessDriver({
		entry,
		settings: (spec) => spec.settings,
		env: () => bareEnv,
		runtimeDir: folder.path,
		onLine: (_replicaId, line) => lines.push(line),
		readyWithinMs,
	});
	const news: LifeNews[] = [];
	let wake: (() => void) | null = null;
	const life = driver.start(
		{ replicaId, poolId: 'golden', engine: 'llamacpp', model: 'golden', settings: settings(modelPath, { slots: 2, ...more }) },
		{
			tell(each) {
				news.push(each);
				wake?.();
				return 'accepted';
			},
		},
	);
	const next = async (): Promise<LifeNews> => {
		for (;;) {
			const first = news.shift();
			if (first !== undefined) return first;
			await new Promise<void>((resolve) => {
				wake = resolve;
			});
		}
	};
	const ready = async (): Promise<ReplicaFacts> => {
		const first = await next();
		assert.equal(first.type, 'life-ready', JSON.stringify(first));
		return first.facts;
	};
	const ended = async (): Promise<Failure> => {
		const last = await next();
		assert.equal(last.type, 'life-ended', JSON.stringify(last));
		return last.failure;
	};
	return { life, lines, next, ready, ended };
}

/** Runs a request over a connection as a front has it; resolves with the text, or the failure's words. */
function ask(facts: ReplicaFacts, prompt: string, options: RequestOptions = {}): Promise<string> {
	return new Promise((resolve) => {
		let text = '';
		const connection = new HostConnection(parseAddress(facts.address), { onClosed() {}, onBug() {} });
		const done = (words: string): 'accepted' => {
			connection.close('done');
			resolve(words);
			return 'accepted';
		};
		connection.start(hostRequest(raw(prompt), options), {
			tell(news: DecodeNews) {
				if (news.type === 'pieces') text += textOfPieces(news.bytes, news.start, news.end);
				if (news.type === 'decode-ended') return done(text);
				return news.type === 'decode-failed' ? done(news.failure.message) : 'accepted';
			},
		});
	});
}

function textOfPieces(bytes: Buffer, start: number, end: number): string {
	let text = '';
	for (let at = start; at < end; ) {
		const length = bytes.readUInt16LE(at);
		at += 4 + ((bytes[at + 3] as number) & 1 ? 8 : 0);
		text += bytes.toString('utf8', at, at + length);
		at += length;
	}
	return text;
}

function exited(child: Child): Promise<ChildExit> {
	return new Promise((resolve) => child.onExit(resolve));
}

function hostFolders(): string[] {
	return readdirSync(folder.path).filter((name) => name.startsWith('orchd-'));
}

/** Processes that were started with this in their command line. */
function processesWith(words: string): number[] {
	return readdirSync('/proc')
		.filter((name) => /^\d+$/.test(name))
		.map(Number)
		.filter((pid) => {
			try {
				return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(words);
			} catch {
				return false;
			}
		});
}

describe('the life of a llama.cpp host', () => {
	it('becomes ready with its facts, answers fronts, is audited, and stops when asked', async () => {
		const { life, ready, next, ended, lines } = startLife(folder.golden());
		const facts = await ready();
		assert.equal(facts.engine, 'llamacpp');
		assert.equal(facts.replicaId, replicaId);
		assert.equal(facts.modelName, 'golden');
		assert.match(facts.modelDigest ?? '', /^sha256:[0-9a-f]{64}$/);
		assert.equal(facts.slots, 2);
		assert.equal(facts.ctx, 256);
		assert.deepEqual(await Promise.all([ask(facts, 'x'), ask(facts, 'y')]), [goldenText, goldenText]);
		life.audit([]);
		assert.deepEqual(await next(), { type: 'life-audited', busyLeases: [] });

		const secret = 'a-word-that-only-a-client-knows';
		assert.match(await ask(facts, secret, { grammar: `${secret} ::=` }), /not a valid GBNF grammar/);
		await ask(facts, secret);

		assert.equal(hostFolders().length, 1);
		life.stop();
		life.stop();
		assert.equal((await ended()).message, 'the engine was stopped');
		assert.deepEqual(hostFolders(), []);
		assert.ok(!lines.join('\n').includes(secret), lines.join('\n'));
	});

	it('tells who killed it, and its lease stays busy to the last', async () => {
		const { ready, next, life, ended } = startLife(folder.golden({ endless: true }));
		const facts = await ready();
		const [pid] = processesWith(replicaId);
		assert.ok(pid !== undefined);
		const running = new Promise<DecodeNews>((resolve) => {
			const connection = new HostConnection(parseAddress(facts.address), { onClosed() {}, onBug() {} });
			let audits = 0;
			// One after the other, so that there is one whenever it is killed.
			const start = (): void => {
				connection.start(hostRequest(raw('x'), { grammar: 'root ::= [a-z]+', maxTokens: 250 }), {
					tell(news) {
						if (news.type === 'decode-started' && audits++ === 0) life.audit([]);
						if (news.type === 'decode-failed') resolve(news);
						if (news.type === 'decode-ended') start();
						return 'accepted';
					},
				});
			};
			for (let slot = 0; slot < 2; slot += 1) start();
		});
		const audited = await next();
		assert.equal(audited.type, 'life-audited');
		assert.ok(audited.type === 'life-audited' && audited.busyLeases.length > 0);
		process.kill(pid, 'SIGKILL');
		const lost = await running;
		assert.equal(lost.type === 'decode-failed' && lost.slot, 'unknown');
		const failure = await ended();
		assert.equal(failure.code, 'WORKER_RESET');
		assert.match(failure.message, /the engine process was killed \(SIGKILL\); as a rule the system had no memory left/);
		assert.equal(failure.poolId, 'golden');
	});

	const failures: readonly [string, () => { path: string; more?: Partial<EmbeddedSettings> }, Failure['code'], RegExp][] = [
		['a file that is not there', () => ({ path: join(folder.path, 'nothing.gguf') }), 'NOT_FOUND', /model file not found: .*nothing\.gguf/],
		[
			'a text file',
			() => {
				const path = join(folder.path, 'text.gguf');
				writeFileSync(path, 'once upon a time there was no model');
				return { path };
			},
			'INVALID_PARAMS',
			/text\.gguf: not a GGUF file/,
		],
		['a folder', () => ({ path: folder.path }), 'INVALID_PARAMS', /is not a regular file/],
		[
			'a truncated model',
			() => {
				const path = folder.golden();
				truncateSync(path, 50_000);
				return { path };
			},
			'INVALID_PARAMS',
			/truncated: tensor \S+ ends at byte \d+ of 50000/,
		],
		[
			'a model without a shape key',
			() => ({ path: folder.golden({ without: ['llama.attention.head_count'] }) }),
			'INVALID_PARAMS',
			/the key llama\.attention\.head_count is missing/,
		],
		[
			'more context than the model has',
			() => ({ path: folder.golden(), more: { ctx: 512 } }),
			'INVALID_PARAMS',
			/ctx is 512; .* at most 256/,
		],
		[
			'a device where there is none',
			() => ({ path: folder.golden(), more: { devices: [0] } }),
			'POOL_UNAVAILABLE',
			/devices 0 are configured, but no GPU/,
		],
		[
			'a model that llama.cpp itself refuses',
			() => ({ path: folder.golden({ keys: { 'tokenizer.ggml.model': { type: 'string', value: 'telepathy' } } }) }),
			'INVALID_PARAMS',
			/llama\.cpp cannot load it/,
		],
	];
	for (const [what, make, code, words] of failures) {
		it(`ends with words for a person: ${what}`, async () => {
			const { path, more } = make();
			const failure = await startLife(path, more).ended();
			assert.match(failure.message, words);
			assert.equal(failure.code, code);
			assert.deepEqual(hostFolders(), []);
		});
	}

	it('ends when it is not ready in time', async () => {
		const failure = await startLife(folder.golden(), {}, 1).ended();
		assert.match(failure.message, /was not ready within 0\.001 s/);
	});

	it('ends when its process cannot be what it should be', async () => {
		const driver = new HostProcessDriver({
			entry: new URL('./no-such-host.js', import.meta.url),
			settings: () => null,
			env: () => bareEnv,
			runtimeDir: folder.path,
			onLine() {},
		});
		const failure = await new Promise<Failure>((resolve) => {
			driver.start(
				{ replicaId: 'x', poolId: 'x', engine: 'llamacpp', model: 'x', settings: null },
				{
					tell(news) {
						if (news.type === 'life-ended') resolve(news.failure);
						return 'accepted';
					},
				},
			);
		});
		assert.match(failure.message, /ended with exit code 1; its last words: Error: Cannot find module/);
	});
});

describe('a llama.cpp host whose daemon is gone', () => {
	function startHost(name: string): { child: Child; listening: Promise<void>; socketPath: string } {
		const socketPath = join(folder.path, `${name}.sock`);
		const child = spawnChild({
			command: process.execPath,
			args: [fileURLToPath(entry), name],
			env: bareEnv,
			stdio: { stdin: 'pipe', output: 'pipe', status: true },
		});
		const boot = { socketPath, secret: '00'.repeat(32), replicaId: name, settings: settings(folder.golden({ endless: true })) };
		child.stdin?.write(`${JSON.stringify(boot)}\n`);
		child.stderr?.resume();
		child.stdout?.resume();
		const listening = new Promise<void>((resolve) => {
			if (child.status !== null)
				createInterface({ input: child.status }).on('line', (line) => {
					if (line.includes('listening')) resolve();
				});
		});
		return { child, listening, socketPath };
	}

	it('ends at the end of its stdin, in the middle of a generation, and leaves no socket', async () => {
		const { child, listening, socketPath } = startHost('eof');
		await listening;
		const connection = new HostConnection({ socketPath, secret: Buffer.alloc(32) }, { onClosed() {}, onBug() {} });
		await new Promise<void>((resolve) => {
			connection.start(hostRequest(raw('x'), { maxTokens: 240 }), {
				tell(news) {
					if (news.type === 'pieces') resolve();
					return 'accepted';
				},
			});
		});
		child.stdin?.end();
		const exit = await exited(child);
		assert.equal(exit.signal, 'SIGKILL');
		assert.equal(existsSync(socketPath), false);
	});

	it('ends while it is still loading', async () => {
		const { child } = startHost('loading');
		child.stdin?.end();
		assert.notEqual((await exited(child)).signal, null);
	});

	it('ends when the process that started it is killed with SIGKILL', async () => {
		const script = join(dirname(fileURLToPath(import.meta.url)), 'embedded-parent.js');
		const parent = spawnChild({
			command: process.execPath,
			args: [script, fileURLToPath(entry), folder.path, folder.golden()],
			env: bareEnv,
			stdio: { stdin: 'ignore', output: 'pipe', status: false },
		});
		const address = await new Promise<string>((resolve) => {
			if (parent.stdout !== null) createInterface({ input: parent.stdout }).on('line', resolve);
		});
		const hostGone = new Promise<string>((resolve) => {
			const connection = new HostConnection(parseAddress(address), { onClosed: resolve, onBug() {} });
			connection.ping(() => parent.signal('SIGKILL'));
		});
		assert.equal((await exited(parent)).signal, 'SIGKILL');
		await hostGone;
		assert.equal(existsSync(parseAddress(address).socketPath), false);
	});

	it('ends politely on SIGTERM', async () => {
		const { child, listening } = startHost('term');
		await listening;
		child.end(20_000);
		assert.deepEqual(await exited(child), { code: 0, signal: null, notStarted: null });
	});
});
