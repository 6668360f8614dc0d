/** What one of several front threads has of the bounds of the daemon. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bookMemory } from '../../src/actors/serving/task-book.ts';
import type { FrontConfig } from '../../src/roles/front.ts';
import { frontShare } from '../../src/roles/front-share.ts';

const whole: FrontConfig = {
	wallOffset: 0,
	frontId: 'front-1',
	fronts: 4,
	host: 'uws',
	http: {
		hostname: '127.0.0.1',
		port: 1,
		bodyBytesMax: 100,
		inflightBodyBytesMax: 1000,
		connectionsMax: 10,
		wsMessageBytesMax: 50,
	},
	transcripts: 'off',
	options: {
		bodyBytesMax: 100,
		onDisconnect: 'detach',
		disconnectGraceMs: 1,
		responses: { countMax: 5, bytesMax: 9 },
		version: '1',
		buildCommit: null,
		buildTime: null,
		front: 1,
		hostname: '127.0.0.1',
		hosts: [],
		corsOrigins: [],
		auth: { keys: [], publicMetrics: false },
		headerCountMax: 10,
		sse: { heartbeatMs: 1, stallMs: 1, microbatchMs: 0, watchersMax: 5 },
	},
	rates: [],
	retention: { logBytesMax: 1001, retentionMs: 7, retentionCount: 3 },
	book: bookMemory(),
	taskRollFd: null,
	logLevel: 'info',
};

test('a front has an equal share of what bounds all, rounded up, and the whole of what bounds one', () => {
	const { http, options, retention } = frontShare(whole, 4);
	assert.deepEqual([http.connectionsMax, http.inflightBodyBytesMax, options.sse.watchersMax], [3, 250, 2]);
	assert.deepEqual(options.responses, { countMax: 2, bytesMax: 3 });
	assert.deepEqual(retention, { logBytesMax: 251, retentionMs: 7, retentionCount: 1 });
	assert.deepEqual([http.bodyBytesMax, http.wsMessageBytesMax, options.headerCountMax], [100, 50, 10]);
	assert.deepEqual(frontShare(whole, 1), whole);
});

test('a share has room for one body of full length, where the whole has', () => {
	assert.equal(frontShare(whole, 64).http.inflightBodyBytesMax, 100);
	assert.equal(frontShare({ ...whole, http: { ...whole.http, inflightBodyBytesMax: 80 } }, 64).http.inflightBodyBytesMax, 80);
});
