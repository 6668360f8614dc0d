/**
 * What a seed decides before the run begins: how many threads, pools and clients, how links and engines behave, and which
 * faults strike how often. Plain data, printed by a replay.
 */
import { SeededRandom } from '../../src/actors/kernel/sim-host.ts';
import type { PoolSpec } from '../../src/actors/serving/pool-spec.ts';

export const faultKinds = [
	'front-loss',
	'control-loss',
	'engine-thread-loss',
	'engine-crash',
	'engine-stall',
	'engine-start-failure',
	'thread-stall',
	'slow-link',
	'lost-connections',
	'pool-drain',
	'pool-purge',
	'pool-reload',
	'pools-configured',
	'pool-unload',
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface LinkPlan {
	/** A batch is under way for up to this long; each link is in order, two links have none in common. */
	readonly lagMs: number;
	/** Credits, ordinary and urgent. */
	readonly window: number;
	readonly reserve: number;
}

export interface EnginePlan {
	readonly loadMs: number;
	/** What is written to an engine is read by it up to this much later; tokens take as long to a front. */
	readonly lagMs: number;
	readonly prefillMs: number;
	readonly gapMs: number;
	readonly tokensMax: number;
	/** Of a hundred generations: that end in an error, stall, send nonsense; and of a hundred cancels those not heard. */
	readonly errorPercent: number;
	readonly stallPercent: number;
	readonly nonsensePercent: number;
	readonly deafPercent: number;
}

export interface Plan {
	readonly seed: number;
	readonly fronts: readonly string[];
	readonly engineThreads: readonly string[];
	readonly pools: readonly PoolSpec[];
	readonly link: LinkPlan;
	readonly engine: EnginePlan;
	readonly sessions: { readonly ttlMs: number; readonly turnsMax: number; readonly countMax: number };
	readonly clients: number;
	/** Clients come, and faults strike, for this long. */
	readonly activeMs: number;
	readonly faults: readonly FaultKind[];
	/** Mean time between two faults. */
	readonly faultEveryMs: number;
	/** A lost thread is started again within this time. */
	readonly restartMs: number;
	readonly retentionMs: number;
	readonly logBytesMax: number;
	/** Of the `tasks` actor: small ones refuse clients while their front is stuck. */
	readonly tasksMailbox: number;
	readonly microbatchMs: number;
}

/** Of the one device. */
export const deviceBytes = 100;

export interface PoolSettings {
	readonly slots: number;
	/** That an engine takes, of the hundred bytes of the one device. */
	readonly memory: number;
}

export function drawPlan(seed: number): Plan {
	const random = new SeededRandom(seed);
	const upTo = (most: number): number => 1 + random.below(most);
	const one = <T>(...of: readonly [T, ...T[]]): T => of[random.below(of.length)] ?? of[0];
	const faults = random.below(6) === 0 ? [] : faultKinds.filter(() => random.below(2) === 0);
	const fronts = ['front-0', 'front-1'];
	const engineThreads = random.below(3) === 0 ? ['engine-0', 'engine-1'] : ['engine-0'];
	// At rest none of these is loaded: they are idle for less than a run takes to end.
	const onDemand =
		random.below(3) === 0 ? ({ kind: 'on_demand', idleMs: one(100, 1_500), minResidentMs: one(0, 200, 1_000) } as const) : null;
	const pools = Array.from(
		{ length: random.below(3) === 0 || onDemand !== null ? 2 : 1 },
		(_, index): PoolSpec => ({
			poolId: `pool${index}`,
			engine: 'scripted',
			provider: 'embedded',
			model: `scripted:${index}`,
			aliases: ['default'],
			devices: null,
			residency: onDemand === null ? { kind: 'always' } : { ...onDemand, pinned: false },
			memoryBytes: null,
			replicas: upTo(2),
			slots: 2,
			workers: false,
			maxTokensOut: 64,
			queue: {
				capacity: one(256, 20, upTo(6)),
				bytesMax: one(1 << 28, 1 << 28, 8_000),
				fullPolicy: one('reject', 'drop-lru', 'shed-low-priority'),
				batchMaxWaitMs: one(300, 60_000),
				order: one('fifo', 'deadline'),
				preemption: one('off', 'soft'),
			},
			migration: one('on', 'on', 'off'),
			prices: { perTokenIn: 0.001, perTokenOut: 0.002 },
			perfPrior: { prefillTokensPerS: 1_000, decodeTokensPerS: 50, tokensOut: 128, loadMs: null },
			timeouts: one(
				{ firstTokenMs: 60_000, idleMs: 30_000, wallMs: 600_000 },
				{ firstTokenMs: 1_500, idleMs: 700, wallMs: 4_000 },
				{ firstTokenMs: 5_000, idleMs: 0, wallMs: 20_000 },
			),
			cacheDir: '/caches',
			settings: { slots: upTo(3), memory: onDemand === null ? 0 : one(20, 45) } satisfies PoolSettings,
		}),
	);
	const troubled = random.below(3) > 0;
	const percent = (most: number): number => (troubled ? random.below(most) : 0);
	return {
		seed,
		fronts,
		engineThreads,
		pools,
		link: one(
			{ lagMs: 0, window: 4_096, reserve: 16_384 },
			{ lagMs: upTo(5), window: 4_096, reserve: 16_384 },
			{ lagMs: upTo(120), window: 4_096, reserve: 16_384 },
			{ lagMs: upTo(40), window: 2 + random.below(6), reserve: 4 + random.below(12) },
		),
		engine: {
			loadMs: one(0, 50, 400),
			lagMs: one(0, 1, upTo(60)),
			prefillMs: one(0, 20, upTo(300)),
			gapMs: one(5, 40, upTo(150)),
			tokensMax: one(6, 30, 60),
			errorPercent: percent(15),
			stallPercent: percent(15),
			nonsensePercent: percent(5),
			deafPercent: percent(60),
		},
		sessions: { ttlMs: one(600_000, 900), turnsMax: one(0, 8, 3), countMax: one(100, 3) },
		clients: 12 + random.below(60),
		activeMs: one(500, 2_000, 4_000),
		faults,
		faultEveryMs: one(50, 150, 400),
		restartMs: one(1, 60, 600),
		retentionMs: one(150, 2_000, 600_000),
		logBytesMax: one(1 << 22, 1 << 22, 24_000),
		tasksMailbox: one(65_536, 64),
		microbatchMs: one(0, 0, 20),
	};
}
