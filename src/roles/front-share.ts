/**
 * What a front thread has of the bounds of the daemon: an equal share, rounded up. The kernel spreads connections over the
 * threads by a hash, so one may be full a little before all are. Pure.
 */
import type { FrontConfig } from './front.ts';

export function frontShare(config: FrontConfig, fronts: number): FrontConfig {
	const { http, options, retention } = config;
	const share = (whole: number): number => Math.ceil(whole / fronts);
	return {
		...config,
		http: {
			...http,
			connectionsMax: share(http.connectionsMax),
			// A body that is not too long finds room somewhere: in a thread that is receiving no other.
			inflightBodyBytesMax: Math.min(http.inflightBodyBytesMax, Math.max(share(http.inflightBodyBytesMax), http.bodyBytesMax)),
		},
		options: {
			...options,
			responses: { countMax: share(options.responses.countMax), bytesMax: share(options.responses.bytesMax) },
			sse: { ...options.sse, watchersMax: share(options.sse.watchersMax) },
		},
		retention: { ...retention, logBytesMax: share(retention.logBytesMax), retentionCount: share(retention.retentionCount) },
	};
}
