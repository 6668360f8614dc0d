/** The far thread of `bench/threads`: an actor that takes notes and answers the last one of each batch. */
import { type MessagePort, parentPort } from 'node:worker_threads';
import { RealHost } from '../../src/actors/kernel/real-host.ts';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { ActorSystem } from '../../src/actors/kernel/system.ts';
import { silentTelemetry } from '../../src/actors/kernel/telemetry.ts';
import { Link } from '../../src/actors/threads/link.ts';
import { messagePortLink } from '../../src/actors/threads/link-port.ts';

export type Answer = { readonly type: 'answer'; readonly n: number };
export type Note =
	| { readonly type: 'note'; readonly task: string; readonly n: number; readonly at: number; readonly last: boolean }
	| {
			readonly type: 'last-note';
			readonly task: string;
			readonly n: number;
			readonly at: number;
			readonly last: boolean;
			readonly replyTo: ActorRef<Answer>;
	  };

parentPort?.once('message', (port: MessagePort) => {
	const system = new ActorSystem(new RealHost(silentTelemetry));
	let notes = 0;
	const sink = system.spawn<Note>(
		'sink',
		() => ({
			onMessage(_ctx, note) {
				notes += 1;
				if (note.type === 'last-note') note.replyTo.tell({ type: 'answer', n: notes });
				return 'same';
			},
		}),
		{ mailboxMax: 65_536 },
	);
	new Link(system, messagePortLink(port), {
		incarnation: 1,
		names: { sink },
		urgent: new Set(),
		onPeer: () => undefined,
		onLost: () => undefined,
	});
});
