/** The faults of the scripted engine, which other tests rely on. */
import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { HostDecodePort } from '../../src/engines/wire/host-decode-port.ts';
import { begin, generate } from './decode-world.ts';
import { innerScriptedHost, scriptedFault } from './host-world.ts';

const closers: (() => unknown)[] = [];
afterEach(async () => {
	for (const close of closers.splice(0).reverse()) await close();
});

async function host(...args: Parameters<typeof innerScriptedHost>): ReturnType<typeof innerScriptedHost> {
	const made = await innerScriptedHost(...args);
	closers.push(() => made.close());
	return made;
}

function port(): HostDecodePort {
	const made = new HostDecodePort((words) => assert.fail(words), { answerMs: 500 });
	closers.push(() => made.close());
	return made;
}

describe('a scripted engine', () => {
	it('has each fault where and when it is asked to', async () => {
		const made = await host({
			decodeTokensPerS: 500,
			tokens: 40,
			faults: [
				scriptedFault('stall', { promptContains: 'stall', afterTokens: 3 }),
				scriptedFault('error', { promptContains: 'error', afterTokens: 5 }),
				scriptedFault('ignore-cancel', { promptContains: 'ignore' }),
				scriptedFault('flood', { promptContains: 'flood', afterTokens: 2 }),
				scriptedFault('error', { nth: 6, afterTokens: 0 }),
			],
		});
		const decode = port();
		const stalled = begin(decode, made.replica, { prompt: 'stall here' });
		await stalled.hasPieces(3);
		const failed = await generate(decode, made.replica, { prompt: 'an error' });
		assert.deepEqual([failed.tokens, failed.failure?.code], [5, 'WORKER_RESET']);
		const ignoring = begin(decode, made.replica, { prompt: 'ignore me', maxTokens: 20 });
		await ignoring.hasPieces(1);
		ignoring.generation?.cancel();
		assert.equal((await ignoring.hasEnded()).type, 'decode-ended');
		assert.equal(ignoring.tokens, 20);
		const flood = await generate(decode, made.replica, { prompt: 'flood', maxTokens: 40 });
		assert.equal(flood.tokens, 40);
		assert.equal((await generate(decode, made.replica, { prompt: 'fine', maxTokens: 4 })).tokens, 4);
		const sixth = await generate(decode, made.replica, { prompt: 'the sixth', maxTokens: 4 });
		assert.deepEqual([sixth.tokens, sixth.failure?.code], [0, 'WORKER_RESET']);
		assert.equal(stalled.tokens, 3);
		stalled.generation?.cancel();
		assert.equal((await stalled.hasEnded()).type, 'decode-cancelled');
	});
});
