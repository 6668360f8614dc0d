/** Threads that are killed, hang or throw, with real workers: started again, linked anew, their peers told. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { describe, it } from 'node:test';
import type { SupervisionSpec } from '../../src/actors/kernel/supervision.ts';
import { Crew, type CrewEvents, type ThreadSpec } from '../../src/actors/threads/crew.ts';
import type { WorkerInspection } from './roles/worker.ts';

const supervision: SupervisionSpec = {
	onFailure: 'restart',
	intensity: { restarts: 2, withinMs: 60_000 },
	backoff: { firstMs: 10, maxMs: 50, jitter: 0 },
	shutdownMs: 0,
};

function entry(name: string): URL {
	return new URL(`./roles/${name}${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`, import.meta.url);
}

function workerSpec(name: string, peers: readonly string[], more: Partial<ThreadSpec> = {}): ThreadSpec {
	return {
		name,
		entry: entry('worker'),
		peers,
		mayKill: true,
		supervision,
		youngGenerationMb: 8,
		config: () => ({ throwAtStart: false }),
		...more,
	};
}

interface Told {
	readonly events: CrewEvents;
	readonly lost: string[];
	restarted(): Promise<string>;
	givenUp: Promise<string>;
}

function listen(): Told {
	const lost: string[] = [];
	let onRestarted: (name: string) => void = () => {};
	let onGivenUp: (why: string) => void = () => {};
	return {
		lost,
		restarted: () =>
			new Promise((resolve) => {
				onRestarted = resolve;
			}),
		givenUp: new Promise((resolve) => {
			onGivenUp = resolve;
		}),
		events: {
			onLost: (name, why) => lost.push(`${name}: ${why}`),
			onRestarted: (name, incarnation) => onRestarted(`${name} ${incarnation}`),
			onGivenUp: (name, why) => onGivenUp(`${name}: ${why}`),
		},
	};
}

async function untilSeen(crew: Crew, name: string, seen: (inspection: WorkerInspection) => boolean): Promise<WorkerInspection> {
	const deadline = performance.now() + 20_000;
	for (;;) {
		const inspection = (await crew.inspect(name)) as WorkerInspection | undefined;
		if (inspection !== undefined && seen(inspection)) return inspection;
		if (performance.now() > deadline) throw new Error(`not seen for 20 s: ${JSON.stringify(inspection)}`);
		await new Promise((resolve) => setTimeout(resolve, 10));
	}
}

const keep = {
	keepMetrics: (kept: unknown, ended: unknown) => [...((kept ?? []) as unknown[]), ended],
	ownMetrics: () => Promise.resolve('own'),
	renderMetrics: (all: readonly unknown[]) => Promise.resolve(JSON.stringify(all)),
	reloadConfig: () => Promise.resolve(null),
	catalog: () => Promise.resolve(null),
	artifacts: () => Promise.resolve(null),
};

describe('a crew', () => {
	it('links its threads, and a killed one comes back linked, its peer told of the loss', async () => {
		const told = listen();
		const crew = new Crew([workerSpec('one', ['two']), workerSpec('two', [])], told.events, keep);
		try {
			await crew.start();
			await untilSeen(crew, 'one', ({ pongs }) => pongs === 1);
			await untilSeen(crew, 'two', ({ pongs }) => pongs === 1);
			await crew.metrics();
			const restarted = told.restarted();
			crew.kill('two', 'planted');
			assert.equal(await restarted, 'two 2');
			const one = await untilSeen(crew, 'one', ({ pongs }) => pongs === 2);
			assert.deepEqual(one.endings, ['lost']);
			await untilSeen(crew, 'two', ({ pongs, incarnation }) => pongs === 1 && incarnation === 2);
			assert.deepEqual(told.lost, ['two: planted']);
			assert.deepEqual(JSON.parse(await crew.metrics()), [[{ incarnation: 1 }], { incarnation: 1 }, { incarnation: 2 }, 'own']);
		} finally {
			await crew.stop();
		}
	});

	it('links threads that start at once with each other, each pair once, and leaves out those that the first one makes needless', async () => {
		const told = listen();
		const wanted = (): boolean => (crew.facts('one') as { incarnation: number }).incarnation === 1;
		const names = ['one', 'two', 'three', 'four'];
		const peersOf = (name: string): readonly string[] => ['needless', ...names.filter((other) => other !== name)];
		const crew: Crew = new Crew(
			[
				...names.map((name) => workerSpec(name, peersOf(name), name === 'one' ? {} : { wanted })),
				workerSpec('needless', names, { wanted: () => !wanted() }),
			],
			told.events,
			keep,
		);
		try {
			await crew.start();
			assert.deepEqual(crew.names, names);
			for (const name of names) assert.deepEqual((await untilSeen(crew, name, ({ pongs }) => pongs >= 3)).endings, []);
			const restarted = told.restarted();
			crew.kill('three', 'planted');
			assert.equal(await restarted, 'three 2');
			await untilSeen(crew, 'three', ({ pongs }) => pongs === 3);
			for (const name of ['one', 'two', 'four']) {
				const { pongs, endings } = await untilSeen(crew, name, (each) => each.pongs >= 4);
				assert.deepEqual([pongs, endings], [4, ['lost']]);
			}
			await assert.rejects(crew.inspect('needless'), /there is no thread needless/);
		} finally {
			await crew.stop();
		}
	});

	it('kills a thread that hangs, and starts it again', async () => {
		const told = listen();
		const crew = new Crew([workerSpec('one', [])], told.events, { ...keep, watchdog: { stuckMs: 1_500, graceMs: 0 } });
		try {
			await crew.start();
			const restarted = told.restarted();
			await crew.drain('one', 1);
			assert.equal(await restarted, 'one 2');
			assert.match(told.lost[0] ?? '', /no sign of life/);
		} finally {
			await crew.stop();
		}
	});

	it('starts a thread again whose actor, known to its peers by name, has failed', async () => {
		const told = listen();
		const crew = new Crew([workerSpec('one', [])], told.events, keep);
		try {
			await crew.start();
			const restarted = told.restarted();
			await crew.drain('one', 3);
			assert.equal(await restarted, 'one 2');
			assert.deepEqual(told.lost, ['one: worker failed: planted bug of an actor']);
		} finally {
			await crew.stop();
		}
	});

	it('gives up a thread that fails again and again', async () => {
		const told = listen();
		const crew = new Crew([workerSpec('one', [])], told.events, keep);
		try {
			await crew.start();
			for (const expected of ['one 2', 'one 3']) {
				const restarted = told.restarted();
				await crew.drain('one', 2);
				assert.equal(await restarted, expected);
			}
			await crew.drain('one', 2);
			assert.match(await told.givenUp, /one: Error: planted bug/);
			assert.equal(told.lost.length, 2);
		} finally {
			await crew.stop();
		}
	});

	it('does not start when a thread cannot, and says why', async () => {
		const crew = new Crew([workerSpec('one', [], { config: () => ({ throwAtStart: true }) })], listen().events, keep);
		await assert.rejects(crew.start(), /planted: cannot start/);
		await crew.stop();
	});

	it('loses the connections of a front that throws, and nothing else', async () => {
		const told = listen();
		let port = 0;
		const front: ThreadSpec = {
			name: 'front',
			entry: entry('front'),
			peers: [],
			mayKill: false,
			supervision,
			youngGenerationMb: 8,
			config: () => ({ port }),
		};
		const crew = new Crew([front, workerSpec('one', [])], told.events, keep);
		try {
			await crew.start();
			port = (crew.facts('front') as { port: number }).port;
			const open = connect(port, '127.0.0.1');
			open.write('GET /open HTTP/1.1\r\nHost: x\r\n\r\n');
			await new Promise((resolve) => open.once('data', resolve));
			const closed = new Promise((resolve) => open.once('close', resolve));
			open.on('error', () => open.destroy());
			const restarted = told.restarted();
			await fetch(`http://127.0.0.1:${port}/throw`).catch(() => undefined);
			await closed;
			assert.equal(await restarted, 'front 2');
			assert.match(told.lost[0] ?? '', /^front: Error: planted bug/);
			// Nobody had asked for its metrics before: they were its last words.
			assert.deepEqual((JSON.parse(await crew.metrics()) as unknown[])[0], [{ from: 'front' }]);
			assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'here');
			assert.equal(((await crew.inspect('one')) as WorkerInspection).incarnation, 1);
		} finally {
			await crew.stop();
		}
	});

	it('refuses to kill a front', async () => {
		const front: ThreadSpec = {
			name: 'front',
			entry: entry('front'),
			peers: [],
			mayKill: false,
			supervision,
			youngGenerationMb: 8,
			config: () => ({ port: 0 }),
		};
		const crew = new Crew([front], listen().events, keep);
		try {
			await crew.start();
			assert.throws(() => crew.kill('front', 'planted'), /open sockets/);
		} finally {
			await crew.stop();
		}
	});
});
