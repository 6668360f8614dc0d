/** A fake of an engine over HTTP with one replica of a pool of it, for tests of what is its own. */
import assert from 'node:assert/strict';
import type { ReplicaFacts } from '../../src/actors/serving/messages.ts';
import type { UpstreamEngine } from '../../src/engines/upstream/adapter.ts';
import type { UpstreamSettings } from '../../src/engines/upstream/upstream-settings.ts';
import type { EngineUnderTest } from './conformance.ts';
import { generate } from './decode-world.ts';
import type { FakeServer } from './fakes/fake-server.ts';
import type { FakeSlots } from './fakes/fake-slots.ts';
import { type Looked, lookAt, upstreamSettings } from './upstream-world.ts';

interface Fake {
	readonly server: FakeServer;
	readonly slots: FakeSlots;
}

export class LookedWorld<F extends Fake> {
	readonly fake: F;
	readonly #engine: UpstreamEngine;
	readonly #settings: Partial<UpstreamSettings>;
	#looked: Looked | null = null;

	constructor(engine: UpstreamEngine, fake: F, settings: Partial<UpstreamSettings> = {}) {
		this.#engine = engine;
		this.fake = fake;
		this.#settings = settings;
	}

	async start(): Promise<this> {
		this.#looked = await lookAt(upstreamSettings(this.#engine, await this.fake.server.listen(), this.#settings));
		return this;
	}

	get looked(): Looked {
		if (this.#looked === null) throw new Error('it was not looked at');
		return this.#looked;
	}

	get replica(): ReplicaFacts {
		const { replica, failure } = this.looked;
		if (replica === null) throw new Error(JSON.stringify(failure));
		return replica;
	}

	run(options: Parameters<typeof generate>[2]): ReturnType<typeof generate> {
		return generate(this.looked.port, this.replica, options);
	}

	/** Asked when it is idle, and while a task holds a slot of it. */
	async tellsWhetherBusy(): Promise<void> {
		const { slots } = this.fake;
		assert.deepEqual(await this.looked.audit(['1.1']), []);
		slots.held = true;
		const task = this.run({ maxTokens: 5 });
		while (slots.busy === 0) await new Promise(setImmediate);
		assert.deepEqual(await this.looked.audit(['1.2']), ['1.2']);
		slots.release();
		await task;
	}

	/** Of the last request to such a path. */
	body(path: RegExp): Readonly<Record<string, unknown>> {
		const { body } = this.fake.server.asked.findLast((asked) => path.test(asked.path)) ?? { body: '{}' };
		const read: unknown = JSON.parse(body);
		return read as Readonly<Record<string, unknown>>;
	}

	async close(): Promise<void> {
		this.looked.close();
		await this.fake.server.close();
		assert.deepEqual(this.fake.server.strayed, [], 'asked as the engine specifies');
	}

	/** For the suite of all engines. */
	async underTest(): Promise<EngineUnderTest> {
		await this.start();
		return { replica: this.replica, port: this.looked.port, kill: () => this.fake.server.kill(), close: () => this.close() };
	}
}
