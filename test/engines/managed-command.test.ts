/** The command of a managed engine: from words of the configuration to words of a program. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import { commandProblem, filledIn, type MacroValues, macroNames, splitCommand } from '../../src/command-words.ts';
import { presetNames, presets } from '../../src/config-presets.ts';
import { freePorts } from '../../src/engines/managed/free-ports.ts';

const values: MacroValues = {
	host: '127.0.0.1',
	port: 4001,
	port_2: 4002,
	port_3: 4003,
	model: '/models/a b.gguf',
	devices: '0,1',
	device_count: 2,
	ctx: 512,
	slots: 4,
	total_ctx: 2048,
	max_tokens_out: 100,
	pool_id: 'p',
	replica: 0,
	replica_id: 'p-0',
	runtime_dir: '/tmp',
	cache_dir: '/caches/p/p-0',
};

function wordsOf(text: string): readonly string[] {
	const split = splitCommand(text);
	assert.ok(split.ok, split.ok ? '' : split.problem);
	return split.words;
}

test('a command is split into the words that a shell would make of it', () => {
	const piece = fc.constantFrom('a', 'B7', ' ', '  ', '\t', '"', "'", '\\"', "\\'", '\\ ', '\\\\', '-x=', '/', '\\n', 'é');
	const samples = fc.sample(fc.array(piece, { maxLength: 12 }), { numRuns: 200, seed: 5 }).map((pieces) => pieces.join(''));
	const split = samples.map((text) => ({ text, ours: splitCommand(text) })).filter(({ ours }) => ours.ok);
	assert.ok(split.length > 60, 'most samples have their quotes in pairs');
	// One shell for all: each command is a call that prints its words, with marks around them.
	const script = split.map(({ text }) => `show ${text}`).join('\n');
	const shown = spawnSync('sh', ['-c', `show() { for word; do printf '<%s>' "$word"; done; printf '\\0'; }\n${script}`], {
		encoding: 'utf8',
	});
	const theirs = shown.stdout.split('\0').slice(0, -1);
	assert.deepEqual(
		split.map(({ text, ours }) => [text, ours.ok ? ours.words.map((word) => `<${word}>`).join('') : '']),
		split.map(({ text }, index) => [text, theirs[index]]),
	);
});

test('a command that a shell would have to read, or that never ends, is refused in words', () => {
	const problemOf = (text: string) => {
		const split = splitCommand(text);
		return split.ok ? null : split.problem;
	};
	assert.match(problemOf('engine --port {port} | tee log') ?? '', /has \|, but there is no shell/);
	assert.match(problemOf('a && b') ?? '', /no shell/);
	assert.equal(problemOf("a '&&' b"), null, 'quoted, it is a word');
	assert.match(problemOf("say 'x") ?? '', /without a second/);
	assert.match(problemOf('say \\') ?? '', /backslash/);
	assert.match(problemOf('  ') ?? '', /is empty/);
});

test('macros are filled in and stay one word each, whatever they stand for; in double braces they are none, and JSON is left alone', () => {
	assert.deepEqual(filledIn(wordsOf(`run -m {model} -p={port}/{slots} '{"a": {"b": 1}}' {{port}}`), values), [
		'run',
		'-m',
		'/models/a b.gguf',
		'-p=4001/4',
		'{"a": {"b": 1}}',
		'{port}',
	]);
});

test('a macro that is none, or that the pool gives no value, is refused with what there is', () => {
	assert.match(commandProblem(['{prot}'], () => true) ?? '', /\{prot\}, which is no macro; there are \{host\}, \{port\}, /);
	assert.equal(
		commandProblem(['-c', '{total_ctx}'], (name) => name !== 'total_ctx'),
		'has {total_ctx}, but the pool does not say its ctx',
	);
	assert.equal(
		commandProblem(
			macroNames.map((name) => `{${name}}`),
			() => true,
		),
		null,
	);
});

test('each preset is a command whose macros all have a value, with much said of the pool and with little', () => {
	for (const name of presetNames) {
		const much = presets[name].command({ hasCtx: true, deviceCount: 2 });
		assert.equal(
			commandProblem(much, () => true),
			null,
		);
		const little = presets[name].command({ hasCtx: false, deviceCount: null });
		const unsaid = new Set(['ctx', 'total_ctx', 'devices', 'device_count']);
		assert.equal(
			commandProblem(little, (macro) => !unsaid.has(macro)),
			null,
			name,
		);
		assert.ok(filledIn(much, values).includes('4001'));
	}
	assert.equal(
		filledIn(presets['llama-server'].command({ hasCtx: true, deviceCount: null }), values).join(' '),
		'llama-server --host 127.0.0.1 --port 4001 --model /models/a b.gguf --parallel 4 --ctx-size 2048 --metrics --slots',
	);
});

test('ports that are given out are free and all different', async () => {
	const ports = (await Promise.all(Array.from({ length: 10 }, () => freePorts('127.0.0.1', 3)))).flat();
	assert.equal(new Set(ports).size, 30);
});
