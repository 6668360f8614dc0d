/** What a daemon says of itself once its pools are ready, have failed, or wait for models that may take hours. Pure; on main. */
import type { PoolView } from './actors/serving/messages.ts';
import type { ModelFetch } from './actors/serving/warm-up-messages.ts';
import type { DaemonFacts, PoolFacts } from './cli/banner.ts';
import { type DaemonConfig, packageVersion } from './config.ts';

/** A model that is on its way may be so for hours. */
export function isSettled({ state, fetch }: PoolView): boolean {
	return state !== 'starting' || fetch !== null;
}

function fetchWords({ bytesDone, bytesTotal, note }: ModelFetch): string {
	const of =
		bytesTotal === null
			? ''
			: `: ${Math.floor((100 * bytesDone) / Math.max(1, bytesTotal))} % of ${Math.ceil(bytesTotal / 2 ** 20)} MiB are here`;
	return `its model is being fetched${of}${note === null ? '' : `; ${note}`}`;
}

export function daemonFacts(config: DaemonConfig, url: string, fronts: number, httpHost: string, pools: readonly PoolView[]): DaemonFacts {
	return {
		version: packageVersion(),
		url,
		httpHost,
		threads: { front: fronts, control: 1, engine: 1 },
		configFile: config.configFile,
		hint: null,
		pools: pools.map((pool): PoolFacts => {
			const facts = pool.replicas.find((replica) => replica.facts !== null)?.facts ?? null;
			const configured = config.pools.find((each) => each.id === pool.poolId);
			return {
				id: pool.poolId,
				engine: pool.engine,
				engineVersion: facts?.engineVersion ?? null,
				model: pool.model,
				aliases: pool.aliases,
				replicas: pool.replicas.length,
				slots: configured?.slots ?? 0,
				ctx: facts?.ctx ?? null,
				device: facts?.device ?? null,
				mayUseGpu: (configured?.fromCatalog === true || configured?.modelPath !== null) && configured?.devices?.length !== 0,
				onDemand: pool.residency === 'on_demand',
				trouble:
					pool.state === 'ready' || pool.state === 'unloaded'
						? null
						: (pool.lastError ?? (pool.fetch === null ? 'it is still loading' : fetchWords(pool.fetch))),
			};
		}),
	};
}
