/**
 * Every metric of the daemon: name, type, labels, buckets, meaning. One table for all threads; what is not in it cannot be
 * recorded. No behaviour.
 */

interface MetricBase {
	readonly name: string;
	readonly help: string;
	readonly labels: readonly string[];
}

export type MetricSpec =
	| (MetricBase & { readonly type: 'counter' })
	/** `merge`: what the values of several threads with equal labels become. */
	| (MetricBase & { readonly type: 'gauge'; readonly merge: 'sum' | 'max' })
	| (MetricBase & { readonly type: 'histogram'; readonly buckets: readonly number[] });

const engine = ['engine', 'engine_version'];
const pool = [...engine, 'pool_id'];
const replica = [...pool, 'replica_id'];

const firstTokenBuckets = [1, 2, 5, 10, 20, 50, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 10000];
const decodeBuckets = [50, 100, 250, 500, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 12000, 60000];
const gapBuckets = [1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000, 2000];
const cancelBuckets = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
const commitBuckets = [0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 30000];
const relayBuckets = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000];
const ratioBuckets = [0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 4, 10];

// Names, units and bounds of the OpenTelemetry semantic conventions for generative AI; dots are underscores here.
const genAi = ['gen_ai_operation_name', 'gen_ai_provider_name', 'gen_ai_request_model'];
const requestSeconds = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const firstTokenSeconds = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const outputTokenSeconds = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];

