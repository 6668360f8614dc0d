/** What may cross between threads is checked by the compiler: this file compiling is the test. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import type {
	DispatcherCommand,
	EngineThreadCommand,
	FrontCommand,
	PlacementNews,
	PlacementPreview,
	ReplicaCommand,
	ReplicaNews,
} from '../../src/actors/serving/messages.ts';
import { assertCrosses } from '../../src/actors/threads/crosses.ts';

it('lets every message between threads cross', () => {
	assertCrosses<DispatcherCommand>(true);
	assertCrosses<PlacementNews>(true);
	assertCrosses<PlacementPreview>(true);
	assertCrosses<EngineThreadCommand>(true);
	assertCrosses<ReplicaCommand>(true);
	assertCrosses<ReplicaNews>(true);
	assertCrosses<FrontCommand>(true);
	assert.ok(structuredClone({ type: 'stop' } satisfies ReplicaCommand));
});

it('stops functions, nested refs and errors', () => {
	// @ts-expect-error a function does not survive
	assertCrosses<{ type: 'x'; act: () => void }>(true);
	// @ts-expect-error a ref stands only in replyTo
	assertCrosses<{ type: 'x'; other: ActorRef<string> }>(true);
	// @ts-expect-error nor deeper
	assertCrosses<{ type: 'x'; list: { replyTo: ActorRef<string> }[] }>(true);
	assert.throws(() => structuredClone({ act() {} }));
});
