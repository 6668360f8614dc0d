/**
 * A drain, a reload, a killed engine under live streams: what each client saw beside what the engines have on record as made.
 *
 * `--streams` tasks (temperature 0, a seed each) are watched over event streams; once all have their first token it happens. A drain
 * moves the tasks of one of two pools to the other; a reload gives a pool of two replicas another model, one replica after the other, while a quarter as many tasks come on top; a
 * kill is a SIGKILL of one of two engine processes. Counted over all streams: `lost` = indices that a stream skips or never gets to,
 * `repeated` and `reordered` = indices that come again or too late, `other` = tokens that no engine has on record for that stream and index,
 * `failed` = streams without their one `end`. Streams are read as they come, not by the client library: that asks again for what a lost connection
 * kept back, which is to be seen here. All must be 0, and a drain and a kill must have moved some, else it ends with 1.
 *
 *   node dist/bench/lifecycle.js [--streams 200] [--tokens 150] [--json FILE]
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Orchestratord, type Pool } from '../src/client/index.ts';
import { machine, report, table } from './report.ts';
import { Bench } from './subjects.ts';

const { values: options } = parseArgs({
	options: { streams: { type: 'string', default: '200' }, tokens: { type: 'string', default: '150' }, json: { type: 'string' } },
});
const [streams, tokens] = [Number(options.streams), Number(options.tokens)];
const rate = 50;

interface Seen {
	readonly indices: number[];
	readonly texts: string[];
	moved: boolean;
	ends: number;
	problem: string | null;
}

interface Row {
	readonly event: string;
	readonly moved: number;
	readonly lost: number;
	readonly repeated: number;
	readonly reordered: number;
	readonly other: number;
	readonly failed: number;
}

interface Daemon {
	readonly port: number;
	readonly pid: number;
}

/** The pool `a`. */
function poolOf({ port }: Daemon): Pool {
	return new Orchestratord({ url: `http://127.0.0.1:${port}`, retries: 0 }).pool('a');
}

/** From its POST to its end; `onFirst` at the first token. */
async function stream({ port }: Daemon, seed: number, onFirst: () => void): Promise<Seen> {
	const seen: Seen = { indices: [], texts: [], moved: false, ends: 0, problem: null };
	const answer = await fetch(`http://127.0.0.1:${port}/v2/tasks`, {
		method: 'POST',
		headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
		body: JSON.stringify({
			model_ref: 'default',
			prompt: `Stream ${seed}`,
			raw: true,
			seed,
			max_tokens: tokens,
			sampling: { temperature: 0 },
		}),
	});
	let text = '';
	const decoder = new TextDecoder();
	for await (const part of answer.body ?? []) {
		text += decoder.decode(part as Uint8Array, { stream: true });
		const end = text.lastIndexOf('\n\n');
		if (end < 0) continue;
		for (const frame of text.slice(0, end).split('\n\n')) {
			const [, name = '', data = '{}'] = /event: (\w+)\ndata: (.*)$/s.exec(frame) ?? [];
			const fields = JSON.parse(data) as { t?: string; i?: number; phase?: string; code?: string };
			if (name === 'token') {
				if (seen.indices.length === 0) onFirst();
				seen.indices.push(fields.i ?? -1);
				seen.texts.push(fields.t ?? '');
			} else if (name === 'metrics') seen.moved ||= fields.phase === 'migrated';
			else if (name === 'end') seen.ends += 1;
			else if (name === 'error') seen.problem = fields.code ?? 'error';
		}
		text = text.slice(end + 2);
	}
	return seen;
}

function judge(event: string, all: readonly Seen[], record: string): Row {
	const made = new Map<string, Set<string>>();
	for (const line of record.split('\n')) {
		const [seed, index, text = '""'] = line.split('\t');
		const key = `${seed} ${index}`;
		const texts = made.get(key) ?? new Set();
		made.set(key, texts.add(JSON.parse(text) as string));
	}
	const row = { event, moved: 0, lost: 0, repeated: 0, reordered: 0, other: 0, failed: 0 };
	for (const [seed, seen] of all.entries()) {
		if (seen.moved) row.moved += 1;
		if (seen.ends !== 1 || seen.problem !== null) row.failed += 1;
		const known = new Set<number>();
		let highest = -1;
		for (const [at, index] of seen.indices.entries()) {
			if (known.has(index)) row.repeated += 1;
			else if (index < highest) row.reordered += 1;
			known.add(index);
			highest = Math.max(highest, index);
			if (made.get(`${seed} ${index}`)?.has(seen.texts[at] ?? '') !== true) row.other += 1;
		}
		for (let index = 0; index < tokens; index += 1) if (!known.has(index)) row.lost += 1;
	}
	return row;
}

