/**
 * What `serve` prints once it serves: what runs where, and one line to try. Pure text; says only what the daemon reported
 * of itself.
 */
import type { Formatter } from 'picocolors/types.js';

/** What the running daemon knows of itself. */
export interface DaemonFacts {
	readonly version: string;
	/** Where clients reach it, with the port really bound. */
	readonly url: string;
	/** `uws` or `node`. */
	readonly httpHost: string;
	readonly threads: { readonly front: number; readonly control: number; readonly engine: number };
	/** Null without a file. */
	readonly configFile: string | null;
	readonly pools: readonly PoolFacts[];
	/** What else a person should know; null: nothing. */
	readonly hint: string | null;
}

export interface PoolFacts {
	readonly id: string;
	readonly engine: string;
	/** Null until a replica has told. */
	readonly engineVersion: string | null;
	readonly model: string;
	readonly aliases: readonly string[];
	readonly replicas: number;
	readonly slots: number;
	/** Tokens of a slot; null until a replica has told. */
	readonly ctx: number | null;
	/** `CPU (1 thread)`, `GPU 0`; null until a replica has told. */
	readonly device: string | null;
	/** Its engine is ours, and would take a GPU. */
	readonly mayUseGpu: boolean;
	/** Its model is loaded when a task comes. */
	readonly onDemand: boolean;
	/** Why it does not serve (yet); null when it is ready. */
	readonly trouble: string | null;
}

export interface Paint {
	readonly bold: Formatter;
	readonly dim: Formatter;
	readonly red: Formatter;
	readonly cyan: Formatter;
}

export function banner(facts: DaemonFacts, paint: Paint): string {
	const rows: [string, string][] = [];
	const threads = [count(facts.threads.front, 'front'), count(facts.threads.control, 'control'), count(facts.threads.engine, 'engine')];
	rows.push(['threads', `main, ${threads.join(', ')} (HTTP by ${facts.httpHost})`]);
	rows.push(['config', facts.configFile ?? 'built-in defaults (no file)']);
	for (const pool of facts.pools) {
		const engine = pool.engineVersion === null ? pool.engine : `${pool.engine} ${pool.engineVersion}`;
		rows.push(['pool', `${paint.bold(pool.id)}: ${pool.model}${namesOf(pool)}`]);
		const size = pool.ctx === null ? '' : ` of ${pool.ctx} tokens`;
		rows.push([
			'',
			`${engine} on ${pool.device ?? 'its device'}, ${count(pool.replicas, 'replica')} with ${count(pool.slots, 'slot')}${size}${pool.onDemand ? ', loaded on demand' : ''}`,
		]);
		if (pool.trouble !== null) rows.push(['', paint.red(`does not serve yet: ${pool.trouble}`)]);
	}
	if (facts.hint !== null) rows.push(['note', paint.red(facts.hint)]);
	const port = new URL(facts.url).port;
	const where = port === '8080' ? '' : ` --url ${facts.url}`;
	const model =
		facts.pools.find((pool) => pool.aliases.includes('default')) === undefined
			? ` --model ${facts.pools[0]?.aliases[0] ?? facts.pools[0]?.model ?? ''}`
			: '';
	rows.push(['try', paint.cyan(`npx orchestratord run${where}${model} "Tell me a story about a fox"`)]);
	const lines = rows.map(([label, text]) => `  ${paint.dim(label.padEnd(8))} ${text}`);
	const serves = facts.pools.some((pool) => pool.trouble === null);
	const state = serves ? 'is ready on' : paint.red('cannot serve a model yet; it listens on');
	return `${paint.bold(`orchestratord ${facts.version}`)} ${state} ${paint.bold(facts.url)}\n${lines.join('\n')}\n`;
}

function namesOf(pool: PoolFacts): string {
	return pool.aliases.length === 0 ? '' : `, asked for as ${pool.aliases.map((alias) => JSON.stringify(alias)).join(' or ')}`;
}

function count(n: number, what: string): string {
	return `${n} ${what}${n === 1 ? '' : 's'}`;
}
