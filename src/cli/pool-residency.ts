/** `pools load` and `pools unload`: models that are loaded on demand, in and out of memory by hand. */
import type { Command, Option } from 'commander';
import { type DaemonClient, daemonClient, getJson, postJson, text } from './daemon-client.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import type { Terminal } from './terminal.ts';

/** Waits until it is loaded, however long others are in the way: the exit code says whether it is. */
export async function loadPool(
	client: DaemonClient,
	poolId: string,
	json: boolean,
	terminal: Terminal,
	lookAgainMs = 500,
): Promise<ExitCode> {
	await postJson(client, `${pathOf(poolId)}/load`, {});
	terminal.note(`${poolId} is being loaded`);
	let pool = await getJson(client, pathOf(poolId));
	while (text(pool['state']) !== 'ready' && text(pool['state']) !== 'failed') {
		await new Promise((resolve) => setTimeout(resolve, lookAgainMs));
		pool = await getJson(client, pathOf(poolId));
	}
	const loaded = text(pool['state']) === 'ready';
	if (json) terminal.out(`${JSON.stringify(pool)}\n`);
	else if (loaded) terminal.out(`${poolId} is loaded\n`);
	else terminal.say(text(pool['last_error']) || `${poolId} has failed`);
	return loaded ? exitCodes.ok : exitCodes.failure;
}

/** Does not wait: a task may run for long. */
export async function unloadPool(client: DaemonClient, poolId: string, json: boolean, terminal: Terminal): Promise<ExitCode> {
	const answer = await postJson(client, `${pathOf(poolId)}/unload`, {});
	terminal.out(json ? `${JSON.stringify(answer)}\n` : `${poolId} is unloaded behind its last task\n`);
	return exitCodes.ok;
}

function pathOf(poolId: string): string {
	return `/v2/pools/${encodeURIComponent(poolId)}`;
}

/** `urlOption` as the other commands have it. */
export function addResidency(pools: Command, terminal: Terminal, done: (code: number) => void, urlOption: () => Option): void {
	const command = (name: string, description: string): Command =>
		pools.command(name).description(description).argument('<pool_id>').addOption(urlOption());
	command('load', 'load the model of a pool that is loaded on demand, before a task comes')
		.option('--json', 'the pool as it is afterwards', false)
		.action(async (poolId: string, { json, url }: Flags) => done(await loadPool(daemonClient(url), poolId, json, terminal)));
	command('unload', 'unload the model of a pool that is loaded on demand, behind its last running task')
		.option('--json', 'the whole answer', false)
		.action(async (poolId: string, { json, url }: Flags) => done(await unloadPool(daemonClient(url), poolId, json, terminal)));
}

interface Flags {
	readonly json: boolean;
	readonly url: string;
}
