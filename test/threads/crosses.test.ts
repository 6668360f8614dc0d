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
import { assertCrosses, type Crosses } from '../../src/actors/threads/crosses.ts';

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

type Verdict<M> = Crosses<M> extends true ? 'crosses' : 'refused';

it('stops functions, nested refs and errors', () => {
	const withFunction: Verdict<{ readonly type: 'x'; readonly act: () => void }> = 'refused';
	const withRef: Verdict<{ readonly type: 'x'; readonly other: ActorRef<string> }> = 'refused';
	const withDeepRef: Verdict<{ readonly type: 'x'; readonly list: readonly { readonly replyTo: ActorRef<string> }[] }> = 'refused';
	const withReply: Verdict<{ readonly type: 'x'; readonly replyTo: ActorRef<string> }> = 'crosses';
	assert.deepEqual([withFunction, withRef, withDeepRef, withReply], ['refused', 'refused', 'refused', 'crosses']);
	assert.throws(() => structuredClone({ act() {} }));
});
