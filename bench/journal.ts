/**
 * The journal of durable tasks: how many are admitted to disk a second, and what waiting for the disk adds to a 202.
 *
 * Operation `admission`: a front's record of a task (a prompt of 500 characters) told to the production store thread over its link, kept there
 * by a commit that is synced, and heard of here. `flood`: with so many under way at once, tasks/s. `at RATE/s`: at times that were fixed before,
 * one after the other; ms from the time that a task was to be told at until it was heard of, median and 99th percentile. Beside them, in
 * the same rounds and folder, the disk's own: 4 KiB written behind each other to a file, each with `fdatasync`; a second and ms. `tasks/sync`: how many
 * admissions the flood has in the time of one such sync. Not measured: HTTP, parsing, the queue.
 *
 *   node dist/bench/journal.js [--seconds 3] [--runs 3] [--folder DIR] [--json FILE]      (DIR: on the disk to measure; default here)
 */
import { closeSync, fdatasyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { MessageChannel, Worker } from 'node:worker_threads';
import { type Remote, transfer, wrap } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { RealHost } from '../src/actors/kernel/real-host.ts';
import type { ActorRef } from '../src/actors/kernel/ref.ts';
import { ActorSystem } from '../src/actors/kernel/system.ts';
import { silentTelemetry } from '../src/actors/kernel/telemetry.ts';
import { WallTime, wallOffset } from '../src/actors/kernel/wall-time.ts';
import { JournalLine } from '../src/actors/serving/journal-line.ts';
import type { JournalCommand, JournalKept, JournalNews } from '../src/actors/serving/journal-messages.ts';
import type { TaskRecord } from '../src/actors/serving/task-record.ts';
import { Link, type Peer } from '../src/actors/threads/link.ts';
import { messagePortLink } from '../src/actors/threads/link-port.ts';
import { SharedTable } from '../src/actors/threads/shared-table.ts';
import type { ThreadApi, ThreadBirth } from '../src/actors/threads/thread-api.ts';
import type { StoreConfig, StoreFacts } from '../src/roles/store.ts';
import { taskRequest } from '../test/serving/task-requests.ts';
import { figure, machine, quantiles, report, spread, table } from './report.ts';

const { values: options } = parseArgs({
	options: {
		seconds: { type: 'string', default: '3' },
		runs: { type: 'string', default: '3' },
		folder: { type: 'string', default: '.' },
		json: { type: 'string' },
	},
});
const seconds = Number(options.seconds);
const underWayMax = 2_048;
const rates = [100, 1_000, 5_000];
const prompt = 'p'.repeat(500);

mkdirSync(options.folder, { recursive: true });
const folder = mkdtempSync(join(options.folder, '.bench-journal-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

/** A front's side of the production store thread, on a store of its own. */
class Front {
	readonly #system = new ActorSystem(new RealHost(silentTelemetry));
	readonly #worker: Worker;
	readonly #api: Remote<ThreadApi<StoreConfig, StoreFacts>>;
	readonly #line: JournalLine;
	readonly #waiting = new Map<string, { readonly bytes: number; readonly kept: () => void }>();
	/** In the daemon each task hears for itself. */
	readonly #replyTo = this.#system.edge<JournalKept>((answer) => this.#heard(answer), { mailboxMax: 4 * underWayMax });
	#tasks = 0;

	private constructor(worker: Worker, api: Remote<ThreadApi<StoreConfig, StoreFacts>>, clock: WallTime) {
		this.#worker = worker;
		this.#api = api;
		this.#line = new JournalLine({ frontId: 'front-0', clock });
	}

	static async start(store: string): Promise<Front> {
		const extension = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
		const workerData: ThreadBirth = { name: 'store', row: 0, table: SharedTable.forThreads(1).buffer, incarnation: 1 };
		const worker = new Worker(new URL(`../src/roles/store${extension}`, import.meta.url), { workerData });
		const api = wrap<ThreadApi<StoreConfig, StoreFacts>>(nodeEndpoint(worker));
		const facts = await api.start({
			folder: store,
			fronts: ['front-0'],
			retentionMs: 600_000,
			bytesMax: 2 ** 40,
			recallBytesMax: 1 << 20,
			logLevel: 'error',
		});
		if (!facts.ok) throw new Error(facts.message);
		const now = (): number => new RealHost().now();
		const front = new Front(worker, api, new WallTime(now, Date.now, wallOffset(now, Date.now)));
		const { port1, port2 } = new MessageChannel();
		const connected = new Promise<Peer>((resolve) => {
			new Link(front.#system, messagePortLink(port1), {
				incarnation: 1,
				names: {},
				urgent: new Set(),
				onPeer: resolve,
				onLost: () => undefined,
			});
		});
		await api.connect('front-0', 1, 1, transfer(port2, [port2]));
		await front.#join((await connected).remote<JournalCommand>('journal'));
		return front;
	}

	#join(journal: ActorRef<JournalCommand>): Promise<void> {
		return new Promise((resolve) => {
			const news = this.#system.edge<JournalNews>((told) => {
				if (told.type === 'journal-joined') this.#line.session = told.session;
				if (told.type === 'journal-recalled') resolve();
			});
			this.#line.connect(journal);
			this.#line.tell({ type: 'join-journal', frontId: 'front-0', replyTo: news });
		});
	}

	#heard({ taskId, problem }: JournalKept): void {
		if (problem !== null) throw new Error(`not kept: ${problem}`);
		const waiting = this.#waiting.get(taskId);
		this.#waiting.delete(taskId);
		this.#line.done(waiting?.bytes ?? 0);
		waiting?.kept();
	}

	/** False: there is no room, and nothing was told. */
	keep(kept: () => void): boolean {
		this.#tasks += 1;
		const taskId = `01a23270-d938-72fa-b808-${this.#tasks.toString(16).padStart(12, '0')}`;
		const request = { ...taskRequest(taskId), durable: true, input: { kind: 'prompt', text: prompt, raw: false } } as const;
		const record = { request, admittedAt: new RealHost().now(), ordinal: this.#tasks, watched: false, held: null };
		// Of a record no more is read here.
		const bytes = this.#line.keepTask(record as unknown as TaskRecord, [], this.#replyTo);
		if (bytes === null) return false;
		this.#waiting.set(taskId, { bytes, kept });
		return true;
	}

	/** Tasks/s, with `underWayMax` under way. */
	flood(forMs: number): Promise<number> {
		return new Promise((resolve) => {
			const from = performance.now();
			let told = 0;
			let heard = 0;
			let due = false;
			const more = (): void => {
				due = false;
				const spent = performance.now() - from;
				if (spent < forMs) while (told - heard < underWayMax && this.keep(onKept)) told += 1;
				else if (heard === told) resolve((heard / spent) * 1000);
			};
			const onKept = (): void => {
				heard += 1;
				if (!due) setImmediate(more);
				due = true;
			};
			more();
		});
	}

	/** Ms of each, from when it was due. */
	at(perSecond: number, forMs: number): Promise<number[]> {
		return new Promise((resolve) => {
			const waits: number[] = [];
			const total = Math.ceil((perSecond * forMs) / 1000);
			const from = performance.now();
			let told = 0;
			const tick = (): void => {
				for (; told < total; told += 1) {
					const dueAt = from + (told * 1000) / perSecond;
					if (dueAt > performance.now()) break;
					if (!this.keep(() => waits.push(performance.now() - dueAt))) break;
				}
				if (waits.length === total) resolve(waits);
				// Not in a spin: the store thread wants the core.
				else setTimeout(tick, 1);
			};
			tick();
		});
	}

	async stop(): Promise<void> {
		await this.#api.stop();
		await this.#worker.terminate();
	}
}

