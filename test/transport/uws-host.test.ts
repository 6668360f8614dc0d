/** What only uWebSockets does: what is asked of every host is in `host-conformance.ts`. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { ResponseSink } from '../../src/transport/http/http-host.ts';
import { loadUwsHost } from '../../src/transport/http/uws-host.ts';
import { RawClient } from './raw-client.ts';

const get = 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n';

it('answers quick pipelined requests in order, and ends a connection that pipelines behind a slow one', async () => {
	const choice = loadUwsHost(
		{ hostname: '127.0.0.1', port: 0, bodyBytesMax: 1_000, inflightBodyBytesMax: 1_000, wsMessageBytesMax: 1_000, connectionsMax: 1_000 },
		assert.fail,
	);
	assert.ok(choice.ok);
	const slow: ResponseSink[] = [];
	const { port } = await choice.host.listen({
		onRequest(request, sink) {
			if (request.path === '/slow') slow.push(sink);
			else sink.respond(200, [], request.path);
			return null;
		},
		onUpgrade: () => null,
	});
	const quick = await RawClient.connect(port);
	await quick.send(['/1', '/2', '/3'].map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`).join(''));
	const answers = await quick.until((received) => received.includes('/3'));
	assert.ok(answers.indexOf('/1') < answers.indexOf('/2') && answers.indexOf('/2') < answers.indexOf('/3'));
	const behind = await RawClient.connect(port);
	await behind.send(`GET /slow HTTP/1.1\r\nHost: a\r\n\r\n${get}`);
	await behind.untilClosed();
	assert.ok(slow[0]?.closed);
	quick.end();
	choice.host.close();
});
