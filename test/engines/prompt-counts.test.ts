/** Counts of prompts that are remembered: by model and text, the last few thousand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ScriptedBackend } from '../../src/engines/scripted/scripted-backend.ts';
import { HostDecodePort } from '../../src/engines/wire/host-decode-port.ts';
import { PromptCounts } from '../../src/engines/wire/prompt-counts.ts';
import { count, raw } from './decode-world.ts';
import { innerHost, scriptedSettings } from './host-world.ts';

class CountingBackend extends ScriptedBackend {
	counted = 0;

	override count(input: Parameters<ScriptedBackend['count']>[0]): Promise<number> {
		this.counted += 1;
		return super.count(input);
	}
}

test('a prompt that comes again is not counted again, for as long as its engine is the same', async () => {
	const backend = new CountingBackend(scriptedSettings(), () => undefined);
	const made = await innerHost(backend);
	const port = new HostDecodePort((words) => assert.fail(words));
	try {
		const first = await count(port, made.replica, raw('one two three'));
		assert.ok(first.type === 'prompt-counted');
		assert.deepEqual(await count(port, made.replica, raw('one two three')), first);
		assert.equal(backend.counted, 1);
		await count(port, made.replica, raw('one two four'));
		await count(port, { ...made.replica, modelDigest: 'another' }, raw('one two three'));
		await count(port, { ...made.replica, chatTemplate: { baseBytes: 9, perMessageBytes: 9 } }, raw('one two three'));
		assert.equal(backend.counted, 4);
	} finally {
		port.close();
		await made.close();
	}
});

test('the counts that were asked for longest ago are forgotten', () => {
	const counts = new PromptCounts();
	for (let each = 0; each < 5_000; each += 1) {
		counts.put(`${each}`, each);
		assert.equal(counts.get('0'), 0);
	}
	assert.equal(counts.get('1'), undefined);
	assert.equal(counts.get('4999'), 4_999);
});