/** Ms of each sync. */
function syncs(forMs: number): number[] {
	const file = openSync(join(folder, 'syncs'), 'w');
	const page = Buffer.alloc(4096, 7);
	const took: number[] = [];
	for (const from = performance.now(); performance.now() - from < forMs; ) {
		const began = performance.now();
		writeSync(file, page);
		fdatasyncSync(file);
		took.push(performance.now() - began);
	}
	closeSync(file);
	return took;
}

const floods: number[] = [];
const disk: number[][] = [];
const waits = new Map<number, number[][]>(rates.map((rate) => [rate, []]));
for (let run = 0; run < Number(options.runs); run += 1) {
	const front = await Front.start(join(folder, `store-${run}`));
	await front.flood(500);
	disk.push(syncs(seconds * 500));
	floods.push(await front.flood(seconds * 1000));
	for (const rate of rates) waits.get(rate)?.push(await front.at(rate, seconds * 1000));
	disk.push(syncs(seconds * 500));
	await front.stop();
}

const of = (samples: readonly (readonly number[])[], at: number): string =>
	spread(
		samples.map((each) => quantiles(each, [at])[0] ?? Number.NaN),
		2,
	);
const syncMs = disk.map((each) => each.reduce((sum, ms) => sum + ms, 0) / each.length);
const meanSyncMs = syncMs.reduce((sum, ms) => sum + ms, 0) / syncMs.length;
const rows = [
	{
		what: 'flood',
		rate: spread(floods),
		p50: '',
		p99: '',
		perSync: spread(
			floods.map((rate) => (rate * meanSyncMs) / 1000),
			1,
		),
	},
	...rates.map((rate) => ({
		what: `at ${figure(rate)}/s`,
		rate: figure(rate),
		p50: of(waits.get(rate) ?? [], 0.5),
		p99: of(waits.get(rate) ?? [], 0.99),
		perSync: '',
	})),
	{ what: 'fdatasync of 4 KiB', rate: spread(syncMs.map((ms) => 1000 / ms)), p50: of(disk, 0.5), p99: of(disk, 0.99), perSync: '' },
];
const text = `${table(rows, [
	{ title: '', cell: ({ what }) => what },
	{ title: 'a second', cell: ({ rate }) => rate },
	{ title: 'ms, median', cell: ({ p50 }) => p50 },
	{ title: 'ms, p99', cell: ({ p99 }) => p99 },
	{ title: 'tasks/sync', cell: ({ perSync }) => perSync },
])}\n\n${machine()}; median (least–most) of ${options.runs} runs of ${seconds} s; wanted: 5 000/s, p99 10 ms`;
report('journal', text, options.json, { floods, waits: [...waits], disk });
