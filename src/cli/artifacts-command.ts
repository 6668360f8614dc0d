/** `artifacts`: texts that the daemon keeps under the SHA-256 of them, transcripts included: list, print, add, delete. */
import { readFileSync } from 'node:fs';
import { type Command, InvalidArgumentError, type Option } from 'commander';
import { type DaemonClient, daemonClient, getJson, type JsonObject, number, objects, postJson, text, told } from './daemon-client.ts';
import { type ExitCode, exitCodes } from './exit-codes.ts';
import { Problem } from './problem.ts';
import { table } from './table.ts';
import type { Terminal } from './terminal.ts';

const path = '/v2/artifacts';
const pageSize = 1000;

export interface ArtifactFilter {
	readonly kind: string | null;
	readonly tag: string | null;
	readonly limit: number;
}

/** The newest first. */
export async function listArtifacts(
	client: DaemonClient,
	{ kind, tag, limit }: ArtifactFilter,
	json: boolean,
	terminal: Terminal,
): Promise<ExitCode> {
	const found: JsonObject[] = [];
	for (let cursor: string | null = ''; cursor !== null && found.length < limit; ) {
		const query = new URLSearchParams({ limit: String(Math.min(pageSize, limit - found.length)) });
		if (kind !== null) query.set('kind', kind);
		if (tag !== null) query.set('tag', tag);
		if (cursor !== '') query.set('cursor', cursor);
		const page: JsonObject = await getJson(client, `${path}?${query.toString()}`);
		found.push(...objects(page['artifacts']));
		cursor = text(page['next_cursor']) || null;
	}
	if (json) for (const artifact of found) terminal.out(`${JSON.stringify(artifact)}\n`);
	else terminal.out(table([['ARTIFACT', 'KIND', 'BYTES', 'CREATED', 'TAGS'], ...found.map(row)]));
	return exitCodes.ok;
}

/** Its content as it is, or with `json` all that is known of it. */
export async function showArtifact(client: DaemonClient, id: string, json: boolean, terminal: Terminal): Promise<ExitCode> {
	const artifact = await getJson(client, `${path}/${encodeURIComponent(id)}`);
	const content = text(artifact['content']);
	if (json) terminal.out(`${JSON.stringify(artifact)}\n`);
	else terminal.out(terminal.safe(content.endsWith('\n') ? content : `${content}\n`));
	return exitCodes.ok;
}

export interface NewArtifact {
	readonly kind: string;
	readonly tags: readonly string[];
	readonly parent: string | null;
}

/** `file`: `-` is what comes in. */
export async function addArtifact(
	client: DaemonClient,
	file: string,
	{ kind, tags, parent }: NewArtifact,
	json: boolean,
	terminal: Terminal,
): Promise<ExitCode> {
	const content = file === '-' ? await terminal.readAll() : readText(file);
	const artifact = await postJson(client, path, { kind, content, tags, ...(parent === null ? {} : { parent }) });
	terminal.out(json ? `${JSON.stringify(artifact)}\n` : `${text(artifact['id'])}\n`);
	return exitCodes.ok;
}

export async function removeArtifact(client: DaemonClient, id: string, terminal: Terminal): Promise<ExitCode> {
	await told(client.api.http.ask(`${path}/${encodeURIComponent(id)}`, { method: 'DELETE' }));
	terminal.out(`${id} is deleted\n`);
	return exitCodes.ok;
}

function readText(file: string): string {
	try {
		return readFileSync(file, 'utf8');
	} catch (error) {
		throw new Problem(exitCodes.usage, `cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`);
	}
}

function row(artifact: JsonObject): string[] {
	const created = number(artifact['created_ms']);
	const tags = Array.isArray(artifact['tags']) ? artifact['tags'].join(', ') : '';
	return [
		text(artifact['id']),
		text(artifact['kind']),
		String(number(artifact['size_bytes']) ?? ''),
		created === null ? '' : new Date(created).toISOString(),
		tags === '' ? '-' : tags,
	];
}

interface Flags {
	readonly json: boolean;
	readonly url: string;
}

/** `urlOption` as the other commands have it. */
export function addArtifacts(program: Command, terminal: Terminal, done: (code: number) => void, urlOption: () => Option): void {
	const artifacts = program.command('artifacts').description('texts that the daemon keeps: plans, summaries, transcripts of tasks');
	const command = (name: string, description: string): Command =>
		artifacts.command(name).description(description).option('--json', 'the whole answer', false).addOption(urlOption());
	artifacts
		.command('ls', { isDefault: true })
		.alias('list')
		.description('list the artifacts, the newest first')
		.option('--kind <kind>', 'only those of this kind')
		.option('--tag <tag>', 'only those with this tag, such as task:ID of a transcript')
		.option('--limit <n>', 'how many', wholeNumber, 100)
		.option('--json', 'one JSON object a line', false)
		.addOption(urlOption())
		.action(async ({ kind, tag, limit, json, url }: Flags & { kind?: string; tag?: string; limit: number }) => {
			done(await listArtifacts(daemonClient(url), { kind: kind ?? null, tag: tag ?? null, limit }, json, terminal));
		});
	command('show', 'print the content of an artifact')
		.argument('<id>')
		.action(async (id: string, { json, url }: Flags) => done(await showArtifact(daemonClient(url), id, json, terminal)));
	command('add', 'keep a text, and print its id')
		.argument('<file>', '- is standard input')
		.option('--kind <kind>', 'what it is', 'other')
		.option('--tag <word...>', 'words of your own')
		.option('--parent <id>', 'the artifact that it was made from')
		.action(async (file: string, { kind, tag, parent, json, url }: Flags & { kind: string; tag?: string[]; parent?: string }) => {
			done(await addArtifact(daemonClient(url), file, { kind, tags: tag ?? [], parent: parent ?? null }, json, terminal));
		});
	artifacts
		.command('rm')
		.description('delete an artifact')
		.argument('<id>')
		.addOption(urlOption())
		.action(async (id: string, { url }: { url: string }) => done(await removeArtifact(daemonClient(url), id, terminal)));
}

function wholeNumber(value: string): number {
	if (!/^[1-9]\d{0,8}$/.test(value)) throw new InvalidArgumentError('it must be a whole number from 1 on.');
	return Number(value);
}
