/** What the control thread makes of the catalog: models that nobody may trust, and names that the catalog has for what pools serve. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ControlWorld } from './control-world.ts';
import { poolSpec } from './summaries.ts';

interface Told {
	readonly untrusted?: readonly string[];
	readonly names?: readonly (readonly [string, string])[];
}

function tell(world: ControlWorld, { untrusted = [], names = [] }: Told): void {
	world.admission.untrusted = new Set(untrusted);
	world.dispatcher?.tell({ type: 'retire-models', models: [], untrusted, names, deadlineMs: 60_000 });
	world.host.run();
}

const pools = ['a', 'b'].map((poolId) =>
	poolSpec({ poolId, model: `scripted:${poolId}`, aliases: ['both'], slots: 1, settings: { slots: 1 } }),
);

test('a model that is not to be trusted serves nobody: its pools are drained, and its tasks are refused with that code', () => {
	const world = ControlWorld.ready(pools);
	const running = world.submit('running', { modelRef: 'a' });
	const waiting = world.submit('waiting', { modelRef: 'a' });
	tell(world, { untrusted: ['scripted:a'] });
	world.host.advance(10);
	assert.equal(waiting.only('refused').failure.code, 'UNTRUSTED_ARTIFACT');
	for (const modelRef of ['a', 'scripted:a']) {
		const { failure } = world.submit(`late-${modelRef}`, { modelRef }).only('refused');
		assert.deepEqual([failure.code, failure.retriable], ['UNTRUSTED_ARTIFACT', false]);
	}
	assert.equal(world.submit('elsewhere', { modelRef: 'both' }).poolId, 'b');
	assert.equal(world.control('a', { kind: 'undrain' })?.code, 'UNTRUSTED_ARTIFACT');
	assert.equal(world.control('b', { kind: 'reload', model: 'scripted:a' })?.code, 'UNTRUSTED_ARTIFACT');
	assert.equal(running.state, 'running');
	running.finish();
	tell(world, {});
	world.host.advance(10);
	assert.equal(world.submit('again', { modelRef: 'a' }).state, 'running');
});

test('what the catalog calls a model names the pools that serve it now: in tasks, for fronts, and in a reload', () => {
	const world = ControlWorld.ready(pools);
	const digest = `sha256:${'a'.repeat(64)}`;
	assert.equal(world.submit('before', { modelRef: 'mine' }).only('refused').failure.code, 'NOT_FOUND');
	tell(world, {
		names: [
			['mine', 'scripted:a'],
			[digest, 'scripted:a'],
		],
	});
	for (const modelRef of ['mine', digest]) assert.equal(world.submit(modelRef, { modelRef }).poolId, 'a');
	assert.deepEqual([world.view('a').names, world.view('b').names], [['mine', digest], []]);
	for (const task of world.tasks.values()) if (task.state !== 'refused') task.cancel();
	world.host.advance(1_000);
	assert.equal(world.control('b', { kind: 'reload', model: 'mine' }), null);
	world.host.advance(100);
	assert.deepEqual([world.view('b').model, world.view('b').names], ['scripted:a', ['mine', digest]]);
	assert.equal(world.control('a', { kind: 'reload', model: 'scripted:c' }), null);
	world.host.advance(100);
	assert.deepEqual(world.view('a').names, []);
	assert.equal(world.submit('moved', { modelRef: 'mine' }).poolId, 'b');
});
