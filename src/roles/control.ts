/**
 * Composition root of the control thread: the Dispatcher with its pools. It sees summaries, grants and facts; never a prompt,
 * never a token.
 */
import type { LogLevel } from '../actors/kernel/telemetry.ts';
import { CatalogAdmission } from '../actors/serving/admission.ts';
import type { CatalogNews } from '../actors/serving/catalog-messages.ts';
import { MessageForms } from '../actors/serving/crossing.ts';
import { dispatcher } from '../actors/serving/dispatcher.ts';
import type { DispatcherCommand, EngineThreadCommand } from '../actors/serving/messages.ts';
import type { PoolSpec } from '../actors/serving/pool-spec.ts';
import type { SessionOptions } from '../actors/serving/session-book.ts';
import { urgentFromControl } from '../actors/serving/urgent.ts';
import { runRole } from '../actors/threads/thread-role.ts';
import { threadLog } from '../transport/telemetry/logs.ts';
import { type ThreadTelemetry, threadTelemetry } from '../transport/telemetry/metrics.ts';

export interface ControlConfig {
	/** Which control thread of the daemon this is: fences the leases of the one before. */
	readonly epoch: number;
	readonly pools: readonly PoolSpec[];
	readonly fronts: readonly string[];
	readonly sessions: SessionOptions;
	readonly pinning: boolean;
	readonly catalog: CatalogNews;
	readonly logLevel: LogLevel;
}

/** What a changed configuration changes here. */
export type ControlChange = Pick<ControlConfig, 'pools' | 'pinning' | 'catalog'>;

/** More than all links together may have under way. */
const dispatcherMailboxMax = 131_072;

let telemetry: ThreadTelemetry;

runRole<ControlConfig, null>(
	(config, thread) => {
		telemetry = threadTelemetry({ thread, log: threadLog({ thread, level: config.logLevel }), heapDefaults: true });
		return telemetry;
	},
	async (config, { system }) => {
		const { epoch, pools, fronts, sessions, pinning } = config;
		const admission = new CatalogAdmission();
		const ref = system.spawn(
			'dispatcher',
			dispatcher({ epoch, pools, expectedFronts: fronts, sessions, sessionsKept: true, pinning, admission }),
			{
				mailboxMax: dispatcherMailboxMax,
			},
		);
		const heard = ({ retired: models, untrusted, names, deadlineMs }: CatalogNews): void => {
			admission.retired = new Set(models);
			admission.untrusted = new Set(untrusted);
			ref.tell({ type: 'retire-models', models, untrusted, names, deadlineMs });
		};
		heard(config.catalog);
		return {
			facts: null,
			names: { dispatcher: ref },
			urgent: urgentFromControl,
			forms: () => new MessageForms(),
			onPeer(name, peer) {
				// Fronts introduce themselves: only they know what they hold.
				if (!name.startsWith('engine')) return;
				ref.tell({
					type: 'engine-joined',
					engineId: name,
					replyTo: peer.remote<EngineThreadCommand>('engine'),
				} satisfies DispatcherCommand);
			},
			onMain() {},
			configure(change) {
				const { catalog, ...configured } = change as ControlChange;
				heard(catalog);
				ref.tell({ type: 'configure-pools', ...configured });
			},
			metrics: () => telemetry.snapshot(),
			counted: () => telemetry.counted,
			inspect: () => ({ stats: system.stats, mailboxes: [...system.mailboxDepths()] }),
			drain: () => Promise.resolve(),
			stop: () => Promise.resolve(),
			onUncaught() {},
		};
	},
);
