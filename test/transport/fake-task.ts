/** A task made of fields: implements `TaskView` over a real event log, driven by the test. */
import type { ActorRef } from '../../src/actors/kernel/ref.ts';
import { EventLog } from '../../src/actors/serving/event-log.ts';
import type { Failure } from '../../src/actors/serving/failure.ts';
import type { QueueStanding } from '../../src/actors/serving/messages.ts';
import type { TaskCommand, TaskState, TaskView } from '../../src/actors/serving/task-directory.ts';
import { anyPlacement, greedySampling, type TaskRequest } from '../../src/actors/serving/task-request.ts';
import { pieceRecords, type TestPiece } from '../serving/piece-records.ts';

export function taskRequest(more: Partial<TaskRequest> = {}): TaskRequest {
	return {
		taskId: '01890a5d-ac96-774b-bcce-b302099a8057',
		sessionId: null,
		correlationId: 'test',
		workload: 'completion',
		modelRef: 'default',
		engine: null,
		ctx: null,
		priority: 'interactive',
		tenant: 'default',
		keyName: null,
		input: { kind: 'prompt', text: 'x', raw: true },
		maxTokens: null,
		deadlineMs: null,
		sampling: greedySampling,
		seed: 1,
		strict: false,
		samplerProfileVersion: null,
		expectedTokens: null,
		kvHint: 'reuse',
		placement: anyPlacement,
		outputMode: null,
		onDisconnect: 'detach',
		disconnectGraceMs: 0,
		durable: false,
		idempotencyKey: null,
		named: true,
		bodyHash: '',
		...more,
	};
}

export function standingAt(position: number): QueueStanding {
	return {
		position,
		at: 0,
		predictedStartMs: position * 100,
		predictedEndMs: position * 100 + 50,
		predictedStartP90Ms: position * 200,
		predictedEndP90Ms: position * 200 + 100,
		estimated: 'prior',
		queueDepth: position + 1,
		warmUp: null,
	};
}

export class FakeTask implements TaskView {
	readonly request: TaskRequest;
	readonly log: EventLog;
	readonly told: TaskCommand[] = [];
	readonly ref: ActorRef<TaskCommand>;
	readonly admittedAt: number;
	state: TaskState = 'queued';
	phase: TaskView['phase'] = 'queued';
	standing: QueueStanding | null = standingAt(0);
	standingVersion = 1;
	onTimeProbability: number | null = null;
	budget: TaskView['budget'] = null;
	startedAt: number | null = null;
	firstTokenAt: number | null = null;
	endedAt: number | null = null;
	poolId: string | null = 'p1';
	replicaId: string | null = null;
	engine: TaskView['engine'] = 'scripted';
	engineVersion: string | null = '1';
	modelDigest: string | null = null;
	tokensIn = 0;
	tokensCached: number | null = null;
	decodeMs = 0;
	finishReason: TaskView['finishReason'] = null;
	stopSequence: TaskView['stopSequence'] = null;
	failure: Failure | null = null;
	vectors: readonly Float32Array[] | null = null;
	transcriptArtifact: string | null = null;
	watchers = 0;

	/** Cancels end the task at once, as a Task does. */
	constructor(request: TaskRequest = taskRequest(), admittedAt = 0, firstSeq = 1, run: number | null = null) {
		this.log = new EventLog(64 * 1024 * 1024, firstSeq, run);
		this.request = request;
		this.admittedAt = admittedAt;
		this.ref = {
			tell: (command) => {
				this.told.push(command);
				if (command.type === 'watcher-attached') this.watchers += 1;
				if (command.type === 'watcher-gone') this.watchers -= 1;
				if (command.type === 'cancel') {
					if (!this.log.ended) this.end('canceled');
					command.replyTo?.tell({ type: 'cancel-done' });
				}
				return 'accepted';
			},
		};
	}

	get tokensOut(): number {
		return this.log.tokens;
	}

	stand(position: number): void {
		this.standing = standingAt(position);
		this.standingVersion += 1;
		this.log.notify();
	}

	start(): void {
		this.state = 'running';
		this.phase = 'prefill';
		this.standingVersion += 1;
		this.startedAt = this.admittedAt + 5;
		this.log.append('started', JSON.stringify({ queue_position: 0, pool_id: this.poolId, seed: this.request.seed }));
	}

	tokens(...pieces: readonly (string | TestPiece)[]): void {
		if (this.phase !== 'decode') {
			this.phase = 'decode';
			this.standingVersion += 1;
			this.firstTokenAt = this.admittedAt + 7;
		}
		this.log.appendPieces(pieceRecords(pieces.map((piece) => (typeof piece === 'string' ? { text: piece } : piece))));
	}

	end(finishReason: 'stop' | 'length' | 'canceled' = 'stop'): void {
		this.state = finishReason === 'canceled' ? 'canceled' : 'done';
		this.finishReason = finishReason;
		this.#ended();
		this.log.append(
			'end',
			JSON.stringify({ tokens_out: this.tokensOut, finish_reason: finishReason, canceled: finishReason === 'canceled' }),
		);
	}

	fail(failure: Failure): void {
		this.state = 'failed';
		this.failure = failure;
		this.#ended();
		this.log.append('error', JSON.stringify({ code: failure.code, message: failure.message, retriable: failure.retriable }));
	}

	#ended(): void {
		this.phase = 'ended';
		this.standingVersion += 1;
		this.endedAt = this.admittedAt + 20;
	}
}
