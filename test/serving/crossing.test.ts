/** Messages that cross as lists come out as they went in, whatever is in them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MessageForms } from '../../src/actors/serving/crossing.ts';
import type { TaskClaim } from '../../src/actors/serving/home-messages.ts';
import type {
	DispatcherCommand,
	Lease,
	PlacementNews,
	QueueStanding,
	ReplicaFacts,
	Settlement,
	TaskSummary,
	WatchdogTimeouts,
} from '../../src/actors/serving/messages.ts';
import { anyPlacement } from '../../src/actors/serving/task-request.ts';
import { summary, taskClaim } from './summaries.ts';

type OptionalIn<T> = T extends unknown ? { [K in keyof T]-?: Record<never, never> extends Pick<T, K> ? K : never }[keyof T] : never;
type Crossing = Extract<DispatcherCommand | PlacementNews, { readonly type: 'submit' | 'queued' | 'granted' }>;
/** A field that must be there is missed by the compiler; one that need not be would be left behind without a word. These are all of them. */
type Optional =
	| OptionalIn<Crossing | TaskSummary | TaskClaim | WatchdogTimeouts | QueueStanding | Settlement | Lease>
	| OptionalIn<Extract<DispatcherCommand, { readonly type: 'settle' }>>;
const known: Readonly<Record<Optional, true>> = { slot: true, correlationId: true };

/** From one thread to the other. */
function crossed(from: MessageForms, to: MessageForms, message: unknown): unknown {
	return to.unpack(structuredClone(from.pack(message)));
}

/** What is generated has no prototype. */
function plain(message: unknown): unknown {
	return structuredClone(message);
}

const address = { home: 'sender', id: 7 };
const text = fc.string();
const number = fc.double({ noNaN: true });
const ornull = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null> => fc.option(value, { nil: null });
const lease = fc.record(
	{ epoch: fc.nat(), id: fc.nat(), poolId: text, replicaId: text, exclusive: fc.boolean(), slot: fc.nat() },
	{ requiredKeys: ['epoch', 'id', 'poolId', 'replicaId', 'exclusive'] },
);
const standing: fc.Arbitrary<QueueStanding> = fc.record({
	position: fc.nat(),
	at: number,
	predictedStartMs: number,
	predictedEndMs: number,
	predictedStartP90Ms: number,
	predictedEndP90Ms: number,
	estimated: fc.constantFrom('prior' as const, 'measured' as const),
	queueDepth: fc.nat(),
	warmUp: fc.constant(null),
});
const placement = fc.record({
	mode: fc.constantFrom('pin' as const, 'prefer' as const, 'auto' as const),
	pinPoolId: ornull(text),
	preferPools: fc.array(text, { maxLength: 2 }),
	avoidPools: fc.array(text, { maxLength: 2 }),
	requireDeviceMask: ornull(fc.array(fc.nat(), { maxLength: 2 })),
	allowFallback: fc.boolean(),
});
const summaries: fc.Arbitrary<TaskSummary> = fc
	.record({
		sessionId: ornull(text),
		promptTokens: ornull(fc.nat()),
		ctx: ornull(fc.nat()),
		maxTokens: ornull(fc.nat()),
		expectedTokens: ornull(fc.nat()),
		deadlineAt: ornull(number),
		admittedAt: number,
		strict: fc.boolean(),
		samplerProfileVersion: ornull(text),
		needs: fc.array(text, { maxLength: 2 }),
		placement: fc.oneof(fc.constant(anyPlacement), placement),
		prefixes: fc.array(fc.integer(), { maxLength: 2 }),
		queuedBytes: fc.nat(),
		counted: fc.boolean(),
		recalled: fc.boolean(),
		movable: fc.boolean(),
		resume: ornull(fc.record({ poolId: text, modelDigest: ornull(text), modelName: text, tokens: fc.nat() })),
	})
	.map((more) => summary('t', more));