/** Until each replica has the other model. */
async function reloaded(daemon: Daemon): Promise<void> {
	for (;;) {
		const pool = await poolOf(daemon).info();
		if (pool.reloading_to === null && pool.model === 'scripted:other') return;
		if (pool.reloading_to === null) throw new Error(`the reload has come to ${JSON.stringify(pool)}`);
		await new Promise((resolve) => setTimeout(resolve, 50));
	}
}

/** The process of a replica's engine. */
function engineOf({ pid }: Daemon, replicaId: string): number {
	// A child of the thread that started it, not of the first.
	const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
		readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' '),
	);
	const found = children.find((child) => child !== '' && readFileSync(`/proc/${child}/cmdline`, 'utf8').includes(replicaId));
	if (found === undefined) throw new Error(`no process of ${replicaId}`);
	return Number(found);
}

const movers: ReadonlySet<string> = new Set(['drain', 'kill']);
const events: readonly (readonly [string, pools: readonly object[], happens: (daemon: Daemon) => Promise<void>, more?: number])[] = [
	[
		'drain',
		[
			{ id: 'a', slots: streams },
			{ id: 'b', slots: streams },
		],
		async (daemon) => void (await poolOf(daemon).drain(200)),
	],
	[
		'reload',
		[{ id: 'a', replicas: 2, slots: streams }],
		async (daemon) => void (await poolOf(daemon).reload('scripted:other')),
		Math.ceil(streams / 4),
	],
	['kill', [{ id: 'a', replicas: 2, slots: streams }], async (daemon) => void process.kill(engineOf(daemon, 'a-0'), 'SIGKILL')],
];

const rows: Row[] = [];
for (const [event, pools, happens, more = 0] of events) {
	const bench = new Bench();
	const folder = mkdtempSync(join(tmpdir(), 'lifecycle-'));
	const record = join(folder, 'made.tsv');
	const scripted = { prefill_tokens_per_s: 1e9, decode_tokens_per_s: rate, tokens, record };
	try {
		const daemon = await bench.daemon({
			pools: pools.map((pool) => ({
				engine: 'scripted',
				model: 'scripted:same',
				aliases: ['default'],
				ctx: tokens + 64,
				scripted,
				...pool,
			})),
			limits: { watchers_per_key: 2 * streams },
		});
		let begun = 0;
		let allBegun: () => void = () => undefined;
		const ready = new Promise<void>((resolve) => {
			allBegun = resolve;
		});
		const all = Array.from({ length: streams }, (_, seed) =>
			stream(daemon, seed, () => {
				begun += 1;
				if (begun === streams) allBegun();
			}),
		);
		await ready;
		await happens(daemon);
		for (let seed = streams; seed < streams + more; seed += 1) all.push(stream(daemon, seed, () => undefined));
		const seen = await Promise.all(all);
		if (event === 'reload') await reloaded(daemon);
		rows.push(judge(event, seen, readFileSync(record, 'utf8').trim()));
	} finally {
		await bench.close();
		rmSync(folder, { recursive: true, force: true });
	}
}
const number = (of: (row: Row) => number) => (row: Row) => String(of(row));
const text = [
	`lifecycle: ${streams} live streams of ${tokens} tokens, ${rate}/s each, beside what the engines have on record; ${machine()}`,
	table(rows, [
		{ title: 'event', cell: (row) => row.event },
		{ title: 'moved', cell: number((row) => row.moved) },
		{ title: 'lost', cell: number((row) => row.lost) },
		{ title: 'repeated', cell: number((row) => row.repeated) },
		{ title: 'reordered', cell: number((row) => row.reordered) },
		{ title: 'other', cell: number((row) => row.other) },
		{ title: 'failed', cell: number((row) => row.failed) },
	]),
].join('\n\n');
report('lifecycle', text, options.json, { rows });
const isWrong = (row: Row): boolean =>
	row.lost + row.repeated + row.reordered + row.other + row.failed > 0 || (movers.has(row.event) && row.moved === 0);
if (rows.some(isWrong)) process.exitCode = 1;
