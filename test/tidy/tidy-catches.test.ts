/**
 * The tidy rules catch what they are for: each is shown a slip of the kind that it must find, and a neighbour that it must
 * leave alone.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { layeringProblems } from './layers.ts';
import { problemsWith, rules } from './rules.ts';
import { importsOf, sourceFile } from './source-files.ts';

const wrong: readonly (readonly [path: string, imported: string])[] = [
	['src/actors/kernel/system.ts', 'node:perf_hooks'],
	['src/actors/kernel/system.ts', '../serving/messages.ts'],
	['src/actors/kernel/system.ts', 'nanoid'],
	['src/actors/threads/link.ts', 'node:fs'],
	['src/actors/threads/link.ts', '../serving/messages.ts'],
	['src/actors/serving/pool.ts', '../threads/link.ts'],
	['src/actors/serving/pool.ts', 'node:crypto'],
	['src/transport/api/native.ts', '../../engines/engine.ts'],
	['src/transport/api/native.ts', '../../actors/serving/pool.ts'],
	['src/transport/api/native.ts', '../../actors/threads/link.ts'],
	['src/engines/embedded/host.ts', '../../transport/http/http-host.ts'],
	['src/engines/embedded/host.ts', '../../config.ts'],
	['src/cli/run-command.ts', '../actors/kernel/system.ts'],
];

test('each forbidden direction between layers is found', () => {
	for (const [path, imported] of wrong) {
		assert.equal(layeringProblems([sourceFile(path, `import type { X } from '${imported}';\n`)]).length, 1, `${path} → ${imported}`);
	}
});

test('what the table allows is left alone', () => {
	for (const [path, imported] of [
		['src/actors/threads/link.ts', 'node:worker_threads'],
		['src/actors/serving/pool.ts', '../kernel/ref.ts'],
		['src/transport/api/native.ts', '../../actors/serving/messages.ts'],
		['src/engines/wire/a.ts', 'node:net'],
		['src/roles/front.ts', '../engines/engine.ts'],
		['src/main.ts', './config.ts'],
	] as const) {
		assert.deepEqual(layeringProblems([sourceFile(path, `import { x } from '${imported}';\n`)]), [], `${path} → ${imported}`);
	}
});

/** For each rule: code that breaks it, and the file in which it stands. */
const slips: Readonly<Record<string, readonly [path: string, text: string]>> = {
	'uWebSockets.js has one owner': ['src/roles/front.ts', "import { App } from 'uWebSockets.js';"],
	'worker_threads is used in actors/threads only': ['src/roles/front.ts', "import { Worker } from 'node:worker_threads';"],
	'child_process has one owner': ['src/roles/engine.ts', "import { spawn } from 'node:child_process';"],
	'the environment is read in config.ts only': ['src/roles/front.ts', 'const home = process.env.HOME;'],
	'the process is ended in main.ts and in host processes only': ['src/roles/front.ts', 'process.exit(1);'],
	'actors take time and chance from their context': ['src/actors/serving/pool.ts', 'const at = Date.now();'],
	'behaviours never await': ['src/actors/serving/pool.ts', 'const x = await y;'],
	'nothing writes to the console': ['src/main.ts', 'console.log(1);'],
	'no any': ['src/main.ts', 'const x = y as any;'],
	'no silenced compiler or linter': ['src/main.ts', `// @ts-${'ignore'}`],
	'an expected compile error is a proof of a type, and nothing else': ['src/main.ts', `// @ts-${'expect-error'}`],
	'no syntax that is not erasable': ['src/main.ts', 'export enum Color { Red }'],
	'no empty catch': ['test/cli/x.test.ts', 'try { f(); } catch {}'],
	'no unfinished business': ['src/main.ts', `// ${'TO'}${'DO'} later`],
	'no focused or skipped tests': ['test/cli/x.test.ts', "test.skip('x', () => {});"],
	'tests wait for phases, not for time': ['test/serving/x.test.ts', 'await new Promise((resolve) => setTimeout(resolve, 10));'],
	'built entry points are resolved with the extension of the file that asks': [
		'src/main.ts',
		"new URL('./roles/front.ts', import.meta.url)",
	],
	'no star exports': ['src/main.ts', "export * from './config.ts';"],
	'no common paths of people and machines': ['README.md', 'see /home/fox/models'],
};

test('each rule finds a slip of its kind, and says what to do instead', () => {
	for (const rule of rules) {
		const slip = slips[rule.name];
		assert.ok(slip, `add a slip that "${rule.name}" must find`);
		const problems = problemsWith(rule, [sourceFile(slip[0], slip[1])]);
		assert.equal(problems.length, 1, rule.name);
		assert.match(problems[0] ?? '', /^[\w./-]+:1 has ".+": .{10}/);
	}
});

test('words in comments and literals are no code', () => {
	const harmless = sourceFile(
		'src/actors/serving/pool.ts',
		"// Date.now() would await console.log\n/* process.exit(1) as any */\nconst words = 'Date.now() process.exit(';\nconst tpl = `await ${'x'}`;\nconst re = /['\"`] Date.now()/;\nconst after = 'await';\n",
	);
	for (const rule of rules.filter(({ in: where }) => where === 'code')) assert.deepEqual(problemsWith(rule, [harmless]), [], rule.name);
});

test('imports are found over several lines, dynamic and bare', () => {
	const text =
		"import type {\n\tA,\n} from './a.ts';\nimport './b.ts';\nexport { c } from './c.ts';\nconst d = await import('./d.ts');\n// import './e.ts';\nconst f = \"from './f.ts'\";\n";
	assert.deepEqual(
		importsOf(sourceFile('x.ts', text)).map(({ specifier, line }) => [specifier, line]),
		[
			['./a.ts', 3],
			['./b.ts', 4],
			['./c.ts', 5],
			['./d.ts', 6],
		],
	);
});
