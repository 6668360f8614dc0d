/** A front that is not the only one, over the real server: questions about tasks of the others wait until the test answers. */
import assert from 'node:assert/strict';
import { failure } from '../../src/actors/serving/failure.ts';
import { FakeClock } from './fake-clock.ts';
import { FakeElsewhere } from './fake-elsewhere.ts';
import { FakeTask, taskRequest } from './fake-task.ts';
import type { RawClient } from './raw-client.ts';
import { startFront, type TestFront } from './test-front.ts';

export const away = failure('POOL_UNREADY', 'a front is away', { retryAfterMs: 700 });

export interface Foreign {
	readonly id: string;
	readonly task: FakeTask;
}

export function foreignTask(firstSeq = 1): Foreign {
	const id = crypto.randomUUID();
	return { id, task: new FakeTask(taskRequest({ taskId: id }), 0, firstSeq) };
}

export class OneOfFronts {
	readonly clock: FakeClock;
	readonly elsewhere: FakeElsewhere;
	readonly front: TestFront;

	private constructor(clock: FakeClock, elsewhere: FakeElsewhere, front: TestFront) {
		this.clock = clock;
		this.elsewhere = elsewhere;
		this.front = front;
	}

	static async start(): Promise<OneOfFronts> {
		const clock = new FakeClock();
		const elsewhere = new FakeElsewhere();
		return new OneOfFronts(clock, elsewhere, await startFront({}, clock, 'auto', elsewhere));
	}

	/** Nothing was asked that the test did not look at, and nothing went wrong unseen. */
	checkQuiet(): void {
		assert.deepEqual([this.elsewhere.finds, this.elsewhere.lists], [[], []]);
		assert.equal(this.front.lines.filter(({ event }) => event === 'bug' || event === 'edge-failed').length, 0);
	}

	/** Lets the server work until `done`: each round is a request of its own. */
	async until(done: () => boolean): Promise<void> {
		for (let round = 0; round < 1000 && !done(); round++) await (await this.front.fetch('/health')).arrayBuffer();
		assert.ok(done());
	}

	/** The server hears of what its peers did before. */
	async settle(): Promise<void> {
		for (let round = 0; round < 5; round++) await (await this.front.fetch('/health')).arrayBuffer();
	}

	/** What `promise` comes to, or an assertion: an answer that never comes is a failure, not a wait. */
	async answered<T>(promise: Promise<T>): Promise<T> {
		let settled = false;
		const done = (): void => {
			settled = true;
		};
		promise.then(done, done);
		await this.until(() => settled);
		return await promise;
	}

	async asked(taskId: string, purpose: 'look' | 'follow'): Promise<void> {
		await this.until(() => this.elsewhere.finds.length > 0);
		assert.deepEqual(
			this.elsewhere.finds.map((find) => [find.taskId, find.purpose]),
			[[taskId, purpose]],
		);
	}

	async send(method: string, path: string, headers = ''): Promise<RawClient> {
		const client = await this.front.raw();
		await client.send(`${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1:${this.front.port}\r\n${headers}\r\n`);
		return client;
	}

	/** Somebody who reads its events. */
	async follow({ id, task }: Foreign, headers = ''): Promise<RawClient> {
		const client = await this.send('GET', `/v2/tasks/${id}/events`, headers);
		await this.asked(id, 'follow');
		this.elsewhere.found({ found: 'task', task });
		await client.until((received) => received.includes('\r\n\r\n'));
		return client;
	}
}
