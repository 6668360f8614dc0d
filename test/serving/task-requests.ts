/** Requests, pools and replicas for tests of the serving actors. */
import type { PoolView, ReplicaFacts } from '../../src/actors/serving/messages.ts';
import { anyPlacement, greedySampling, type TaskRequest } from '../../src/actors/serving/task-request.ts';

export function taskRequest(taskId: string, more: Partial<TaskRequest> = {}): TaskRequest {
	return {
		taskId,
		sessionId: null,
		correlationId: `c-${taskId}`,
		workload: 'completion',
		modelRef: 'default',
		engine: null,
		ctx: null,
		priority: 'interactive',
		tenant: 'default',
		keyName: null,
		input: { kind: 'prompt', text: 'secret-prompt', raw: true },
		maxTokens: 64,
		deadlineMs: null,
		sampling: { ...greedySampling, temperature: 0.8, topP: 0.95, topK: 40 },
		seed: 7,
		strict: false,
		samplerProfileVersion: null,
		expectedTokens: null,
		kvHint: 'reuse',
		placement: anyPlacement,
		outputMode: null,
		onDisconnect: 'detach',
		disconnectGraceMs: 2000,
		durable: false,
		idempotencyKey: null,
		named: true,
		bodyHash: 'hash',
		...more,
	};
}

export const replicaFacts: ReplicaFacts = {
	replicaId: 'pool-0',
	poolId: 'pool',
	engine: 'scripted',
	engineVersion: '1.2',
	modelDigest: 'sha256:ab',
	modelName: 'demo',
	address: 'nowhere',
	slots: 2,
	ctx: 512,
	workloads: ['completion', 'embedding'],
	samplerProfileVersion: '1',
	chatTemplate: { baseBytes: 20, perMessageBytes: 10 },
	device: 'CPU',
	features: [],
};

export function poolView(more: Partial<PoolView> = {}): PoolView {
	return {
		poolId: 'pool',
		engine: 'scripted',
		provider: 'embedded',
		model: 'scripted:demo',
		aliases: ['default'],
		names: [],
		ctx: 512,
		maxTokensOut: 256,
		charges: { wallMs: 600_000, perTokenIn: 0, perTokenOut: 0, gpus: 0 },
		slotsTotal: 2,
		slotsFree: 2,
		queueDepth: { interactive: 0, batch: 0 },
		state: 'ready',
		residency: 'always',
		drainingUntil: null,
		readyAt: null,
		retiring: false,
		fetch: null,
		reloadingTo: null,
		purging: null,
		lastError: null,
		replicas: [{ replicaId: 'pool-0', state: 'ready', facts: replicaFacts, breaker: 'closed', lastError: null }],
		...more,
	};
}
