/** Task summaries and pool specifications for tests of the control thread. */

import type { DecisionRecord } from '../../src/actors/serving/decision-messages.ts';
import { failure } from '../../src/actors/serving/failure.ts';
import type { TaskClaim } from '../../src/actors/serving/home-messages.ts';
import type { TaskSummary } from '../../src/actors/serving/messages.ts';
import type { PoolSnapshot } from '../../src/actors/serving/placement.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';
import { anyPlacement } from '../../src/actors/serving/task-request.ts';

/** As the front of the tests says it. */
export const taskClaim: TaskClaim = { frontId: 'front-0', bodyHash: 'hash', keys: [], exclusive: false };

export function summary(taskId: string, more: Partial<TaskSummary> = {}): TaskSummary {
	return {
		taskId,
		sessionId: null,
		correlationId: `c-${taskId}`,
		workload: 'completion',
		modelRef: 'default',
		engine: null,
		priority: 'interactive',
		tenant: 'default',
		promptTokens: null,
		promptBytes: 40,
		ctx: null,
		maxTokens: 16,
		expectedTokens: null,
		deadlineAt: null,
		admittedAt: 0,
		strict: false,
		samplerProfileVersion: null,
		needs: [],
		prefixes: [],
		placement: anyPlacement,
		queuedBytes: 1_000,
		movable: true,
		resume: null,
		held: null,
		counted: false,
		recalled: false,
		...more,
	};
}

/** As a Dispatcher records it. */
export const decisionRecord: DecisionRecord = {
	at: 0,
	outcome: 'assigned',
	poolId: 'p1',
	decidedBy: 'predicted_end',
	fallback: false,
	considered: [
		{ poolId: 'p1', refusedFor: null, passed: 10, predictedStartMs: 0, predictedEndMs: 50 },
		{ poolId: 'p3', refusedFor: failure('INVALID_PARAMS', 'ctx is too large'), passed: 3, predictedStartMs: 0, predictedEndMs: 50 },
	],
	stages: { admission: 1, feasibility: 2, ranking: 3, handover: 4 },
};

export function placement(more: Partial<TaskSummary['placement']>): Pick<TaskSummary, 'placement'> {
	return { placement: { ...summary('').placement, ...more } };
}

export function poolSpec(more: Partial<PoolSpec> = {}): PoolSpec {
	return {
		poolId: 'pool',
		engine: 'scripted',
		provider: 'embedded',
		model: 'scripted:demo',
		aliases: ['default'],
		devices: null,
		residency: { kind: 'always' },
		memoryBytes: null,
		replicas: 1,
		slots: 2,
		workers: false,
		maxTokensOut: 64,
		queue: { capacity: 256, bytesMax: 1 << 28, fullPolicy: 'reject', batchMaxWaitMs: 60_000, order: 'fifo', preemption: 'off' },
		migration: 'on',
		prices: { perTokenIn: 0.001, perTokenOut: 0.002 },
		perfPrior: { prefillTokensPerS: 1_000, decodeTokensPerS: 50, tokensOut: 128, loadMs: null },
		timeouts: { firstTokenMs: 60_000, idleMs: 30_000, wallMs: 600_000 },
		cacheDir: null,
		settings: { slots: 2 },
		...more,
	};
}

export function snapshot(poolId: string, more: Partial<PoolSnapshot> = {}): PoolSnapshot {
	return {
		poolId,
		engine: 'llamacpp',
		model: 'file:/m.gguf',
		aliases: ['default'],
		names: [],
		devices: null,
		state: 'ready',
		onDemand: false,
		draining: false,
		exhausted: false,
		lastError: null,
		ctx: 512,
		maxTokensOut: 256,
		workloads: ['completion'],
		features: ['grammar'],
		samplerProfileVersion: '1',
		modelDigest: 'sha256:ab',
		modelName: 'm',
		migration: true,
		slotsFree: 1,
		slotsTotal: 4,
		hasRoom: true,
		tasks: 3,
		cannotFit: null,
		vramFreeBytes: null,
		prefillMsPerToken: 1,
		decodeMsPerToken: 20,
		tokensOut: 128,
		predictedStartMs: { interactive: 0, batch: 0 },
		taskEveryMs: 100,
		retryAfterMs: 1_500,
		...more,
	};
}
