/** How full KV caches are, as it is told of a front's running tasks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KvUsage } from '../../src/actors/serving/kv-usage.ts';
import { Recorder } from './front-world.ts';
import { poolView, replicaFacts } from './task-requests.ts';

function toldBy(telemetry: Recorder): Readonly<Record<string, number>> {
	const last = telemetry.gauges.splice(0).filter((gauge) => gauge.metric === 'kv_cache_usage_ratio');
	return Object.fromEntries(last.map(({ labels, value }) => [`${labels['replica_id']} ${labels['engine_version']}`, value]));
}

test('the KV cache of a replica is as full as its running tasks have tokens, and empty when they or it are gone', () => {
	const telemetry = new Recorder();
	const usage = new KvUsage(telemetry);
	const facts = { ...replicaFacts, slots: 2, ctx: 100 };
	const replicaOf = (replicaId: string, more: Partial<typeof facts> = {}) =>
		({ replicaId, state: 'ready', facts: { ...facts, replicaId, ...more }, breaker: 'closed', lastError: null }) as const;
	const pools = [poolView({ replicas: [replicaOf('pool-0'), replicaOf('pool-1')] })];
	const running = [
		{ replicaId: 'pool-0', tokensIn: 30, tokensOut: 10 },
		{ replicaId: 'pool-0', tokensIn: 9, tokensOut: 1 },
		{ replicaId: null, tokensIn: 99, tokensOut: 0 },
	];
	usage.show(pools, running);
	assert.deepEqual(toldBy(telemetry), { 'pool-0 1.2': 0.25, 'pool-1 1.2': 0 });
	usage.show(pools, []);
	assert.deepEqual(toldBy(telemetry), { 'pool-0 1.2': 0, 'pool-1 1.2': 0 });
	usage.show([poolView({ replicas: [replicaOf('pool-0', { engineVersion: '1.3' })] })], running);
	assert.deepEqual(toldBy(telemetry), { 'pool-0 1.3': 0.25, 'pool-0 1.2': 0, 'pool-1 1.2': 0 });
});
