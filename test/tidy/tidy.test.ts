/**
 * Style as failing tests: the layering, the owners of dangerous things, names, sizes, heads of files. Every message names
 * the place and what to write instead.
 */
import assert from 'node:assert/strict';
import { homedir, hostname } from 'node:os';
import { basename, dirname } from 'node:path';
import { test } from 'node:test';
import { layeringProblems } from './layers.ts';
import { problemsWith, rules } from './rules.ts';
import { readText, repositoryFiles, root, type SourceFile, sourceFile, typescriptFiles } from './source-files.ts';

const files = typescriptFiles();
const allText = repositoryFiles()
	.filter((path) => !/\.(gguf|png|ico)$/.test(path))
	.map((path): SourceFile => {
		const text = readText(path);
		return { path, text, uncommented: text, code: text };
	});

function none(problems: readonly string[]): void {
	assert.ok(problems.length === 0, `\n${problems.slice(0, 30).join('\n')}\n`);
}

test('every import follows the table of layers', () => none(layeringProblems(files)));

for (const rule of rules) {
	test(`rule: ${rule.name}`, () => none(problemsWith(rule, rule.where.test('package.json') ? allText : files)));
}

test('every file says at its head what it owns', () => {
	const scripts = repositoryFiles().filter((path) => path.startsWith('bin/') && path.endsWith('.js'));
	none(
		[...files, ...scripts.map((path) => sourceFile(path, readText(path)))]
			.filter(({ text }) => headWords(text) < 8)
			.map(({ path }) => `${path}:1 opens without a comment that says what it owns, on which thread, and what it must never do`),
	);
});

/** Words of the comment that a file opens with. */
function headWords(text: string): number {
	const head = /^(?:#![^\n]*\n)?\/\*\*([\s\S]*?)\*\//.exec(text);
	return (head?.[1] ?? '').match(/\w+/g)?.length ?? 0;
}

test('a fake of an engine shares nothing with what it tests, and says of each route where the engine specifies it', () => {
	const fakes = files.filter(({ path }) => path.startsWith('test/engines/fakes/'));
	assert.ok(fakes.length > 8);
	none(
		fakes.flatMap(({ path, text }) => [
			...[...text.matchAll(/from '(\.\.\/[^']+)'/g)].map(
				([, from]) => `${path} imports ${from}: write out what the engine's documents say`,
			),
			...uncited(text).map(
				(route) => `${path}: ${route} does not say where it is specified: file and section, in a comment on it or its handler`,
			),
		]),
	);
});

/** Routes with no comment on them, on the group that they stand in, or on the method that answers. */
function uncited(text: string): string[] {
	const lines = text.split('\n');
	const isComment = (line: string | undefined): boolean => /^\s*(\/\/|\*\/|\/\*\*)/.test(line ?? '');
	return lines.flatMap((line, at) => {
		const route = /[sS]erver\.(?:on\('[A-Z]+', [^,]+|refuse =)/.exec(line)?.[0];
		if (route === undefined) return [];
		let first = at;
		while (/[sS]erver\.(on|refuse)/.test(lines[first - 1] ?? '')) first -= 1;
		const handler = /this\.(#\w+)\(exchange/.exec(line)?.[1];
		const answers = handler === undefined ? -1 : lines.findIndex((each) => each.startsWith(`\t${handler}(`));
		const method = lines.slice(0, at).findLastIndex((each) => /^\t(#?\w+)\(.*\{$/.test(each));
		return isComment(lines[first - 1]) || isComment(lines[answers - 1]) || isComment(lines[method - 1]) ? [] : [route];
	});
}

test('files are named by one concept, in kebab-case', () => {
	const vague = /(^|[-/.])(utils?|helpers?|common|misc|managers?|services?|stuff)([-/.]|$)/;
	none(
		files.flatMap(({ path }) => [
			...(vague.test(path) ? [`${path}: a name for everything owns nothing; name the one thing that it does`] : []),
			...(/^[a-z0-9]+(-[a-z0-9]+)*(\.test|\.d)?\.ts$/.test(basename(path)) ? [] : [`${path}: write it in kebab-case`]),
		]),
	);
});

test('no file only passes on the exports of others', () => {
	none(
		files
			.filter(({ path, code }) => path !== 'src/actors/kernel/index.ts' && isBarrel(code))
			.map(({ path }) => `${path} is a barrel: import from the files that own the names`),
	);
});

function isBarrel(code: string): boolean {
	const statements = code.replaceAll(/\bexport\s+(type\s+)?\{[^}]*\}\s*from\s*'[^']*';?/g, '');
	return statements !== code && statements.trim() === '';
}

const linesMax = 450;

test('no file knows everything', () => {
	none(
		files.flatMap(({ path, text }) => {
			const lines = text.split('\n').length - 1;
			return lines > linesMax ? [`${path} has ${lines} lines, more than ${linesMax}: split it by concept`] : [];
		}),
	);
});

test('the median file is short', () => {
	const lengths = files
		.filter(({ path }) => path.startsWith('src/'))
		.map(({ text }) => text.split('\n').length)
		.sort((a, b) => a - b);
	const median = lengths[Math.floor(lengths.length / 2)] ?? 0;
	assert.ok(median <= 200, `the median of src is ${median} lines: split the long ones`);
});

test('test names are sentences', () => {
	none(
		files
			.filter(({ path }) => path.endsWith('.test.ts'))
			.flatMap(({ path, uncommented }) =>
				[...uncommented.matchAll(/(?:^|\n)\s*(?:test|it)\(\s*(['"`])(.*?)\1/g)]
					.map((match) => match[2] ?? '')
					.filter((name) => !name.includes('${') && name.trim().split(/\s+/).length < 3)
					.map((name) => `${path}: "${name}" is no sentence; say what holds, in at least three words`),
			),
	);
});

test('a name is used by one test of a file only', () => {
	none(
		files
			.filter(({ path }) => path.endsWith('.test.ts'))
			.flatMap(({ path, uncommented }) => {
				const names = [...uncommented.matchAll(/(?:^|\n)\s*(?:test|it)\(\s*'(.*?)'/g)].map((match) => match[1] ?? '');
				return names
					.filter((name, index) => names.indexOf(name) !== index)
					.map((name) => `${path}: "${name}" stands twice; docs could not name either`);
			}),
	);
});

test('nothing names the machine it was written on', () => {
	const here = [root, dirname(root), homedir(), hostname()].filter((name) => name.length >= 6 && name !== 'localhost');
	none(
		allText.flatMap(({ path, text }) =>
			here.filter((name) => text.includes(name)).map((name) => `${path} names ${name}: use a path from the repository`),
		),
	);
});

test('dependencies have exact versions, and the lockfile names no host', () => {
	const manifest = JSON.parse(readText('package.json')) as Record<string, Record<string, string> | undefined>;
	const ranges = ['dependencies', 'devDependencies', 'optionalDependencies'].flatMap((group) =>
		Object.entries(manifest[group] ?? {})
			.filter(([, version]) => !/^(npm:[^@]+@)?\d+\.\d+\.\d+$/.test(version))
			.map(([name, version]) => `package.json: ${name} is ${version}; write an exact version`),
	);
	const hosts = [...readText('package-lock.json').matchAll(/"resolved": "([^"]*)"/g)].map(
		(match) => `package-lock.json resolves ${match[1]}: set omit-lockfile-registry-resolved when locking`,
	);
	none([...ranges, ...hosts]);
});
