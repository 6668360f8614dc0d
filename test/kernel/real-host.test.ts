/** The kernel on the real event loop: few tests, of what only a real host can show. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { RealHost } from '../../src/actors/kernel/real-host.ts';
import type { ActorRef, AskOutcome } from '../../src/actors/kernel/ref.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';

describe('a real host', () => {
	it('runs actors, asks and timers, never early', async () => {
		const system = new ActorSystem(new RealHost(undefined, { timersKeepAlive: true }));
		const target = system.spawn<{ readonly replyTo: ActorRef<string> }>('target', () => ({
			onMessage(_ctx, { replyTo }) {
				replyTo.tell('yes');
				return 'same';
			},
		}));
		const startedAt = system.host.now();
		const { outcome, tookMs } = await new Promise<{ outcome: AskOutcome<string> | null; tookMs: number }>((resolve) => {
			let outcome: AskOutcome<string> | null = null;
			system.spawn<AskOutcome<string> | 'timer'>('asker', (ctx) => {
				ctx.setTimer('timer', 20, 'timer');
				ctx.ask(
					target,
					10_000,
					(replyTo: ActorRef<string>) => ({ replyTo }),
					(answer) => answer,
				);
				return {
					onMessage(context, message) {
						if (message === 'timer') resolve({ outcome, tookMs: context.now() - startedAt });
						else outcome = message;
						return 'same';
					},
				};
			});
		});
		assert.deepEqual(outcome, { ok: true, reply: 'yes' });
		assert.ok(tookMs >= 20, `${tookMs} ms`);
		system.shutdown();
		assert.deepEqual([system.stats.actors, system.stats.timers, system.stats.asks], [0, 0, 0]);
	});

	it('lets I/O in although an actor floods itself', async () => {
		const system = new ActorSystem(new RealHost());
		const ref = system.spawn<number>('flood', () => ({
			onMessage(ctx, n) {
				ctx.self.tell(n + 1);
				return 'same';
			},
		}));
		ref.tell(0);
		await new Promise((resolve) => setImmediate(resolve));
		await new Promise((resolve) => setImmediate(resolve));
		assert.ok(system.stats.messages > 0);
		system.shutdown();
		assert.equal(ref.tell(0), 'closed');
	});

	it('counts milliseconds on the clock of the process', () => {
		const host = new RealHost();
		const before = Number(process.hrtime.bigint()) / 1e6;
		const now = host.now();
		const after = Number(process.hrtime.bigint()) / 1e6;
		// A microsecond for what the division of a large integer loses.
		assert.ok(now >= before - 0.001 && now <= after + 0.001, `${before} ≤ ${now} ≤ ${after}`);
	});

	it('has one clock on every thread', async () => {
		const source = `
			const { parentPort } = require('node:worker_threads');
			import(${JSON.stringify(new URL('../../src/actors/kernel/real-host.js', import.meta.url).href)})
				.then(({ RealHost }) => parentPort.postMessage(new RealHost().now()));`;
		const host = new RealHost();
		const before = host.now();
		const there = await new Promise<number>((resolve, reject) => {
			new Worker(source, { eval: true }).once('message', resolve).once('error', reject);
		});
		assert.ok(there >= before && there <= host.now(), `${before} ≤ ${there} ≤ ${host.now()}`);
	});
});
