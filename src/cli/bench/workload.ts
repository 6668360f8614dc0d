/**
 * What a benchmark asks: prompts of made words with lengths of a distribution or of a trace. Lengths are in words, which most
 * tokenizers make one token each; what is reported is what the server counted. Pure.
 */
import { normal, seeded } from './arrivals.ts';

export interface BenchRequest {
	/** Ms from the start; null: as the arrivals say. */
	readonly atMs: number | null;
	readonly prompt: string;
	readonly inputWords: number;
	readonly outputTokens: number;
	readonly tenant: string | null;
}

export interface WorkloadOptions {
	readonly dataset: 'random' | 'sharegpt' | 'trace';
	readonly count: number;
	readonly inputLen: number;
	readonly outputLen: number;
	/** Upper bounds of what a dataset draws. */
	readonly inputMax: number;
	readonly outputMax: number;
	readonly tenants: readonly string[];
	readonly seed: number;
}

const words =
	'time year day way man thing woman life child world school state family hand part place case week night point home water room mother area money story fact month lot right study book eye job word side kind head house friend hour game line end car law door body face level office art war party result change morning reason girl guy food air teacher force'.split(
		' ',
	);

/** Of a trace (the FAST'25 traces of Mooncake): a block of so many tokens has one hash. */
const blockWords = 512;

export function workloadOf(options: WorkloadOptions, trace: string | null): readonly BenchRequest[] {
	if (options.dataset === 'trace') return traceOf(options, trace ?? '');
	const random = seeded(options.seed);
	return Array.from({ length: options.count }, (_none, index) => {
		const inputWords = options.dataset === 'random' ? options.inputLen : lognormal(random, 4.6, 1.3, 4, options.inputMax);
		const outputTokens = options.dataset === 'random' ? options.outputLen : lognormal(random, 5.0, 0.9, 4, options.outputMax);
		return { atMs: null, prompt: sentence(inputWords, random), inputWords, outputTokens, tenant: tenantOf(options, index) };
	});
}

/** Lengths like those of conversations that people share: many short ones, a long tail. */
function lognormal(random: () => number, mu: number, sigma: number, min: number, max: number): number {
	return Math.min(max, Math.max(min, Math.round(Math.exp(mu + sigma * normal(random)))));
}

/**
 * JSON lines `{timestamp, input_length, output_length, hash_ids}`: ms, tokens, tokens, and one number for each block of the prompt; two
 * prompts that begin with the same numbers begin with the same text. Throws a `RangeError` that names the line.
 */
function traceOf(options: WorkloadOptions, text: string): readonly BenchRequest[] {
	const lines = text.split('\n').filter((line) => line.trim() !== '');
	const rows = lines.slice(0, options.count).map((line, index) => rowOf(line, index + 1));
	const first = rows[0]?.timestamp ?? 0;
	return rows.map(({ timestamp, input, output, hashes }, index) => {
		const inputWords = Math.min(options.inputMax, input);
		return {
			atMs: timestamp - first,
			prompt: hashes === null ? sentence(inputWords, seeded(options.seed + index)) : blocks(hashes, inputWords, options.seed),
			inputWords,
			outputTokens: Math.min(options.outputMax, output),
			tenant: tenantOf(options, index),
		};
	});
}

function rowOf(line: string, number: number) {
	const bad = (what: string): RangeError => new RangeError(`line ${number} of the trace ${what}`);
	let row: unknown;
	try {
		row = JSON.parse(line);
	} catch {
		throw bad('is no JSON');
	}
	if (typeof row !== 'object' || row === null) throw bad('is no object');
	const { timestamp, input_length: input, output_length: output, hash_ids: hashes } = row as Readonly<Record<string, unknown>>;
	if (!isCount(timestamp)) throw bad('has no timestamp in ms');
	if (!isCount(input) || input === 0) throw bad('has no input_length in tokens');
	if (!isCount(output) || output === 0) throw bad('has no output_length in tokens');
	const isHashes = Array.isArray(hashes) && hashes.every(isCount);
	if (hashes !== undefined && !isHashes) throw bad('has hash_ids that are no list of numbers');
	return { timestamp, input, output, hashes: isHashes ? (hashes as readonly number[]) : null };
}

function blocks(hashes: readonly number[], length: number, seed: number): string {
	const parts: string[] = [];
	for (let left = length, block = 0; left > 0; left -= blockWords, block += 1) {
		parts.push(sentence(Math.min(left, blockWords), seeded(seed ^ Math.imul((hashes[block] ?? block) + 1, 0x9e3779b1))));
	}
	return parts.join(' ');
}

function sentence(length: number, random: () => number): string {
	return Array.from({ length }, () => words[Math.floor(random() * words.length)]).join(' ');
}

function tenantOf({ tenants }: WorkloadOptions, index: number): string | null {
	return tenants.length === 0 ? null : (tenants[index % tenants.length] ?? null);
}

function isCount(value: unknown): value is number {
	return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}