export const metricSpecs: readonly MetricSpec[] = [
	counter('tasks_enqueued_total', 'Tasks that a pool took into its queue.', [...replica, 'priority']),
	counter('tasks_started_total', 'Tasks that were given a slot.', [...replica, 'priority']),
	counter('tasks_canceled_total', 'Tasks that were stopped before their end, by who or what stopped them.', [...replica, 'reason']),
	counter('tasks_rejected_total', 'Tasks that were refused at admission, by error code.', ['engine', 'reason']),
	counter('tasks_dropped_total', 'Queued tasks that were dropped to make room for others.', ['engine', 'pool_id', 'priority']),
	counter('admission_backpressure_events_total', 'Times that something full refused or dropped a task, by its policy.', [
		'engine',
		'policy',
	]),
	counter('tokens_in_total', 'Prompt tokens that engines took.', replica),
	counter('tokens_out_total', 'Tokens that engines made and tasks logged.', replica),
	counter('artifacts_stored_total', 'Artifacts that were taken in, by kind.', ['kind']),
	counter('artifacts_collected_total', 'Artifacts that went because the quota was full.', []),
	gauge('artifact_bytes', 'What all artifacts take of their quota, in bytes.', []),
	counter('transcripts_total', 'Transcripts of tasks that were to be kept, by what came of it.', ['result']),
	counter('catalog_verifications_total', 'Model files that were checked against their digests.', ['result', 'reason', 'engine']),
	counter('placement_decisions_total', 'Decisions where a task goes, previews included.', ['outcome', 'pinned', 'fallback']),
	gauge('queue_depth', 'Tasks that wait for a slot.', [...pool, 'priority']),
	gauge('kv_cache_usage_ratio', 'Part of the KV cache that is in use, 0 to 1: as the engine says, else by its running tasks.', replica),
	gauge('gpu_utilization', 'Part of the time that a device was busy, 0 to 1.', [...replica, 'device'], 'max'),
	gauge('vram_used_bytes', 'Device memory in use, in bytes.', [...replica, 'device'], 'max'),
	gauge('model_state', '1 for the state that a model is in, else 0.', ['model_id', 'state'], 'max'),
	gauge('journal_bytes', 'Records of durable tasks on disk, in bytes.', [], 'sum'),
	gauge('journal_tasks', 'Durable tasks on disk: live ones are to run, or run, ended ones are kept for who asks.', ['state'], 'sum'),
	counter('journal_commits_total', 'Groups of records that were written to disk, or could not be.', ['outcome']),
	histogram('journal_commit_ms', 'How long such a group took until it was on disk, in milliseconds.', [], commitBuckets),
	gauge('placement_candidates_considered', 'Pools that the last placement decision looked at.', [], 'max'),
	histogram(
		'latency_first_token_ms',
		'From the admission of a task to its first token, in milliseconds.',
		[...pool, 'priority'],
		firstTokenBuckets,
	),
	histogram(
		'latency_decode_ms',
		'From the first token of a completed task to its last, in milliseconds.',
		[...pool, 'priority'],
		decodeBuckets,
	),
	histogram(
		'inter_token_latency_ms',
		'Mean time between the tokens of one task over half a second or its rest, in milliseconds.',
		[...pool, 'priority'],
		gapBuckets,
	),
	histogram('eta_error_ratio', 'Time that a started task had waited over the time that was predicted.', ['pool_id'], ratioBuckets),
	gauge('slots', 'Slots of a replica, by what they do.', ['pool_id', 'replica_id', 'state']),
	gauge('replica_state', '1 for the state that a replica is in, else 0.', ['pool_id', 'replica_id', 'state'], 'max'),
	gauge(
		'replica_breaker',
		'1 for the state that the circuit breaker of a replica is in, else 0.',
		['pool_id', 'replica_id', 'state'],
		'max',
	),
	counter('model_loads_total', 'Loads of models that are loaded on demand.', ['pool_id']),
	counter('model_unloads_total', 'Times that a model was unloaded, by why.', ['pool_id', 'reason']),
	counter('migrations_total', 'Running tasks that went on elsewhere.', ['pool_id', 'reason']),
	counter('preemptions_total', 'Running tasks that gave their slot away for a while.', ['pool_id', 'reason']),
	gauge('sse_watchers', 'Event streams that are open.', []),
	gauge('ws_sockets', 'WebSockets that are open.', []),
	gauge('ws_watchers', 'Tasks that are watched over WebSockets.', []),
	histogram(
		'relay_latency_us',
		'From the first log entry of a turn until the last watcher was written to, in microseconds; at most every 100 ms.',
		[],
		relayBuckets,
	),
	gauge('event_loop_lag_ms', 'How late the last heartbeat of a thread was, in milliseconds.', ['thread'], 'max'),
	gauge('actors', 'Actors that live.', ['thread']),
	gauge('actor_timers', 'Timers that actors have set.', ['thread']),
	gauge('actor_asks', 'Questions of actors that have no answer yet.', ['thread']),
	gauge('mailbox_depth', 'Messages that wait; of actors that come and go, the most of any.', ['actor'], 'max'),
	counter('dead_letters_total', 'Messages that were accepted and never read.', []),
	histogram(
		'cancel_latency_ms',
		'From the cancel of a running task until its slot was free again, or given up as unknown, in milliseconds.',
		['stage'],
		cancelBuckets,
	),
	counter('wasted_tokens_total', 'Tokens that an engine still made after their task was stopped.', ['reason']),
	counter('stale_settlements_total', 'Leases that were ended and that no pool knew any more.', ['pool_id']),
	counter('ledger_drift_total', 'Times that slots or queue of a pool, or budgets of a session, did not add up: a bug.', ['pool_id']),
	counter('http_bugs_total', 'Requests and connections that met a bug of the daemon.', []),
	histogram(
		'gen_ai_server_request_duration',
		'From the admission of a task to its end, in seconds.',
		[...genAi, 'error_type'],
		requestSeconds,
	),
	histogram('gen_ai_server_time_to_first_token', 'From the admission of a task to its first token, in seconds.', genAi, firstTokenSeconds),
	histogram(
		'gen_ai_server_time_per_output_token',
		'Mean time of each token of a completed task after its first, in seconds.',
		genAi,
		outputTokenSeconds,
	),
];

function counter(name: string, help: string, labels: readonly string[]): MetricSpec {
	return { type: 'counter', name, help, labels };
}

function gauge(name: string, help: string, labels: readonly string[], merge: 'sum' | 'max' = 'sum'): MetricSpec {
	return { type: 'gauge', name, help, labels, merge };
}

function histogram(name: string, help: string, labels: readonly string[], buckets: readonly number[]): MetricSpec {
	return { type: 'histogram', name, help, labels, buckets };
}
