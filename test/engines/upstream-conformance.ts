/**
 * What every engine over HTTP must do, against a fake of it that misbehaves on demand: what a look shows, how each failure is told, and
 * that a cancel frees the engine at every stage. A fake that its adapter strays from fails the test, whatever else it shows.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import type { PromptInput } from '../../src/actors/serving/task-request.ts';
import { formatUpstream, parseUpstream } from '../../src/engines/upstream/upstream-address.ts';
import type { UpstreamDecodePort } from '../../src/engines/upstream/upstream-decode-port.ts';
import type { UpstreamSettings } from '../../src/engines/upstream/upstream-settings.ts';
import { assertSound, type EnginePromises, turn } from './conformance.ts';
import { begin, generate, raw, type SeenTask } from './decode-world.ts';
import { type FakeRequest, FakeServer } from './fakes/fake-server.ts';
import type { FakeSlots } from './fakes/fake-slots.ts';
import type { Cut, Fault } from './fakes/faults.ts';
import { type Looked, lookAt } from './upstream-world.ts';

/** A fake of an engine with two slots, that has the key `sk-secret`. */
export interface FakeEngine {
	readonly server: FakeServer;
	readonly slots: FakeSlots;
}

export interface UpstreamUnderTest {
	readonly promises: EnginePromises;
	start(): FakeEngine;
	/** How a pool of it is configured. */
	settings(url: string, key: string | null): UpstreamSettings;
	/** What its facts must say. */
	readonly facts: Partial<ReplicaFacts>;
	/** What it is asked to generate by. */
	readonly generates: RegExp;
	/** What a look asks first. */
	readonly looks: RegExp;
	/** An error as the engine answers it; its message quotes the request. */
	error(status: number, quoted: string): string;
	/** Its answer while it loads its model; null: it does not listen until then. */
	readonly loading: Fault | null;
}

const key = 'sk-secret';
const secret = 'quoted-secret-prompt';
const chat: PromptInput = { kind: 'messages', messages: [{ role: 'user', content: 'Once upon a time' }] };

