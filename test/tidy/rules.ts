/**
 * House rules as data: what may not stand where, and what to write instead. The first one that a new rule hurts is the
 * one who reads its `instead`.
 */
import { lineAt, type SourceFile } from './source-files.ts';

export interface Rule {
	readonly name: string;
	/** What is looked for, in code without comments and literals, or in `uncommented` text that keeps literals. */
	readonly pattern: RegExp;
	readonly in: 'code' | 'uncommented' | 'text';
	readonly where: RegExp;
	/** Owners: the only files where it may stand. */
	readonly owners: readonly RegExp[];
	readonly instead: string;
}

const anywhere = /^(src|test|bench|examples)\//;
const sources = /^src\//;
const actors = /^src\/actors\/(kernel|serving|catalog)\//;
const tidyTests = /^test\/tidy\//;

export const rules: readonly Rule[] = [
	{
		name: 'uWebSockets.js has one owner',
		pattern: /(?<!nativeBinaryMissing\()'uWebSockets\.js'/g,
		in: 'uncommented',
		where: sources,
		owners: [/^src\/transport\/http\/uws-host\.ts$/],
		instead: 'use the HttpHost port',
	},
	{
		name: 'worker_threads is used in actors/threads only',
		pattern: /'(node:)?worker_threads'/g,
		in: 'uncommented',
		where: sources,
		owners: [/^src\/actors\/threads\//],
		instead: 'spawn and link threads through actors/threads',
	},
	{
		name: 'child_process has one owner',
		pattern: /'(node:)?child_process'/g,
		in: 'uncommented',
		where: sources,
		owners: [/^src\/engines\/child-process\.ts$/],
		instead: 'start processes through engines/child-process.ts, which never leaves one behind',
	},
	{
		name: 'the environment is read in config.ts only',
		pattern: /\bprocess\s*\.\s*env\b|\benv\b[^;\n]*\bfrom 'node:process'/g,
		in: 'uncommented',
		where: sources,
		owners: [/^src\/config\.ts$/],
		instead: 'add a key to the configuration, or use DaemonConfig.childEnv',
	},
	{
		name: 'the process is ended in main.ts and in host processes only',
		pattern: /\bprocess\s*\.\s*(exit|abort|reallyExit|kill)\s*\(/g,
		in: 'code',
		where: sources,
		owners: [
			/^src\/main\.ts$/,
			/^src\/roles\/([a-z]+-host|reaper)\.ts$/,
			/^src\/engines\/child-process\.ts$/,
			/^src\/engines\/scripted\/scripted-backend\.ts$/,
		],
		instead: 'return an exit code, throw a Problem, or tell the one who decides',
	},
	{
		name: 'actors take time and chance from their context',
		pattern: /\b(Date\.now|new Date|performance\.|Math\.random|setTimeout|setInterval|setImmediate|queueMicrotask|crypto\.)/g,
		in: 'code',
		where: actors,
		owners: [/^src\/actors\/kernel\/real-host\.ts$/],
		instead: 'use ctx.now, ctx.random, ctx.setTimer, or the Host',
	},
	{
		name: 'behaviours never await',
		pattern: /\basync\b|\bawait\b|\bPromise\b|\.then\(/g,
		in: 'code',
		where: actors,
		owners: [/^src\/actors\/kernel\/real-host\.ts$/, /^src\/actors\/catalog\/catalog-store\.ts$/],
		instead: 'do asynchronous work at an edge and let it come back as a message',
	},
	{
		name: 'nothing writes to the console',
		pattern: /\bconsole\s*\./g,
		in: 'code',
		where: sources,
		owners: [],
		instead: 'use ctx.telemetry.log, the logger, or the Terminal of the command line',
	},
	{
		name: 'no any',
		pattern: /(:|\bas|<|,|\|)\s*any\b(?!\s*:)/g,
		in: 'code',
		where: anywhere,
		owners: [],
		instead: 'name the type, or take unknown and check it',
	},
	{
		name: 'no silenced compiler or linter',
		pattern: /@ts-(ignore|nocheck)|(oxlint|eslint)-disable|biome-ignore lint/g,
		in: 'text',
		where: anywhere,
		owners: [tidyTests],
		instead: 'change the code; where a rule is wrong, change the rule for all',
	},
	{
		name: 'an expected compile error is a proof of a type, and nothing else',
		pattern: /@ts-expect-error/g,
		in: 'text',
		where: anywhere,
		owners: [/^test\/threads\/crosses\.test\.ts$/, tidyTests],
		instead: 'change the code; only a test of a type may show what does not compile',
	},
	{
		name: 'no syntax that is not erasable',
		pattern: /^\s*(export\s+)?(declare\s+)?(const\s+)?(enum|namespace)\s+\w/gm,
		in: 'code',
		where: anywhere,
		owners: [],
		instead: 'use a union of literals and a const object',
	},
	{
		name: 'no empty catch',
		pattern: /\bcatch\s*(\([^)]*\))?\s*\{\s*\}/g,
		in: 'code',
		where: anywhere,
		owners: [],
		instead: 'handle it, or say in the block why nothing is to be done and do that explicitly',
	},
	{
		name: 'no unfinished business',
		pattern: /\b(TODO|FIXME|XXX|HACK)\b|\bdebugger\b/g,
		in: 'text',
		where: anywhere,
		owners: [tidyTests],
		instead: 'do it, or open an issue',
	},
	{
		name: 'no focused or skipped tests',
		pattern: /\b(test|it|describe|suite|t)\.(only|skip|todo)\b|\{[^{}\n]*\b(only|skip|todo):/g,
		in: 'code',
		where: /^test\/.*\.test\.ts$/,
		owners: [],
		instead: 'fix it, delete it, or move it to test/opt-in',
	},
	{
		name: 'tests wait for phases, not for time',
		pattern: /'(node:)?timers\/promises'|setTimeout\(\s*(resolve|done|r)\b/g,
		in: 'uncommented',
		where: /^test\//,
		owners: [/^test\/(threads|e2e|opt-in)\//, tidyTests],
		instead: 'advance SimHost, or wait for the message or event that says so',
	},
	{
		name: 'built entry points are resolved with the extension of the file that asks',
		pattern: /new URL\(\s*'[^']*\.ts'\s*,\s*import\.meta\.url/g,
		in: 'uncommented',
		where: anywhere,
		owners: [tidyTests],
		instead: 'take the extension from import.meta.url: tsc does not rewrite this string',
	},
	{
		name: 'no star exports',
		pattern: /\bexport\s*\*/g,
		in: 'code',
		where: anywhere,
		owners: [/^src\/actors\/kernel\/index\.ts$/],
		instead: 'import from the file that owns the name',
	},
	{
		name: 'no common paths of people and machines',
		pattern: /(?<![\w.-])\/(home|Users)\/[a-z]\w*|(?<![\w.-])\/root\//g,
		in: 'text',
		where: /./,
		owners: [tidyTests],
		instead: 'use a path from the repository, or a made-up one such as /models/x.gguf',
	},
];

/** One sentence for each place that breaks `rule`. */
export function problemsWith(rule: Rule, files: readonly SourceFile[]): string[] {
	return files
		.filter((file) => rule.where.test(file.path) && !rule.owners.some((owner) => owner.test(file.path)))
		.flatMap((file) => {
			const text = file[rule.in];
			return [...text.matchAll(rule.pattern)].map(
				(match) => `${file.path}:${lineAt(text, match.index)} has ${JSON.stringify(match[0].trim())}: ${rule.instead}`,
			);
		});
}
