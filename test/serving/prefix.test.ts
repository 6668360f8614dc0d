/** Prompts that begin alike: how fronts tell it, and where such tasks go. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PrefixPlaces, prefixesOf } from '../../src/actors/serving/prefix.ts';
import type { ChatMessage, Placement, PromptInput } from '../../src/actors/serving/task-request.ts';
import { ControlWorld } from './control-world.ts';
import { poolSpec } from './summaries.ts';
import { taskRequest } from './task-requests.ts';

const prompt = (text: string): PromptInput => ({ kind: 'prompt', text, raw: true });
const hashes = (input: PromptInput, more = {}): readonly number[] => prefixesOf(taskRequest('t', { input, ...more }));

test('beginnings of 2 048 and 256 characters are told, the longest first, and none where no cache may be used', () => {
	const long = 'x'.repeat(3_000);
	const [longest, shortest] = hashes(prompt(long));
	assert.equal(hashes(prompt(long)).length, 2);
	assert.deepEqual(hashes(prompt(`${long.slice(0, 2_048)} and other words`)), [longest, shortest]);
	assert.deepEqual(hashes(prompt(`${long.slice(0, 2_047)}y`))[1], shortest);
	assert.notEqual(hashes(prompt(`${long.slice(0, 2_047)}y`))[0], longest);
	assert.deepEqual(hashes(prompt(`${long.slice(0, 256)}y`)), [shortest]);
	assert.deepEqual(hashes(prompt(long.slice(0, 255))), []);
	assert.deepEqual(hashes(prompt(long), { strict: true }), []);
	assert.deepEqual(hashes(prompt(long), { kvHint: 'cold' }), []);
	assert.deepEqual(hashes({ kind: 'inputs', inputs: [long], query: null }, { workload: 'embedding' }), []);
});

test('a conversation that goes on begins as it began, and one with another role or system prompt does not', () => {
	const message = (role: ChatMessage['role'], length: number): ChatMessage => ({ role, content: role[0]?.repeat(length) ?? '' });
	const turns = [message('system', 200), message('user', 100), message('assistant', 100)];
	const of = (messages: readonly ChatMessage[]): readonly number[] => hashes({ kind: 'messages', messages });
	assert.equal(of(turns.slice(0, 2)).length, 1);
	assert.deepEqual(of(turns), of(turns.slice(0, 2)));
	assert.notDeepEqual(of([message('user', 200), ...turns.slice(1)]), of(turns));
	assert.notDeepEqual(of([{ role: 'system', content: 'other '.repeat(50) }, ...turns.slice(1)]), of(turns));
});

test('who had the longest beginning is found, the last one that did, and what came longest ago is forgotten', () => {
	const places = new PrefixPlaces();
	places.put([1, 2], 'a');
	places.put([3, 2], 'b');
	assert.deepEqual([places.find([1, 2]), places.find([4, 2]), places.find([5]), places.find([])], ['a', 'b', null, null]);
	for (let prefix = 10; prefix < 10_000; prefix += 1) places.put([prefix], 'c');
	assert.deepEqual([places.find([1]), places.find([9_999])], [null, 'c']);
});

test('of pools and replicas that are as good as each other, the one that had a prompt that began alike has the next', () => {
	const world = ControlWorld.ready([
		poolSpec({ poolId: 'a', replicas: 3, settings: { slots: 2 } }),
		poolSpec({ poolId: 'b', replicas: 3, settings: { slots: 2 } }),
	]);
	const run = (id: string, prefixes: readonly number[]): string | undefined => {
		const task = world.submit(id, { prefixes });
		const where = task.lease?.replicaId;
		task.finish();
		world.host.run();
		return where;
	};
	const blocker = world.submit('blocker', { placement: pinned('b') });
	assert.equal(blocker.lease?.replicaId, 'b-0');
	// Pool a is less loaded, and a-0 comes first.
	assert.equal(run('one', [1]), 'a-0');
	const other = world.submit('other');
	assert.equal(other.lease?.replicaId, 'a-0');
	assert.equal(run('two', [2]), 'a-1');
	other.finish();
	world.host.run();
	assert.deepEqual([run('two again', [9, 2]), run('one again', [1]), run('new', [3])], ['a-1', 'a-0', 'a-0']);
	blocker.finish();
	world.host.run();
	const inB = world.submit('in b', { prefixes: [4], placement: pinned('b') });
	inB.finish();
	world.host.run();
	assert.equal(run('in b again', [4]), inB.lease?.replicaId);
	// It breaks ties, and nothing else.
	const busy = world.submit('busy', { prefixes: [4], placement: pinned('b') });
	assert.notEqual(world.submit('beside it', { prefixes: [4], placement: pinned('b') }).lease?.replicaId, busy.lease?.replicaId);
	for (const id of ['busy', 'beside it']) world.tasks.get(id)?.finish();
	world.host.run();
	world.assertQuiet();
});

function pinned(poolId: string): Placement {
	return { mode: 'pin', pinPoolId: poolId, preferPools: [], avoidPools: [], requireDeviceMask: null, allowFallback: true };
}