export function upstreamConformance(engine: UpstreamUnderTest): void {
	let fake: FakeEngine;
	let url: string;
	let looked: Looked;
	let port: UpstreamDecodePort;
	let replica: ReplicaFacts;
	const inputs = [raw('Once upon a time'), ...(engine.promises.chats === true ? [chat] : [])];
	/** One with an empty body only asks whether the engine could. */
	const generates = ({ path, body }: FakeRequest): boolean => engine.generates.test(path) && body !== '{}';
	const asked = (): number => fake.server.asked.filter(generates).length;
	const until = async (reached: () => boolean): Promise<void> => {
		while (!reached()) await turn();
	};
	/** The same engine at another address. */
	const at = (other: string): ReplicaFacts => ({ ...replica, address: formatUpstream({ ...parseUpstream(replica.address), url: other }) });
	const fail = async (fault: Fault): Promise<SeenTask> => {
		fake.server.fault(fault, generates);
		const task = await generate(port, replica, { prompt: secret });
		assertSound(task, engine.promises);
		assert.doesNotMatch(JSON.stringify(task.failure), new RegExp(`${secret}|${key}`));
		return task;
	};

	beforeEach(async () => {
		fake = engine.start();
		fake.server.key = key;
		url = await fake.server.listen();
		looked = await lookAt(engine.settings(url, key));
		assert.ok(looked.replica !== null, JSON.stringify(looked.failure));
		({ port, replica } = { port: looked.port, replica: looked.replica });
	});
	afterEach(async () => {
		looked.close();
		await turn();
		assert.equal(port.inFlight, 0);
		await fake.server.close();
		assert.deepEqual(fake.server.strayed, [], 'asked as the engine specifies');
	});

	describe('looked at', () => {
		it('is ready with its version, its model and what it can do', () => {
			for (const [name, value] of Object.entries(engine.facts)) assert.deepEqual(replica[name as keyof ReplicaFacts], value, name);
			assert.equal(asked(), 1, 'it has made one token');
		});

		it('is not ready while it loads, and says why', async () => {
			if (engine.loading === null) return;
			fake.server.fault(engine.loading, engine.looks);
			const { failure, close } = await lookAt(engine.settings(url, key));
			close();
			assert.equal(failure?.code, 'POOL_UNREADY');
			assert.ok(failure.retriable && (failure.retryAfterMs ?? 0) > 0);
		});

		it('is refused where it does not have the model, or does not take the key', async () => {
			for (const settings of [{ ...engine.settings(url, key), model: 'no such model' }, engine.settings(url, 'sk-wrong')]) {
				const { failure, close } = await lookAt(settings);
				close();
				assert.deepEqual([failure?.code, failure?.retriable], ['POOL_UNAVAILABLE', false]);
				assert.doesNotMatch(failure?.message ?? '', /sk-/);
			}
		});

		it('is not ready where nobody listens, what answers is no such engine, or it fails its first token', async () => {
			fake.server.fault({ kind: 'bytes', bytes: 'SSH-2.0-OpenSSH_9.6\r\n', ending: 'close' });
			fake.server.fault({ kind: 'status', status: 500 }, generates);
			for (let round = 0; round < 3; round += 1) {
				if (round === 2) await fake.server.close();
				const { failure, close } = await lookAt(engine.settings(url, key));
				close();
				assert.ok(failure !== null && /POOL_UNREADY|WORKER_RESET/.test(failure.code), failure?.code);
			}
		});
	});

	describe('asked for text', () => {
		it('is told the same wherever its answer is cut, also within a character', async () => {
			for (const input of inputs) {
				const whole = await generate(port, replica, { input, maxTokens: 12 });
				assertSound(whole, engine.promises);
				assert.equal(whole.text, fake.slots.texts.at(-1), 'what the engine has made, whole and in order');
				assert.ok(Buffer.byteLength(whole.text) > whole.text.length, 'it has characters of several bytes');
				const { bytes } = fake.server.answers.at(-1) ?? { bytes: 0 };
				// Into parts of one length: of a byte each, then of more; and once at each of some places.
				const parts = (length: number): number[] => Array.from({ length: Math.ceil(bytes / length) }, () => length);
				const places = Array.from({ length: 12 }, (_, index) => [1 + Math.floor((index * bytes) / 12)]);
				for (const splits of [...[1, 3, 64].map(parts), ...places]) {
					fake.server.splits = splits;
					const task = await generate(port, replica, { input, maxTokens: 12 });
					const seen = [task.end?.type, task.text, task.tokens];
					assert.deepEqual(seen, ['decode-ended', whole.text, whole.tokens], `${bytes} bytes as ${splits[0] ?? 0}`);
				}
				fake.server.splits = [];
			}
		});

		it('counts what it used: prompt, output, and the end by itself, by a stop string or for its length', async () => {
			for (const input of inputs) {
				const whole = await generate(port, replica, { input, maxTokens: 40 });
				assert.ok(whole.usage.tokensIn > 0);
				assert.deepEqual(
					[whole.usage.tokensOut, whole.tokens, whole.end?.type === 'decode-ended' && whole.end.finishReason],
					[40, 40, 'length'],
				);
				const long = await generate(port, replica, { input, maxTokens: 1_000 });
				assert.ok(long.end?.type === 'decode-ended' && long.end.finishReason === 'stop');
				assert.ok(long.tokens < 1_000 && long.tokens === long.usage.tokensOut);
				assert.ok(long.text.startsWith(whole.text));
				const words = whole.text.split(' ').filter((word) => word.length > 3);
				const stop = ['never said', words[Math.floor(words.length / 2)] ?? ''];
				const cut = await generate(port, replica, { input, maxTokens: 40, sampling: { stop } });
				assertSound(cut, engine.promises);
				assert.ok(cut.end?.type === 'decode-ended' && cut.end.finishReason === 'stop');
				assert.equal(cut.text, whole.text.slice(0, whole.text.indexOf(stop[1] as string)));
				assert.equal(cut.usage.tokensIn, whole.usage.tokensIn);
				assert.ok(cut.tokens > 0 && cut.tokens < 40);
				await until(() => fake.slots.busy === 0);
			}
		});

		it('goes on behind what ends a text, or to a least number of tokens, where it can', async () => {
			for (const input of inputs) {
				const ended = await generate(port, replica, { input, maxTokens: 90 });
				assert.ok(ended.tokens < 90);
				for (const [feature, sampling] of [
					['ignore_eos', { ignoreEos: true }],
					['min_tokens', { minTokens: 80 }],
				] as const) {
					if (!replica.features.includes(feature)) continue;
					const task = await generate(port, replica, { input, maxTokens: 90, sampling });
					assertSound(task, engine.promises);
					assert.ok(task.text.startsWith(ended.text));
					assert.ok(task.tokens >= 80 && (feature === 'min_tokens' || task.tokens === 90), `${feature}: ${task.tokens}`);
				}
			}
		});
	});

	describe('whose answer goes wrong', () => {
		const statuses: readonly (readonly [status: number, code: string, retriable: boolean])[] = [
			[400, 'INVALID_PARAMS', false],
			[401, 'POOL_UNAVAILABLE', false],
			[403, 'POOL_UNAVAILABLE', false],
			[404, 'POOL_UNAVAILABLE', false],
			[409, 'POOL_UNREADY', true],
			[413, 'PAYLOAD_TOO_LARGE', false],
			[422, 'INVALID_PARAMS', false],
			[429, 'ADMISSION_REJECT', true],
			[500, 'WORKER_RESET', true],
			[501, 'INVALID_PARAMS', false],
			[502, 'WORKER_RESET', true],
			[503, 'POOL_UNREADY', true],
			[504, 'DECODE_TIMEOUT', true],
		];
		for (const [status, code, retriable] of statuses) {
			it(`with ${status} fails with ${code}, once, and repeats nothing of the request`, async () => {
				const task = await fail({ kind: 'status', status, body: engine.error(status, secret) });
				assert.deepEqual([task.failure?.code, task.failure?.retriable], [code, retriable]);
				assert.deepEqual([task.pieces.length, asked()], [0, 2], 'the self-test and this');
				assert.match(task.failure?.message ?? '', new RegExp(String(status)));
			});
		}

		it('that leads elsewhere is not followed: who is named there is asked for nothing, and gets no key', async () => {
			const elsewhere = new FakeServer();
			const url = await elsewhere.listen();
			for (const status of [301, 302, 303, 307, 308]) {
				const before = asked();
				const { failure } = await fail({ kind: 'status', status, headers: { location: `${url}/v1/chat/completions` } });
				assert.deepEqual([failure?.code, asked() - before], ['WORKER_RESET', before === 0 ? 2 : 1], String(status));
			}
			assert.equal(elsewhere.connections, 0);
			await elsewhere.close();
		});

		it('says when to come back as the engine does: in seconds, or by a date, at most half a minute', async () => {
			for (const [says, least, most] of [
				['7', 7_000, 7_000],
				['100000', 30_000, 30_000],
				[new Date(Date.now() + 9_000).toUTCString(), 7_000, 9_000],
				['soon', 1_000, 1_000],
			] as const) {
				for (const status of [429, 503]) {
					const { failure } = await fail({ kind: 'status', status, headers: { 'retry-after': says } });
					assert.ok((failure?.retryAfterMs ?? 0) >= least && (failure?.retryAfterMs ?? 0) <= most, `${says}: ${failure?.retryAfterMs}`);
				}
			}
		});

		const cuts: Readonly<Record<Exclude<Cut, 'hold'>, RegExp>> = {
			close: /within the body/,
			reset: /ECONNRESET/,
			'half-chunk': /within the body/,
			garbage: /cannot be read/,
			'garbage-event': /no JSON/,
			'no-end': /ended without its end/,
		};
		for (const [ending, words] of Object.entries(cuts) as [Exclude<Cut, 'hold'>, RegExp][]) {
			const { marksEnd } = engine.promises;
			const skip = ending === 'no-end' && marksEnd !== true ? { skip: `not promised: ${marksEnd}` } : {};
			it(`by ${ending} fails with WORKER_RESET, and is not tried again once it has begun`, skip, async () => {
				const task = await fail({ kind: 'cut', afterEvents: 6, ending });
				assert.ok(task.end?.type === 'decode-failed' && task.started !== null);
				assert.deepEqual([task.end.failure.code, task.end.began, asked()], ['WORKER_RESET', 'maybe', 2]);
				assert.match(task.end.failure.message, words);
				if (ending !== 'no-end' || task.pieces.length > 0) assert.ok(task.pieces.length > 0);
			});
		}

		it('with what is no HTTP, or with another type, fails with WORKER_RESET', async () => {
			for (const fault of [
				{ kind: 'bytes', bytes: '\0\0\0\x04garbage\r\n\r\n', ending: 'hold' },
				{ kind: 'bytes', bytes: 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n', ending: 'hold' },
				{ kind: 'type', type: 'text/html' },
			] as const) {
				const { failure } = await fail(fault);
				assert.equal(failure?.code, 'WORKER_RESET');
			}
		});

		it('with no answer on a kept connection is asked once more on a new one; with none there, no more', async () => {
			await generate(port, replica, { maxTokens: 2 });
			fake.server.fault({ kind: 'bytes', bytes: '', ending: 'reset' }, generates);
			const again = await generate(port, replica, { maxTokens: 2 });
			assert.deepEqual([again.end?.type, asked()], ['decode-ended', 4]);
			fake.server.fault({ kind: 'bytes', bytes: '', ending: 'reset' }, generates);
			fake.server.fault({ kind: 'bytes', bytes: '', ending: 'reset' }, generates);
			const lost = await generate(port, replica, { maxTokens: 2 });
			assert.deepEqual([lost.failure?.code, asked()], ['WORKER_RESET', 6]);
		});

		it('is known not to have begun where nobody listens', async () => {
			const other = new FakeServer();
			const nowhere = await other.listen();
			await other.close();
			const task = await generate(port, at(nowhere));
			assert.ok(task.end?.type === 'decode-failed');
			assert.deepEqual([task.end.failure.code, task.end.began, task.end.slot], ['WORKER_RESET', 'no', 'free']);
			assert.match(task.end.failure.message, /ECONNREFUSED/);
		});

		it('over TLS is refused where the certificate is not to be trusted, or there is no TLS', async () => {
			const pem = readFileSync(new URL('../../../test/fixtures/localhost.pem', import.meta.url), 'utf8');
			const self = new FakeServer({ tls: { key: pem, cert: pem } });
			const plain = createServer(
				(socket) =>
					void socket
						.on('error', () => undefined)
						.resume()
						.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
			);
			await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
			const { port: plainPort } = plain.address() as { port: number };
			for (const address of [(await self.listen()).replace('http:', 'https:'), `https://127.0.0.1:${plainPort}`]) {
				const task = await generate(port, at(address));
				assert.ok(task.end?.type === 'decode-failed');
				assert.deepEqual([task.end.failure.code, task.end.began], ['WORKER_RESET', 'no']);
			}
			assert.equal(self.asked.length, 0, 'nothing was sent');
			await self.close();
			plain.close();
		});
	});

	describe('cancelled', () => {
		/** The engine has let go, and what waits behind gets its slot. */
		const freed = async (task: SeenTask, busy: number): Promise<void> => {
			const from = performance.now();
			task.generation?.cancel();
			assert.equal((await task.hasEnded()).type, 'decode-cancelled');
			await until(() => fake.slots.busy + fake.slots.waiting === busy);
			assert.ok(performance.now() - from < 1_000, 'at once');
			assertSound(task, engine.promises);
			task.generation?.cancel();
		};
		for (const input of inputs) {
			it(`while it waits in the engine, before its first token and between two: ${input.kind}`, async () => {
				fake.slots.held = true;
				const running = [1, 2].map(() => begin(port, replica, { input, maxTokens: 400 }));
				await until(() => fake.slots.busy === 2);
				const waiting = begin(port, replica, { input, maxTokens: 400 });
				await until(() => fake.slots.waiting === 1);
				await freed(waiting, 2);
				await freed(running[0] as SeenTask, 1);
				fake.slots.release();
				await running[1]?.hasPieces(2);
				await freed(running[1] as SeenTask, 0);
				assert.equal((await generate(port, replica, { input, maxTokens: 2 })).tokens, 2);
			});
		}

		it('before it is sent, twice, and after the end', async () => {
			const task = begin(port, replica, { maxTokens: 400 });
			await freed(task, 0);
			const over = await generate(port, replica, { maxTokens: 2 });
			over.generation?.cancel();
			assert.deepEqual(over.afterEnd, []);
		});

		it('while it stalls: the connection is closed all the same', async () => {
			fake.server.fault({ kind: 'cut', afterEvents: 3, ending: 'hold' }, generates);
			const task = begin(port, replica, { maxTokens: 400 });
			await task.hasPieces(1);
			await freed(task, 0);
		});
	});
}
