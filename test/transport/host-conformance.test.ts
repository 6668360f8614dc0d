/** The conformance suite over each server library, and which of them is chosen. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chooseHost } from '../../src/transport/http/choose-host.ts';
import type { HttpHostOptions } from '../../src/transport/http/http-host.ts';
import { hostConformance } from './host-conformance.ts';

for (const preference of ['uws', 'node'] as const) {
	hostConformance(`the ${preference} host`, (options, report) => {
		const choice = chooseHost(preference, options, report);
		assert.ok(choice.ok && choice.host.name === preference);
		return choice.host;
	});
}

describe('the choice of a host', () => {
	const options: HttpHostOptions = {
		hostname: '127.0.0.1',
		port: 0,
		bodyBytesMax: 1,
		inflightBodyBytesMax: 1,
		wsMessageBytesMax: 1,
		connectionsMax: 1_000,
	};
	const missing = () => ({ ok: false, reason: 'uWebSockets.js cannot be loaded on this system: no binary' }) as const;

	it('is uWebSockets, and node where its binary does not load, with the reason', () => {
		const usual = chooseHost('auto', options, assert.fail);
		assert.ok(usual.ok);
		assert.deepEqual([usual.host.name, usual.instead], ['uws', null]);
		usual.host.close();
		const other = chooseHost('auto', options, assert.fail, missing);
		assert.ok(other.ok);
		assert.deepEqual([other.host.name, other.instead], ['node', 'uWebSockets.js cannot be loaded on this system: no binary']);
		other.host.close();
	});

	it('is refused when uWebSockets is demanded and does not load', () => {
		assert.deepEqual(chooseHost('uws', options, assert.fail, missing), missing());
	});
});
