/** The life of a managed engine, and the file of what it writes, without a daemon. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { silentTelemetry } from '../../src/actors/kernel/telemetry.ts';
import type { LifeNews, ModelChange } from '../../src/actors/serving/engine-life.ts';
import { packageRoot } from '../../src/config-root.ts';
import { CacheFolders } from '../../src/engines/managed/cache-folders.ts';
import { LogFiles } from '../../src/engines/managed/log-files.ts';
import { ManagedDriver } from '../../src/engines/managed/managed-driver.ts';
import type { ManagedSettings } from '../../src/engines/managed/managed-settings.ts';
import { UpstreamDecodePort } from '../../src/engines/upstream/upstream-decode-port.ts';
import { UpstreamDriver } from '../../src/engines/upstream/upstream-driver.ts';
import { upstreamAdapters } from '../../src/engines/upstream-adapters.ts';

const built = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
const server = fileURLToPath(new URL(`./managed-server${built}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'orchd-managed-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const port = new UpstreamDecodePort(upstreamAdapters);
after(() => port.close());
const lines: string[] = [];
const driver = new ManagedDriver({
	adapters: upstreamAdapters,
	upstream: new UpstreamDriver({ adapters: upstreamAdapters, port, telemetry: silentTelemetry }),
	reaper: new URL(`../../src/roles/reaper${built}`, import.meta.url),
	childEnv: { PATH: '/usr/bin:/bin' },
	devices: () => [],
	runtimeDir: folder,
	caches: new CacheFolders((words) => lines.push(words)),
	onLine: (_spec, _source, line) => lines.push(line),
});
const settings: ManagedSettings = {
	kind: 'managed',
	engine: 'openai',
	command: [process.execPath, server, '--port', '{port}', '--model', '{model}'],
	env: {},
	modelWord: 'small',
	model: null,
	key: null,
	connectMs: 1_000,
	readyMs: 20_000,
	stopMs: 200,
	slots: 2,
	ctx: 100,
	defaultCtx: 2_048,
	devices: null,
	maxTokensOut: 50,
	cacheDir: null,
};

function start(more: Partial<ManagedSettings> = {}) {
	const news: LifeNews[] = [];
	let heard: () => void = () => undefined;
	const life = driver.start(
		{ replicaId: 'm-0', poolId: 'm', engine: 'openai', model: 'small', settings: { ...settings, ...more } },
		{
			tell(each) {
				news.push(each);
				heard();
				return 'accepted';
			},
		},
	);
	const next = async (type: LifeNews['type']): Promise<LifeNews> => {
		for (;;) {
			const found = news.find((each) => each.type === type);
			if (found !== undefined) return found;
			await new Promise<void>((resolve) => {
				heard = resolve;
			});
		}
	};
	const endWords = async (): Promise<string> => {
		const ended = await next('life-ended');
		return ended.type === 'life-ended' ? `${ended.failure.code} ${ended.failure.message}` : '';
	};
	return { life, news, next, endWords };
}

test('it is ready with its own model when it answers, and ends when it is stopped, with its folder', async () => {
	const { life, next, news, endWords } = start();
	const ready = await next('life-ready');
	assert.ok(ready.type === 'life-ready');
	assert.deepEqual([ready.facts.modelName, ready.facts.slots, ready.facts.ctx], ['small', 2, 100]);
	life.stop();
	life.stop();
	assert.equal(await endWords(), 'WORKER_RESET the engine was stopped');
	assert.equal(news.filter(({ type }) => type === 'life-ended').length, 1);
	assert.deepEqual(readdirSync(folder), []);
});

test('one that cannot start says how it ended and what it said last', async () => {
	const { endWords } = start({ command: [process.execPath, '--no-such-flag', '{port}'] });
	assert.match(await endWords(), /^POOL_UNREADY the engine process ended with exit code 9; its last words: .*bad option: --no-such-flag$/);
	const nowhere = start({ command: ['/nowhere/engine'] });
	assert.match(await nowhere.endWords(), /could not be started: .*ENOENT.*its program is not there/);
});

test('one that does not answer in time is ended, and why it did not is told', async () => {
	const { endWords } = start({ command: [...settings.command, '--late', '60000'], readyMs: 400 });
	assert.match(await endWords(), /^POOL_UNREADY the engine was not ready within 0\.4 s: no answer from the engine: ECONNREFUSED$/);
});

test('one that is stopped before it was started is never started', async () => {
	const before = lines.length;
	const { life, endWords } = start();
	life.stop();
	assert.match(await endWords(), /the engine was stopped/);
	assert.equal(lines.length, before);
});

function changeTo(model: string, more: Partial<ManagedSettings> = {}): ModelChange {
	const changes: ModelChange[] = [];
	driver.withModel({ ...settings, ...more }, model, (change) => changes.push(change));
	assert.ok(changes[0] !== undefined && changes.length === 1);
	return changes[0];
}

test('another model is another word in its command; where the command names none it cannot be changed', () => {
	const other = join(folder, 'other.bin');
	writeFileSync(other, 'weights');
	const change = changeTo(`file:${other}`);
	assert.deepEqual(change.ok && change.settings, { ...settings, modelWord: other });
	const named = changeTo('hf:org/other');
	assert.deepEqual(named.ok && named.settings, { ...settings, modelWord: 'org/other' });
	assert.equal(changeTo('x', { modelWord: null }).ok, false);
	rmSync(other);
});

test('a model file that is not there, or is none for llama-server, is refused before anything is stopped for it', () => {
	const refused = (model: string, more: Partial<ManagedSettings> = {}): string => {
		const change = changeTo(model, more);
		return change.ok ? '' : `${change.failure.code} ${change.failure.message}`;
	};
	const nowhere = join(folder, 'nowhere.gguf');
	assert.equal(refused(`file:${nowhere}`), `NOT_FOUND model file not found: ${nowhere}`);
	const text = join(folder, 'text.gguf');
	writeFileSync(text, 'no weights');
	assert.equal(refused(`file:${text}`), '');
	assert.match(refused(`file:${text}`, { engine: 'llamacpp' }), /^INVALID_PARAMS model file .*text\.gguf: /);
	assert.equal(refused(`file:${join(packageRoot(), 'models', 'tiny-chat.gguf')}`, { engine: 'llamacpp' }), '');
	assert.equal(refused(`file:${folder}`), '', 'some engines load folders');
	rmSync(text);
});

test('a file of what an engine writes keeps its last lines, in two parts of bounded size, for its user alone', async () => {
	const dir = join(folder, 'log');
	const problems: string[] = [];
	const files = new LogFiles({ dir, bytesMax: 1_000, onProblem: (words) => problems.push(words) });
	for (let i = 0; i < 30; i++) {
		for (let j = 0; j < 10; j++) files.add('p', `line ${i * 10 + j}`);
		await files.flush();
	}
	const path = join(dir, 'p.log');
	for (const each of [path, `${path}.1`]) assert.ok(statSync(each).size <= 1_000);
	const kept = (readFileSync(`${path}.1`, 'utf8') + readFileSync(path, 'utf8')).trimEnd().split('\n');
	assert.deepEqual(
		kept,
		Array.from({ length: kept.length }, (_, index) => `line ${300 - kept.length + index}`),
	);
	assert.equal(statSync(path).mode & 0o777, 0o600);
	const blocked = join(folder, 'file');
	writeFileSync(blocked, '');
	const nowhere = new LogFiles({ dir: join(blocked, 'log'), onProblem: (words) => problems.push(words) });
	for (let i = 0; i < 3; i++) {
		nowhere.add('p', 'x');
		await nowhere.flush();
	}
	assert.equal(problems.length, 1);
	assert.match(problems[0] ?? '', /p\.log cannot be written: /);
});
