/**
 * The documents say what is there: each promise names a test that exists, each hot path a function that exists, each path,
 * link, script and example configuration is real. What they cannot prove, they must not claim.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { loadConfig } from '../../src/config.ts';
import { readText, repositoryFiles, root } from './source-files.ts';

const documents = repositoryFiles().filter((path) => path.endsWith('.md') && !path.startsWith('models/'));

function none(problems: readonly string[]): void {
	assert.ok(problems.length === 0, `\n${problems.slice(0, 30).join('\n')}\n`);
}

/** Top-level list items of a document, each with its indented lines. */
function items(path: string): string[] {
	return readText(path)
		.split(/\n(?=- )/)
		.slice(1)
		.map((item) => item.split(/\n(?=\S)/)[0] ?? '');
}

test('every line of the semantics names tests that exist', () => {
	const promises = items('docs/semantics.md');
	assert.ok(promises.length > 10);
	none(
		promises.flatMap((promise) => {
			const proofs = [...promise.matchAll(/`(test\/[\w./-]+\.test\.ts)`: ([^\n]+)/g)];
			if (proofs.length === 0)
				return [`docs/semantics.md: "${promise.slice(0, 80)}" names no test; add: \`test/….test.ts\`: name of the test`];
			return proofs
				.filter(([, file = '', name = '']) => !hasTest(file, name.trim()))
				.map(([, file, name]) => `docs/semantics.md names a test that is not in ${file}: ${name}`);
		}),
	);
});

test('every attack of the threat model names tests that exist', () => {
	const [, attacks = ''] = readText('docs/security.md').split('\n## Attacks\n');
	const [listed = ''] = attacks.split('\n## ');
	const each = listed.split(/\n(?=- )/).slice(1);
	assert.ok(each.length > 10);
	none(each.filter((attack) => !attack.includes('`: ')).map((attack) => `docs/security.md: "${attack.slice(0, 80)}" names no test`));
	const proofs = [...listed.matchAll(/`(test\/[\w./-]+\.ts)`: ([^\n]+)/g)];
	none(
		proofs
			.filter(([, file = '', name = '']) => !hasTest(file, name.trim()))
			.map(([, file, name]) => `docs/security.md names a test that is not in ${file}: ${name}`),
	);
});

function hasTest(file: string, name: string): boolean {
	if (!existsSync(join(root, file))) return false;
	const escaped = name.replaceAll("'", "\\'");
	return [`'${escaped}'`, `"${name}"`, `\`${name}\``].some(
		(quoted) => readText(file).includes(`(${quoted},`) || readText(file).includes(`\n\t${quoted},`),
	);
}

test('every hot path is a function that exists', () => {
	const entries = [...readText('docs/hot-paths.md').matchAll(/`(src\/[\w./-]+\.ts)#([\w.#]+)`/g)];
	assert.ok(entries.length > 10);
	none(
		entries
			.filter(
				([, file = '', name = '']) =>
					!existsSync(join(root, file)) ||
					!new RegExp(`(?<![\\w])${name.split('.').at(-1)}\\b\\s*(<[^>]*>)?\\s*[(=:]`).test(readText(file)),
			)
			.map(([, file, name]) => `docs/hot-paths.md names ${file}#${name}, which does not exist: name the function that took its place`),
	);
});

test('every path and link in a document leads somewhere', () => {
	none(
		documents.flatMap((path) => {
			const text = readText(path);
			const named = [...text.matchAll(/`((?:src|test|bench|docs|bin|examples|models|\.ci)\/[\w./-]*)(?:#[^`]*)?`/g)].map(
				(match) => [match[1] ?? '', join(root, match[1] ?? '')] as const,
			);
			const linked = [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)].map(
				(match) => [match[1] ?? '', join(root, dirname(path), match[1] ?? '')] as const,
			);
			return [...named, ...linked]
				.filter(([, target]) => !existsSync(target))
				.map(([name]) => `${path} names ${name}, which does not exist`);
		}),
	);
});

test('every npm script that a document names exists', () => {
	const manifest = JSON.parse(readText('package.json')) as { scripts: Record<string, string> };
	none(
		documents.flatMap((path) =>
			[...readText(path).matchAll(/\bnpm (?:run (?:--silent )?([\w:-]+)|(start|test))\b/g)]
				.map((match) => match[1] ?? match[2] ?? '')
				.filter((script) => manifest.scripts[script] === undefined)
				.map((script) => `${path} names npm run ${script}, which package.json does not have`),
		),
	);
});

test('every example configuration is accepted', () => {
	// A key that an example names is in its reader's environment.
	const env = Object.fromEntries(
		documents.flatMap((path) => [...readText(path).matchAll(/key_env: (\w+)/g)].map((match) => [match[1] ?? '', 'key'])),
	);
	const world = { env, cwd: root, cores: 8 };
	const examples = documents.flatMap((path) =>
		[...readText(path).matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => [path, match[1] ?? ''] as const),
	);
	assert.ok(examples.length > 0);
	for (const [path, text] of examples) assert.doesNotThrow(() => loadConfig(['--config', path], { ...world, readFile: () => text }), path);
});

test('the README fits on two screens', () => {
	assert.ok(readText('README.md').split('\n').length < 150);
});

test('an entry of the changelog is one sentence', () => {
	none(
		items('CHANGELOG.md')
			.map((item) => item.replace(/^- /, '').trim())
			.filter((item) => !item.endsWith('.') || /[.!?] [A-Z]/.test(item))
			.map((item) => `CHANGELOG.md: "${item.slice(0, 60)}…" must be one sentence that tells a user what is new or what to do`),
	);
});
