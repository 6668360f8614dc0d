/** `models`: what the daemon knows of models, fetching them, taking files in, having their bytes verified, retiring and forgetting them. */
import { type Command, type Option } from 'commander';
import {
	type DaemonClient,
	daemonClient,
	getJson,
	isObject,
	type JsonObject,
	number,
	objects,
	postJson,
	text,
	told,
} from './daemon-client.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { type AddFlags, type AddOptions, addBody, addOptionsOf, refOf, withAddOptions } from './models-add.ts';
import { pullModel } from './models-pull.ts';
import { byteSize } from './sizes.ts';
import { table } from './table.ts';
import type { Terminal } from './terminal.ts';

const path = '/v2/catalog/models';
const pageSize = 1000;

export async function listModels(client: DaemonClient, json: boolean, terminal: Terminal): Promise<ExitCode> {
	const models: JsonObject[] = [];
	for (let cursor: string | null = ''; cursor !== null; ) {
		const page: JsonObject = await getJson(
			client,
			`${path}?limit=${pageSize}${cursor === '' ? '' : `&cursor=${encodeURIComponent(cursor)}`}`,
		);
		models.push(...objects(page['models']));
		cursor = text(page['next_cursor']) || null;
	}
	if (json) for (const model of models) terminal.out(`${JSON.stringify(model)}\n`);
	else terminal.out(table([['MODEL', 'STATE', 'VERIFIED', 'SIZE', 'ARCHITECTURE', 'QUANTIZATION', 'TAGS'], ...models.map(row)]));
	return exitCodes.ok;
}

export async function showModel(client: DaemonClient, id: string, json: boolean, terminal: Terminal): Promise<ExitCode> {
	const model = await getJson(client, pathOf(id));
	if (json) {
		terminal.out(`${JSON.stringify(model)}\n`);
		return exitCodes.ok;
	}
	const gguf = isObject(model['gguf']) ? model['gguf'] : {};
	const lines: [string, string][] = [
		['id', text(model['id'])],
		['state', text(model['state'])],
		['source', text(model['source_url'])],
		['digest', text(model['digest']) || 'not hashed yet'],
		['verification', text(model['verification'])],
		['problem', text(model['problem'])],
		['signed by', list(model['signed_by'])],
		['SBOM', text(model['sbom'])],
		...objects(model['trust_problems']).map((problem): [string, string] => ['trust', text(problem['words'])]),
		['size', byteSize(model['size_bytes'])],
		['architecture', text(gguf['architecture'])],
		['parameters', String(number(gguf['parameters']) ?? '')],
		['context', String(number(gguf['context_length']) ?? '')],
		['quantization', text(gguf['quantization'])],
		['chat template', isObject(model['gguf']) ? (text(gguf['chat_template']) === '' ? 'none' : 'yes') : ''],
	];
	terminal.out(table(lines.filter(([, value]) => value !== '')));
	return exitCodes.ok;
}

/** Waits until its bytes have been hashed: the exit code says whether they are what they should be. */
export async function importModel(
	client: DaemonClient,
	file: string,
	options: AddOptions,
	json: boolean,
	terminal: Terminal,
	lookAgainMs = 300,
): Promise<ExitCode> {
	const model = await postJson(client, path, addBody(refOf(file), options));
	return await hashed(client, text(model['id']), json, terminal, lookAgainMs);
}

/** As `import` does. */
export async function verifyModel(
	client: DaemonClient,
	id: string,
	json: boolean,
	terminal: Terminal,
	lookAgainMs = 300,
): Promise<ExitCode> {
	await postJson(client, `${pathOf(id)}/verify`, {});
	return await hashed(client, id, json, terminal, lookAgainMs);
}

export async function setModelState(
	client: DaemonClient,
	id: string,
	state: 'Active' | 'Retired',
	deadlineMs: number | null,
	json: boolean,
	terminal: Terminal,
): Promise<ExitCode> {
	const model = await postJson(client, `${pathOf(id)}/state`, { state, ...(deadlineMs === null ? {} : { deadline_ms: deadlineMs }) });
	const words = state === 'Retired' ? 'is retired: its tasks are refused, and its pools are drained' : 'is active again';
	terminal.out(json ? `${JSON.stringify(model)}\n` : `${id} ${words}\n`);
	return exitCodes.ok;
}

export async function removeModel(client: DaemonClient, id: string, terminal: Terminal): Promise<ExitCode> {
	const fetched = text((await getJson(client, pathOf(id)))['folder']) !== '';
	await told(client.api.http.ask(pathOf(id), { method: 'DELETE' }));
	terminal.out(`${id} is forgotten${fetched ? ', and what was fetched for it is gone' : '; its file is where it was'}\n`);
	return exitCodes.ok;
}

export async function cancelPull(client: DaemonClient, id: string, terminal: Terminal): Promise<ExitCode> {
	await told(client.api.http.ask(`${pathOf(id)}/pull`, { method: 'DELETE' }));
	terminal.out(`the pull of ${id} is called off\n`);
	return exitCodes.ok;
}

