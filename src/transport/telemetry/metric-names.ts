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
const relayBuckets = [10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000];
const ratioBuckets = [0.1, 0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 4, 10];

export const metricSpecs: readonly MetricSpec[] = [
	counter('tasks_enqueued_total', 'Tasks that were queued', [...replica, 'priority']),
	counter('tasks_started_total', 'Tasks that were given a slot', [...replica, 'priority']),
	counter('tasks_canceled_total', 'Tasks that were stopped before their end', [...replica, 'reason']),
	counter('tasks_rejected_total', 'Tasks that were refused, by error code', ['engine', 'reason']),
	counter('tasks_dropped_total', 'Queued tasks that made room for others', ['engine', 'pool_id', 'priority']),
	counter('admission_backpressure_events_total', 'Times a full queue refused or dropped', ['engine', 'policy']),
	counter('tokens_in_total', 'Prompt tokens given to engines', replica),
	counter('tokens_out_total', 'Tokens made by engines', replica),
	counter('catalog_verifications_total', 'Verified model files', ['result', 'reason', 'engine']),
	counter('placement_decisions_total', 'Decisions where a task goes', ['outcome', 'pinned', 'fallback']),
	gauge('queue_depth', 'Tasks that wait', [...pool, 'priority']),
	gauge('kv_cache_usage_ratio', 'Used part of the KV cache', replica, 'max'),
	gauge('gpu_utilization', 'Busy part of a device', [...replica, 'device'], 'max'),
	gauge('vram_used_bytes', 'Device memory in use', [...replica, 'device'], 'max'),
	gauge('model_state', '1 for the state that a model is in', ['model_id', 'state'], 'max'),
	gauge('placement_candidates_considered', 'Pools that the last decision looked at', [], 'max'),
	histogram('latency_first_token_ms', 'From admission to the first token', [...pool, 'priority'], firstTokenBuckets),
	histogram('latency_decode_ms', 'From the first token to the last', [...pool, 'priority'], decodeBuckets),
	histogram('inter_token_latency_ms', 'Mean gap between tokens of one task, sampled', [...pool, 'priority'], gapBuckets),
	histogram('eta_error_ratio', 'Real wait over predicted wait', ['pool_id'], ratioBuckets),
	gauge('slots', 'Slots by what they do', ['pool_id', 'replica_id', 'state']),
	gauge('replica_state', '1 for the state that a replica is in', ['pool_id', 'replica_id', 'state'], 'max'),
	counter('migrations_total', 'Running tasks that went on elsewhere', ['pool_id', 'reason']),
	counter('preemptions_total', 'Running tasks that gave their slot away', ['pool_id', 'reason']),
	gauge('sse_watchers', 'Open event streams', []),
	histogram('relay_latency_us', 'From the event log to the socket, sampled', [], relayBuckets),
	gauge('event_loop_lag_ms', 'How late a timer fired last', ['thread'], 'max'),
	gauge('actors', 'Actors that live', ['thread']),
	gauge('actor_timers', 'Timers that actors have set', ['thread']),
	gauge('actor_asks', 'Questions of actors without an answer yet', ['thread']),
	gauge('mailbox_depth', 'Messages that wait', ['actor'], 'max'),
	counter('dead_letters_total', 'Messages that reached nobody', []),
	histogram('cancel_latency_ms', 'From asking for a cancel to the slot', ['stage'], cancelBuckets),
	counter('wasted_tokens_total', 'Tokens made for nobody', ['reason']),
	counter('stale_settlements_total', 'Leases ended under an epoch that is over', ['pool_id']),
	counter('ledger_drift_total', 'Times the slots of a pool did not add up', ['pool_id']),
	counter('http_bugs_total', 'Requests that ended in a bug of ours', []),
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
