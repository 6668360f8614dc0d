/**
 * Who may import whom. The table is the architecture: a line is added to it only together with a reason.
 */
import { posix } from 'node:path';
import { importsOf, type SourceFile } from './source-files.ts';

interface Layer {
	readonly name: string;
	readonly holds: RegExp;
	/** Files of ours that it may import. */
	readonly imports: readonly RegExp[];
	/** Modules of Node: all, or these. */
	readonly node: 'all' | readonly string[];
	readonly packages: 'all' | readonly string[];
	/** What to do instead. */
	readonly instead: string;
}

const kernel = /^src\/actors\/kernel\//;
const threads = /^src\/actors\/threads\//;
/**
 * What serving shows to the edges: messages, schemas, views, the ports that the edges implement with what stands in their records, and
 * the pure bounds of a prompt, which a preview needs before there is a task. Not its actors.
 */
const servingFace =
	/^src\/actors\/serving\/(messages|decode|engine-life|failure|task-request|task-directory|event-log-view|journal-record|journal-store|prefix|prompt-bounds|rate-limit|top-tokens|[a-z-]+-(schema|view|messages))\.ts$/;
const catalog = /^src\/actors\/catalog\//;
/** Messages between main and the thread that fetches, and what a digest is. */
const catalogFace = /^src\/actors\/catalog\/(fetch-messages|trust-messages|file-digest)\.ts$/;
const fetching = /^src\/fetch\//;
const serving = /^src\/actors\/serving\//;
/** What is on disk, and who may have it. */
const store = /^src\/store\//;
const namedLock = /^src\/named-lock\.ts$/;
const transport = /^src\/transport\//;
const engines = /^src\/engines\//;
const config = /^src\/config[a-z-]*\.ts$/;
const cli = /^src\/cli\//;
const client = /^src\/client\//;
/** Pure functions over words that know nothing of us. The words of a command are checked by the configuration and filled in by engines. */
const words = /^src\/(nearest|command-words|actors\/catalog\/model-(ref|parts))\.ts$/;

/** What a device is, as data and words: people are told of devices, too. The probe that looks comes to the command line through `CliEffects`. */
const deviceWords = /^src\/engines\/devices\.ts$/;

export const layers: readonly Layer[] = [
	{
		name: 'actors/kernel',
		holds: kernel,
		imports: [kernel],
		node: [],
		packages: [],
		instead: 'take it through the Host port, or as data; the kernel knows no threads, no I/O and no LLM words',
	},
	{
		name: 'actors/threads',
		holds: threads,
		imports: [kernel, threads],
		node: ['worker_threads', 'perf_hooks'],
		packages: ['comlink'],
		instead: 'make it generic over the message, or pass a function in from a role',
	},
	{
		name: 'actors/serving',
		holds: serving,
		imports: [kernel, serving],
		node: [],
		packages: ['@sinclair/typebox'],
		instead: 'tell an ActorRef or define a port here; clocks, timers and randomness come from ctx',
	},
	{
		name: 'actors/catalog',
		holds: catalog,
		imports: [kernel, servingFace, store, catalog, words],
		node: ['fs', 'fs/promises', 'crypto', 'path'],
		packages: ['@sinclair/typebox', 'lmdb'],
		instead: 'pass it in: what a file holds is read by an engine, threads are started by a role',
	},
	{
		name: 'store',
		holds: store,
		imports: [servingFace, store, namedLock],
		node: ['fs', 'path', 'zlib'],
		packages: ['lmdb'],
		instead: 'implement a port that an actor defines; what the records mean is theirs',
	},
	{
		// Beside the catalog, which never awaits: all of it is waiting.
		name: 'fetch',
		holds: fetching,
		imports: [fetching, servingFace, catalogFace, words],
		node: 'all',
		packages: ['undici', 'aws4fetch', '@sigstore/verify', '@sigstore/bundle', '@sigstore/protobuf-specs'],
		instead: 'take it as an option of the pull: what a header holds is judged by an engine, threads are started by a role',
	},
	{
		name: 'transport',
		holds: transport,
		imports: [kernel, servingFace, transport, namedLock, words],
		node: 'all',
		packages: 'all',
		instead: 'use a message, a view or a port of actors/serving; engines are reached through DecodePort',
	},
	{
		name: 'engines',
		holds: engines,
		imports: [kernel, servingFace, engines, words],
		node: 'all',
		packages: 'all',
		instead: 'use a message of actors/serving; settings come as data in ReplicaSpec',
	},
	{
		name: 'config',
		holds: config,
		imports: [config, words],
		node: 'all',
		packages: 'all',
		instead: 'let a role map the configuration to what others need',
	},
	{
		name: 'the parent',
		holds: /^src\/cli\/parent\.ts$/,
		imports: [/^src\/cli\/exit-codes\.ts$/, /^src\/actors\/kernel\/supervision\.ts$/, /^src\/engines\/child-process\.ts$/],
		node: 'all',
		packages: [],
		instead: 'leave it to the daemon: the parent stays tiny so that it outlives it',
	},
	{
		name: 'client',
		holds: client,
		imports: [client, /^src\/transport\/api\/(response-)?schemas\.ts$/],
		node: [],
		packages: ['eventsource-parser', '@sinclair/typebox'],
		instead: 'keep it what a browser has: only types come from elsewhere',
	},
	{
		name: 'cli',
		holds: cli,
		imports: [client, deviceWords, cli, config, words],
		node: 'all',
		packages: 'all',
		instead: 'take it as a function in CliEffects: the client side runs without the daemon',
	},
];

/** One sentence for each import that the table forbids. */
export function layeringProblems(files: readonly SourceFile[]): string[] {
	return files.flatMap((file) => {
		const layer = layers.find(({ holds }) => holds.test(file.path));
		if (layer === undefined) return [];
		return importsOf(file)
			.filter(({ specifier }) => !mayImport(layer, file.path, specifier))
			.map(({ specifier, line }) => `${file.path}:${line} imports ${specifier}, which ${layer.name} may not: ${layer.instead}`);
	});
}

function mayImport(layer: Layer, from: string, specifier: string): boolean {
	if (specifier.startsWith('.')) {
		const target = posix.join(posix.dirname(from), specifier);
		return layer.imports.some((allowed) => allowed.test(target));
	}
	if (specifier.startsWith('node:')) return layer.node === 'all' || layer.node.includes(specifier.slice('node:'.length));
	return layer.packages === 'all' || layer.packages.some((name) => specifier === name || specifier.startsWith(`${name}/`));
}
