/** `pools`: what the pools of a daemon are doing, how to empty one, and how to give it another model. */
import { type DaemonClient, getJson, isObject, type JsonObject, number, objects, postJson, text } from './daemon-client.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { table } from './table.ts';
import type { Terminal } from './terminal.ts';

export async function listPools(client: DaemonClient, json: boolean, terminal: Terminal): Promise<ExitCode> {
	const pools = objects((await getJson(client, '/v2/pools'))['pools']);
	if (json) for (const pool of pools) terminal.out(`${JSON.stringify(pool)}\n`);
	else terminal.out(table([['POOL', 'ENGINE', 'MODEL', 'STATE', 'SLOTS', 'QUEUED', 'LAST ERROR'], ...pools.map(row)]));
	return exitCodes.ok;
}

export async function poolHealth(client: DaemonClient, poolId: string, json: boolean, terminal: Terminal): Promise<ExitCode> {
	const health = await getJson(client, `${pathOf(poolId)}/health`);
	const ready = health['ready'] === true;
	if (json) terminal.out(`${JSON.stringify(health)}\n`);
	else {
		const metrics = isObject(health['metrics']) ? health['metrics'] : {};
		const state = ready ? 'ready' : health['draining'] === true ? 'draining' : health['live'] === true ? 'not ready' : 'down';
		const free = `${number(metrics['slots_free']) ?? 0} of ${number(metrics['slots_total']) ?? 0} slots free`;
		const error = text(health['last_error']);
		const load = readyIn(health);
		const soon = load === '' ? '' : `, ready in about ${load}`;
		terminal.out(
			`${poolId} is ${state}${soon}: ${free}, ${number(metrics['queue_depth']) ?? 0} queued${error === '' ? '' : `; last error: ${error}`}\n`,
		);
	}
	return ready ? exitCodes.ok : exitCodes.retryLater;
}

export async function drainPool(
	client: DaemonClient,
	poolId: string,
	deadlineMs: number | null,
	json: boolean,
	terminal: Terminal,
): Promise<ExitCode> {
	const answer = await postJson(client, `${pathOf(poolId)}/drain`, deadlineMs === null ? {} : { deadline_ms: deadlineMs });
	const seconds = ((number(answer['deadline_ms']) ?? 0) / 1000).toFixed(1);
	tell(terminal, json ? answer : `${poolId} is draining: no task starts there, running ones may go on for ${seconds} s`);
	return exitCodes.ok;
}

export async function undrainPool(client: DaemonClient, poolId: string, json: boolean, terminal: Terminal): Promise<ExitCode> {
	const answer = await postJson(client, `${pathOf(poolId)}/undrain`, {});
	tell(terminal, json ? answer : `${poolId} takes tasks again`);
	return exitCodes.ok;
}

/** Waits until it is done, however long the model takes to load: the exit code says whether it serves. */
export async function reloadPool(
	client: DaemonClient,
	poolId: string,
	model: string,
	json: boolean,
	terminal: Terminal,
	lookAgainMs = 500,
): Promise<ExitCode> {
	// By the name that the daemon has for it.
	const wanted = text((await postJson(client, `${pathOf(poolId)}/reload`, { new_model_ref: model }))['new_model_ref']) || model;
	terminal.note(`${poolId} is being reloaded with ${wanted}`);
	const pool = await settled(client, poolId, lookAgainMs);
	const serves = text(pool['model']) === wanted;
	if (json) tell(terminal, pool);
	else if (serves) tell(terminal, `${poolId} serves ${wanted}`);
	else terminal.say(text(pool['last_error']) || `${poolId} serves ${text(pool['model'])}`);
	return serves ? exitCodes.ok : exitCodes.failure;
}

export interface PurgeOptions {
	/** Of the pool, to be loaded anew; empty: whatever it has. */
	readonly models: readonly string[];
	/** False: refused while tasks run, unless it is forced. */
	readonly drainFirst: boolean;
	readonly force: boolean;
	/** What managed engines have cached on the disk, too. */
	readonly deleteCaches: boolean;
}

/** Waits until each engine is back: the exit code says whether the pool serves. */
export async function purgePool(
	client: DaemonClient,
	poolId: string,
	{ models, drainFirst, force, deleteCaches }: PurgeOptions,
	json: boolean,
	terminal: Terminal,
	lookAgainMs = 500,
): Promise<ExitCode> {
	const asked = models.length === 0 ? {} : { purge_models: models };
	const body = { ...asked, drain_first: drainFirst, force, delete_cache_dirs: deleteCaches };
	const { cache_dirs: caches } = await postJson(client, `${pathOf(poolId)}/purge`, body);
	terminal.note(`${poolId} is being purged: each engine starts anew when its last task has ended`);
	if (deleteCaches) {
		const dirs = Array.isArray(caches) ? caches : [];
		terminal.note(dirs.length === 0 ? 'its engines cache nothing on the disk' : `deleting ${dirs.join(', ')}`);
	}
	const pool = await settled(client, poolId, lookAgainMs);
	const serves = text(pool['state']) === 'ready';
	if (json) tell(terminal, pool);
	else if (serves) tell(terminal, `${poolId} serves again, with nothing in its caches`);
	else terminal.say(text(pool['last_error']) || `${poolId} is ${text(pool['state'])}`);
	return serves ? exitCodes.ok : exitCodes.failure;
}

/** The pool, once nothing of it is being started anew. */
async function settled(client: DaemonClient, poolId: string, lookAgainMs: number): Promise<JsonObject> {
	let pool = await getJson(client, pathOf(poolId));
	while (text(pool['reloading_to']) !== '') {
		await new Promise((resolve) => setTimeout(resolve, lookAgainMs));
		pool = await getJson(client, pathOf(poolId));
	}
	return pool;
}

function tell(terminal: Terminal, what: string | JsonObject): void {
	terminal.out(`${typeof what === 'string' ? what : JSON.stringify(what)}\n`);
}

function pathOf(poolId: string): string {
	return `/v2/pools/${encodeURIComponent(poolId)}`;
}

/** Of a pool that is ready, or of which nobody knows: nothing. */
function readyIn(pool: JsonObject): string {
	const ms = number(pool['ready_in_ms']);
	return ms === null ? '' : `${(ms / 1000).toFixed(1)} s`;
}

function row(pool: JsonObject): string[] {
	const depth = isObject(pool['queue_depth']) ? pool['queue_depth'] : {};
	const total = number(pool['slots_total']) ?? 0;
	return [
		text(pool['pool_id']),
		text(pool['engine']),
		text(pool['model']),
		pool['draining'] === true ? 'draining' : [text(pool['state']), readyIn(pool)].filter((word) => word !== '').join(', '),
		`${total - (number(pool['slots_free']) ?? 0)}/${total}`,
		String((number(depth['interactive']) ?? 0) + (number(depth['batch']) ?? 0)),
		text(pool['last_error']) || '-',
	];
}
