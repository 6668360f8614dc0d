/**
 * Catalog: how fast files are hashed, and how fast a page of models is read.
 *
 * Operation `digest`: SHA-256 of a file in the page cache, by the function that the pool's threads run; `openssl`: the same file by
 * `openssl dgst -sha256`; both on one core, one after the other in each round; unit MiB of the file for each second of CPU that the process
 * took for it. `together`: as many files at once as threads on the daemon's pool, MiB/s of wall time. Operation `page`: 100 of 10 000 models
 * out of the store as the body of an answer, ms. Not measured: the disk, and HTTP.
 *
 *   node dist/bench/digest.js [--mib 256] [--runs 5] [--json FILE]
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { open } from 'lmdb';
import { Catalog } from '../src/actors/catalog/catalog.ts';
import { CatalogStore } from '../src/actors/catalog/catalog-store.ts';
import { digestFile } from '../src/actors/catalog/file-digest.ts';
import type { CatalogAnswer } from '../src/actors/serving/catalog-messages.ts';
import { packageRoot } from '../src/config-root.ts';
import { fileJobs } from '../src/file-jobs.ts';
import { figure, machine, quantiles, report, spread, table } from './report.ts';

const { values: options } = parseArgs({
	options: { mib: { type: 'string', default: '256' }, runs: { type: 'string', default: '5' }, json: { type: 'string' } },
});
const mib = Number(options.mib);
const runs = Number(options.runs);
const models = 10_000;
const folder = mkdtempSync(join(tmpdir(), 'orchestratord-bench-'));

function cpuSeconds(work: () => void): number {
	const before = process.cpuUsage();
	work();
	const { user, system } = process.cpuUsage(before);
	return (user + system) / 1e6;
}

/** Of openssl: what the shell says that its child took. */
function opensslSeconds(file: string): number {
	const { stderr, status } = spawnSync('bash', ['-c', `TIMEFORMAT='%U %S'; time openssl dgst -sha256 "$0" >/dev/null`, file], {
		encoding: 'utf8',
	});
	if (status !== 0) throw new Error(`openssl: ${stderr}`);
	return stderr
		.trim()
		.split(/\s+/)
		.reduce((sum, part) => sum + Number(part), 0);
}

function page(catalog: Catalog, after: string | null): string {
	let json = '';
	catalog.answer({ type: 'list-models', limit: 100, after }, (answer: CatalogAnswer) => {
		json = answer.ok ? answer.json : '';
	});
	return json;
}

const file = join(folder, 'file.bin');
writeFileSync(file, Buffer.alloc(mib * 1024 * 1024, 'orchestratord'));
digestFile(file);
const ours: number[] = [];
const theirs: number[] = [];
for (let run = 0; run < runs; run += 1) {
	ours.push(mib / cpuSeconds(() => digestFile(file)));
	theirs.push(mib / opensslSeconds(file));
}

const threads = Math.min(4, availableParallelism());
const jobs = fileJobs(threads);
const hashed = (): Promise<unknown> => new Promise((resolve) => jobs.digest(file, resolve));
await Promise.all(Array.from({ length: threads }, hashed));
const from = performance.now();
await Promise.all(Array.from({ length: threads }, hashed));
const together = (threads * mib) / ((performance.now() - from) / 1000);

const storeFolder = join(folder, 'store');
let store = new CatalogStore(storeFolder);
const none = () => undefined;
const noSources = {
	hf: { endpoint: '', token: null },
	s3: { endpoint: null, region: '', keys: null },
	oci: [],
	caRoots: [],
	redirectHosts: [],
};
const openRules = {
	mode: 'permissive',
	allowedRegistries: [],
	requireSignature: false,
	requireSbom: false,
	caRoots: [],
	publicKeys: [],
	identities: [],
	trustedRoot: null,
	fingerprint: '',
} as const;
const telemetry = { count: none, gauge: none, observe: none, expect: none, log: none };
const catalogOf = (of: CatalogStore): Catalog =>
	new Catalog(
		of,
		{
			digest: jobs.digest,
			gguf: jobs.gguf,
			wallNow: () => 0,
			changed: none,
			trust: none,
			remove: none,
			fetch: () => none,
			pullsMax: 1,
			telemetry,
		},
		{ allowed: false, root: folder, quotaBytes: 0, sources: noSources, trust: openRules },
	);
let catalog = catalogOf(store);
const builtin = `file:${join(packageRoot(), 'models', 'tiny-chat.gguf')}`;
await new Promise((resolve) =>
	catalog.answer({ type: 'add-model', ref: builtin, id: 'model', digest: null, tags: [], signatures: [], sbom: null }, resolve),
);
await new Promise<void>((resolve) => catalog.whenSettled(resolve));
const entry = store.get('model');
if (entry === null) throw new Error('the built-in model was not taken in');
await store.close();
// One transaction: what is measured is reading.
const raw = open<string, string>({ path: storeFolder, encoding: 'string', maxDbs: 8 });
const rows = raw.openDB<string, string>({ name: 'models', encoding: 'string' });
raw.transactionSync(() => {
	for (let index = 0; index < models; index += 1) {
		const id = `model-${String(index).padStart(5, '0')}`;
		rows.putSync(id, JSON.stringify({ ...entry, id }));
	}
});
await raw.close();
store = new CatalogStore(storeFolder);
catalog = catalogOf(store);
const pageMs: number[] = [];
for (let run = 0; run < 200; run += 1) {
	const after = `model-${String((run * 47) % (models - 100)).padStart(5, '0')}`;
	const began = performance.now();
	const json = page(catalog, after);
	pageMs.push(performance.now() - began);
	if ((JSON.parse(json) as { models: unknown[] }).models.length !== 100) throw new Error('not a page of 100');
}
await jobs.close();
await store.close();
rmSync(folder, { recursive: true });

const ratios = ours.map((each, index) => each / (theirs[index] ?? Number.NaN));
const [pageMid, pageLate] = quantiles(pageMs, [0.5, 0.99]) as [number, number];
const text = table(
	[
		['digest, MiB/s of a core', spread(ours)],
		['openssl dgst -sha256, MiB/s of a core', spread(theirs)],
		['digest to openssl', spread(ratios, 2)],
		[`together, ${threads} files, MiB/s`, figure(together)],
		[`page of 100 of ${figure(models)} models, ms, median (99 %)`, `${figure(pageMid, 2)} (${figure(pageLate, 2)})`],
	],
	[
		{ title: 'what', cell: ([what]) => what ?? '' },
		{ title: machine(), cell: ([, value]) => value ?? '' },
	],
);
report('digest', text, options.json, { mib, ours, theirs, ratios, together, pageMs });