async function hashed(client: DaemonClient, id: string, json: boolean, terminal: Terminal, lookAgainMs: number): Promise<ExitCode> {
	let model = await getJson(client, pathOf(id));
	if (text(model['verification']) === 'pending') terminal.note(`${id} is being hashed`);
	while (text(model['verification']) === 'pending') {
		await new Promise((resolvePause) => setTimeout(resolvePause, lookAgainMs));
		model = await getJson(client, pathOf(id));
	}
	const verified = text(model['verification']) === 'verified';
	if (json) terminal.out(`${JSON.stringify(model)}\n`);
	else if (verified) terminal.out(`${id} is verified: ${text(model['digest'])}\n`);
	else terminal.say(text(model['problem']));
	return verified ? exitCodes.ok : exitCodes.failure;
}

function list(value: unknown): string {
	return Array.isArray(value) ? value.join(', ') : '';
}

function pathOf(id: string): string {
	return `${path}/${encodeURIComponent(id)}`;
}

function row(model: JsonObject): string[] {
	const gguf = isObject(model['gguf']) ? model['gguf'] : {};
	const verification = text(model['verification']);
	return [
		text(model['id']),
		text(model['state']),
		verification === 'verified' ? 'yes' : verification,
		byteSize(model['size_bytes']),
		text(gguf['architecture']) || '-',
		text(gguf['quantization']) || '-',
		Array.isArray(model['tags']) && model['tags'].length > 0 ? model['tags'].join(', ') : '-',
	];
}

interface Flags {
	readonly json: boolean;
	readonly url: string;
}

/** `urlOption` and `wholeNumber` as the other commands have them. */
export function addModels(
	program: Command,
	terminal: Terminal,
	done: (code: number) => void,
	urlOption: () => Option,
	wholeNumber: (minimum: number) => (value: string) => number,
): void {
	const models = program
		.command('models')
		.description('the models that the daemon knows: fetch them, take files in, verify, retire and forget them');
	const command = (name: string, description: string): Command =>
		models.command(name).description(description).option('--json', 'the whole answer', false).addOption(urlOption());
	models
		.command('ls', { isDefault: true })
		.alias('list')
		.description('list the models')
		.option('--json', 'one JSON object a line', false)
		.addOption(urlOption())
		.action(async ({ json, url }: Flags) => done(await listModels(daemonClient(url), json, terminal)));
	command('show', 'what is known of a model')
		.argument('<id>')
		.action(async (id: string, { json, url }: Flags) => done(await showModel(daemonClient(url), id, json, terminal)));
	withAddOptions(command('import', 'take a GGUF file in, and have it hashed; the exit code says whether it is verified'))
		.argument('<file>', 'a path on the machine of the daemon, or a file: ref')
		.action(async (file: string, flags: Flags & AddFlags) =>
			done(await importModel(daemonClient(flags.url), file, addOptionsOf(flags), flags.json, terminal)),
		);
	withAddOptions(command('pull', 'have the daemon fetch a model, and wait until it is here and verified'))
		.argument('<ref|id>', 'hf:org/repo/file.gguf, https://…, s3://…, oci://…, or what the catalog calls it')
		.option('--detach', 'return once it has begun', false)
		.action(async (name: string, flags: Flags & AddFlags & { detach: boolean }) => {
			const options = { ...addOptionsOf(flags), detach: flags.detach };
			done(await pullModel(daemonClient(flags.url), name, options, flags.json, terminal));
		});
	models
		.command('cancel')
		.description('call a pull off; the next one goes on behind what has come')
		.argument('<id>')
		.addOption(urlOption())
		.action(async (id: string, { url }: { url: string }) => done(await cancelPull(daemonClient(url), id, terminal)));
	command('verify', 'read the bytes of a model again; the exit code says what came of it')
		.argument('<id>')
		.action(async (id: string, { json, url }: Flags) => done(await verifyModel(daemonClient(url), id, json, terminal)));
	command('retire', 'refuse the tasks of a model, and drain its pools')
		.argument('<id>')
		.option('--deadline-ms <n>', 'how long running tasks may go on', wholeNumber(0))
		.action(async (id: string, { deadlineMs, json, url }: Flags & { deadlineMs?: number }) => {
			done(await setModelState(daemonClient(url), id, 'Retired', deadlineMs ?? null, json, terminal));
		});
	command('activate', 'take a retirement back')
		.argument('<id>')
		.action(async (id: string, { json, url }: Flags) => done(await setModelState(daemonClient(url), id, 'Active', null, json, terminal)));
	models
		.command('rm')
		.description('forget a model, with what was fetched for it; a file of yours stays')
		.argument('<id>')
		.addOption(urlOption())
		.action(async (id: string, { url }: { url: string }) => done(await removeModel(daemonClient(url), id, terminal)));
}