const messages = fc.oneof(
	fc.record({
		type: fc.constant('submit'),
		summary: summaries,
		claim: fc.record({ frontId: text, bodyHash: text, keys: fc.array(text, { maxLength: 2 }), exclusive: fc.boolean() }),
		again: fc.boolean(),
		replyTo: fc.constant(address),
	}),
	fc.record({
		type: fc.constant('queued'),
		poolId: text,
		engine: fc.constant('scripted'),
		standing,
		onTimeProbability: ornull(number),
		budget: ornull(fc.record({ tokens: fc.nat(), timeMs: fc.constant(null), cost: number, gpuMs: fc.constant(null) })),
		held: fc.constant(null),
	}),
	fc.record(
		{
			type: fc.constant('settle'),
			lease,
			settlement: fc.record({
				outcome: fc.constantFrom('completed', 'moved'),
				slot: fc.constantFrom('free', 'unknown'),
				tokensIn: fc.nat(),
				tokensOut: fc.nat(),
				prefillMs: number,
				decodeMs: number,
				reason: text,
			}),
			correlationId: text,
		},
		{ requiredKeys: ['type', 'lease', 'settlement'] },
	),
);

function granted(replica: unknown, id = 1): Record<string, unknown> {
	const timeouts = { firstTokenMs: 1, idleMs: 2, wallMs: 3 };
	const told = { position: 0, at: 1, predictedStartMs: 2, predictedEndMs: 3, predictedStartP90Ms: 4, predictedEndP90Ms: 5 };
	return {
		type: 'granted',
		lease: { epoch: 1, id, poolId: 'p', replicaId: 'r', exclusive: false },
		replica,
		ctx: 2048,
		maxTokensOut: 512,
		migration: true,
		timeouts,
		standing: { ...told, estimated: 'prior', queueDepth: 6, warmUp: null },
	};
}

describe('messages that cross between a front and the control thread', () => {
	it('come out as they went in', () => {
		fc.assert(
			fc.property(fc.array(messages), (all) => {
				const [from, to] = [new MessageForms(), new MessageForms()];
				for (const message of all) assert.deepEqual(plain(crossed(from, to, message)), plain(message));
			}),
		);
	});

	it('have no optional fields but those that their forms know', () => {
		assert.deepEqual(Object.keys(known), ['slot', 'correlationId']);
	});

	it('that have no form cross as they are', () => {
		const forms = new MessageForms();
		const message = { type: 'withdraw', poolId: 'p', taskId: 't', reason: 'client' };
		assert.equal(forms.pack(message), message);
		assert.equal(forms.unpack(message), message);
		assert.throws(() => forms.unpack([99]), /form 99/);
	});

	it('are shorter as lists', () => {
		const packed = new MessageForms().pack({ type: 'submit', summary: summary('t'), claim: taskClaim, again: false, replyTo: address });
		assert.ok(Array.isArray(packed));
		assert.ok(packed.every((value) => value === null || value === address || typeof value !== 'object'));
	});

	it('tell the facts of a replica once, and of each that is new again, however many there were', () => {
		const [from, to] = [new MessageForms(), new MessageForms()];
		const facts = Array.from({ length: 600 }, (_, index) => ({ replicaId: `r${index}` }) as ReplicaFacts);
		let sent = 0;
		for (const round of [0, 1, 2]) {
			for (const [index, replica] of facts.entries()) {
				for (const message of [granted(replica, index), granted(replica, index + round)]) {
					const packed = structuredClone(from.pack(message));
					if (JSON.stringify(packed).includes(replica.replicaId)) sent += 1;
					assert.deepEqual(to.unpack(packed), message);
				}
			}
		}
		assert.equal(sent, 3 * facts.length);
		const [one, other] = [new MessageForms(), new MessageForms()];
		const known = crossed(one, other, granted(facts[0], 1)) as { readonly replica: unknown };
		assert.equal((crossed(one, other, granted(facts[0], 2)) as { readonly replica: unknown }).replica, known.replica);
	});

	it('never name facts that did not cross', () => {
		const from = new MessageForms();
		const replica = { replicaId: 'r' };
		from.pack(granted(replica));
		assert.throws(() => new MessageForms().unpack(from.pack(granted(replica))), /did not/);
	});
});
