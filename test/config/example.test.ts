/** The example file, places of problems in a file, and what a reload makes of two configurations. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { appliedTo, changesBetween } from '../../src/config-changes.ts';
import { exampleConfig } from '../../src/config-example.ts';
import { globalKeys, poolKeys } from '../../src/config-schema.ts';
import { load, problems } from './loading.ts';

test('the example names every key, and loads as if there were no file', () => {
	const example = exampleConfig();
	for (const { path } of [...globalKeys, ...poolKeys]) {
		assert.match(example, new RegExp(`^[ #-]*${path.split('.').at(-1)}: `, 'm'), path);
	}
	assert.deepEqual({ ...load([], example), configFile: null }, load([]));
});

test('a problem of a file is told with its line and column, one of a flag with the flag', () => {
	const file = 'listen:\n  addr: nowhere\npools:\n  - id: a\n    slots: 0\n    queue: { capacty: 1 }\n';
	const [slots, key] = problems([], file);
	assert.match(slots ?? '', /^pools\[0\]\.slots is 0; .* \(from .*:5:5\)$/);
	assert.match(key ?? '', /^unknown key pools\[0\]\.queue\.capacty; did you mean pools\[0\]\.queue\.capacity\? \(from .*:6:14\)$/);
	assert.match(problems([], 'listen: { addr: nowhere }')[0] ?? '', /^listen\.addr is "nowhere"; .* \(from .*:1:11\)$/);
	assert.match(
		problems(['--addr', 'nowhere'], 'listen: { addr: "127.0.0.1:1" }')[0] ?? '',
		/^listen\.addr is "nowhere"; .* \(from --addr\)$/,
	);
});

test('a reload names the pools that come, go and change, and the keys that only a restart applies', () => {
	const running = load([], 'pools: [{ id: a }, { id: b }, { id: c }]');
	const next = load(
		[],
		'listen: { addr: "127.0.0.1:9" }\nlimits: { body_bytes: 1MiB }\nplacement: { pinning: off }\npools: [{ id: b }, { id: c, slots: 9 }, { id: d }]',
	);
	assert.deepEqual(changesBetween(running, next), {
		added: ['d'],
		removed: ['a'],
		changed: ['c'],
		unchanged: ['b'],
		keys: { added: [], removed: [], changed: [] },
		restartNeeded: ['listen.addr', 'limits.body_bytes'],
	});
	const applied = appliedTo(running, next);
	assert.deepEqual([applied.pools, applied.placement.pinning, applied.listen], [next.pools, false, running.listen]);
});

test('keys are applied while the daemon runs, but for the last one of a daemon that others can reach', () => {
	const key = (name: string, more = ''): string => `{ name: ${name}, sha256: ${name.repeat(64)}${more} }`;
	const withKeys = (...keys: string[]): string => `auth: { keys: [${keys.join(', ')}] }`;
	const open = load([], `listen: { addr: "0.0.0.0:80" }\n${withKeys(key('a'), key('b'), key('c'))}`);
	const next = load([], withKeys(key('b'), key('c', ', tenant: t'), key('d')));
	const { keys, restartNeeded } = changesBetween(open, next);
	assert.deepEqual([keys, restartNeeded], [{ added: ['d'], removed: ['a'], changed: ['c'] }, ['listen.addr']]);
	assert.deepEqual(appliedTo(open, next).auth, next.auth);
	assert.throws(() => appliedTo(open, load([])), /listen\.addr is "0\.0\.0\.0:80", which other machines can reach; that needs auth\.keys/);
	const shared = load([], `listen: { cors_origins: ["*"] }\n${withKeys(key('a'))}`);
	assert.throws(() => appliedTo(shared, load([])), /cors_origins is \*/);
	const local = load([], withKeys(key('a')));
	assert.deepEqual(appliedTo(local, load([])).auth.keys, []);
});

test('a pool cannot become one of another engine while it runs', () => {
	const running = load([], 'pools: [{ id: a }]');
	assert.throws(
		() => appliedTo(running, load([], 'pools: [{ id: a, engine: scripted }]')),
		/pool a has engine scripted, but runs with llamacpp/,
	);
});
