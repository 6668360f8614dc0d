/** The log of a pool over HTTP: at once, and as it is written. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { EngineLogs, engineLog } from '../../src/actors/serving/engine-log.ts';
import type { ReadEngineLog } from '../../src/actors/serving/engine-log-messages.ts';
import * as schemas from '../../src/transport/api/response-schemas.ts';
import { json, refused } from './published-answers.ts';
import { poolView, startFront, type TestFront } from './test-front.ts';

const logs = new EngineLogs(0);
let front: TestFront;
before(async () => {
	front = await startFront({}, undefined, 'auto', null, (system) => system.spawn('engine-log', engineLog(logs)));
	front.tasks.pools = [poolView(), poolView({ poolId: 'far', provider: 'external' })];
	for (let i = 1; i <= 300; i++) logs.add('p1', { at: 0, replicaId: 'p1-0', source: 'stderr', text: `line ${i}` });
});
after(() => front.close());

interface Line {
	readonly id: number;
	readonly text: string;
}

async function linesOf(query: string): Promise<string[]> {
	const body = await json(await front.fetch(`/v2/pools/p1/logs${query}`), 200, schemas.poolLogSchema);
	return (body['lines'] as Line[]).map(({ text }) => text);
}

describe('GET /v2/pools/{id}/logs', () => {
	it('answers the last lines, or those behind an id', async () => {
		const last = await linesOf('');
		assert.deepEqual([last.length, last[0], last.at(-1)], [200, 'line 101', 'line 300']);
		assert.deepEqual(await linesOf('?tail=2'), ['line 299', 'line 300']);
		assert.deepEqual((await linesOf('?after=2')).slice(0, 2), ['line 3', 'line 4']);
		assert.deepEqual(await linesOf('?after=300'), []);
	});

	it('follows the log for who asks so, or accepts events, and goes on behind the last id it had', async () => {
		const leave = new AbortController();
		const asked = [
			front.fetch('/v2/pools/p1/logs?tail=1&follow=true', { signal: leave.signal }),
			front.fetch('/v2/pools/p1/logs', { headers: { accept: 'text/event-stream', 'last-event-id': '299' }, signal: leave.signal }),
		];
		for (const response of await Promise.all(asked)) {
			assert.match(response.headers.get('content-type') ?? '', /^text\/event-stream/);
			const seen: Line[] = [];
			let text = '';
			const decoder = new TextDecoder();
			for await (const chunk of response.body ?? []) {
				text += decoder.decode(chunk, { stream: true });
				const events = text.split('\n\n');
				text = events.pop() ?? '';
				for (const event of events) {
					const match = /^id: (\d+)\nevent: line\ndata: (.*)$/.exec(event);
					if (match === null) continue;
					seen.push(JSON.parse(match[2] ?? '') as Line);
					assert.equal(seen.at(-1)?.id, Number(match[1]));
				}
				if (seen.length === 1) logs.add('p1', { at: 0, replicaId: 'p1-0', source: 'stderr', text: `new ${seen[0]?.id}` });
				if (seen.length >= 2) break;
			}
			assert.match(`${seen[0]?.text} ${seen[1]?.text}`, /^line 300 new 300/);
		}
		leave.abort();
	});

	it('refuses an unknown pool, one whose engine is not ours, and an id that is none', async () => {
		await refused(await front.fetch('/v2/pools/none/logs'), 404, 'NOT_FOUND');
		await refused(await front.fetch('/v2/pools/far/logs'), 404, 'NOT_FOUND');
		await refused(await front.fetch('/v2/pools/p1/logs?after=x'), 400, 'INVALID_PARAMS');
		await refused(await front.fetch('/v2/pools/p1/logs?tail=-1'), 400, 'INVALID_PARAMS');
	});
});

describe('a follower of a log', () => {
	it('is read nothing more for while its socket takes nothing, and all that is left once it does', async () => {
		const answersMax = 160;
		const text = 'x'.repeat(8_000);
		const asked: ReadEngineLog[] = [];
		/** A log that always has more, until it has not. */
		const endless: ActorRef<ReadEngineLog> = {
			tell(ask) {
				asked.push(ask);
				if (asked.length > answersMax) return 'accepted';
				const first = (ask.after ?? 0) + 1;
				const lines = Array.from(
					{ length: 32 },
					(_, index) => ({ id: first + index, at: 0, replicaId: 'p1-0', source: 'stdout', text }) as const,
				);
				setImmediate(() => ask.replyTo.tell({ type: 'engine-log-read', lines, gap: ask.after === 320, next: first + 31 }));
				return 'accepted';
			},
		};
		const slow = await startFront({}, undefined, 'auto', null, () => endless);
		after(() => slow.close());
		const client = await slow.raw();
		await client.send(`GET /v2/pools/p1/logs?follow HTTP/1.1\r\nHost: 127.0.0.1:${slow.port}\r\n\r\n`);
		await client.until((received) => received.includes('\r\n\r\n'));
		client.socket.pause();
		// Many more turns than it would take to answer all, were nothing in its way.
		for (let turn = 0; turn < 20 * answersMax; turn++) await new Promise((resolve) => setImmediate(resolve));
		assert.ok(asked.length < answersMax, `${asked.length} reads of 256 KB each for one that reads nothing`);
		client.socket.resume();
		await client.until(() => asked.length > answersMax, true);
		assert.ok(client.received.includes(': lines are missing here'));
		assert.deepEqual(
			asked.slice(1).map(({ after }) => after),
			Array.from({ length: answersMax }, (_, index) => (index + 1) * 32),
		);
	});
});
