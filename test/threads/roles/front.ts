/** A front as small as can be: the real server library, and a path that throws where nothing catches. */
import { silentTelemetry } from '../../../src/actors/kernel/telemetry.ts';
import { runRole } from '../../../src/actors/threads/thread-role.ts';
import type { RequestHandler } from '../../../src/transport/http/http-host.ts';
import { loadUwsHost } from '../../../src/transport/http/uws-host.ts';

runRole<{ readonly port: number }, { readonly port: number }>(
	() => silentTelemetry,
	async ({ port }) => {
		const choice = loadUwsHost(
			{ hostname: '127.0.0.1', port, bodyBytesMax: 1024, inflightBodyBytesMax: 1024, wsMessageBytesMax: 1024, connectionsMax: 1_000 },
			() => {},
		);
		if (!choice.ok) throw new Error(choice.reason);
		const handler: RequestHandler = {
			onUpgrade: () => null,
			onRequest(request, sink) {
				if (request.path === '/throw') {
					// Outside every guard: a timer's callback.
					setImmediate(() => {
						throw new Error('planted bug');
					});
					return null;
				}
				if (request.path === '/open') sink.start(200, [], Buffer.from(':\n\n'));
				else sink.respond(200, [], 'here');
				if (request.path === '/open') sink.write(Buffer.from('first\n'));
				return null;
			},
		};
		const facts = await choice.host.listen(handler);
		return {
			facts,
			names: {},
			urgent: new Set<string>(),
			onPeer() {},
			onMain() {},
			metrics: () => Promise.resolve({ from: 'front' }),
			inspect: () => null,
			drain: () => Promise.resolve(),
			stop: async () => choice.host.close(),
			onUncaught: () => choice.host.close(),
		};
	},
);
