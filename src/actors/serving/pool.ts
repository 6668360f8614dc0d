/**
 * The Pool actor: one engine and model with one queue. The only writer of its queue and its ledger, on the control thread;
 * it grants slots and takes them back, and never sees a prompt or a token.
 *
 * A task here: `enqueue` → queued → (a slot is free) granted → settled. Its actor is watched from the first to the last; if
 * it dies in between, its place or its slot comes back, the slot by way of quarantine. Here: who may queue, and what the pool
 * says of itself; the slots are `pool-slots.ts`, the replicas `pool-engines.ts`, all over one `pool-state.ts`.
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import { type Decline, lastWord } from './declines.ts';
import type { Failure } from './failure.ts';
import type { PlacementPreview, TaskSummary } from './messages.ts';
import { PoolEngines } from './pool-engines.ts';
import type { PoolCommand, PoolMessage } from './pool-messages.ts';
import { PoolOffers } from './pool-offers.ts';
import { PoolSlots } from './pool-slots.ts';
import type { PoolSpec } from './pool-spec.ts';
import { PoolStandings } from './pool-standings.ts';
import { type PoolOptions, PoolState } from './pool-state.ts';
import type { Waiting } from './pool-tasks.ts';
import { paceOf, poolNews } from './pool-view.ts';
import { victimsFor } from './queue.ts';

type Foreseen = Omit<Extract<PlacementPreview, { type: 'would-queue' }>, 'decision'>;

const gaugesMs = 100;
const warmUpMs = 1_000;

export function pool(options: PoolOptions): Setup<PoolMessage> {
	return (ctx) => new Pool(ctx, options);
}

class Pool implements Behavior<PoolMessage> {
	readonly #pool: PoolState;
	readonly #offers: PoolOffers;
	readonly #slots: PoolSlots;
	readonly #engines: PoolEngines;
	readonly #standings: PoolStandings;
	#publishing = false;
	#ending = false;
	#gaugesDue = false;

	constructor(ctx: ActorContext<PoolMessage>, options: PoolOptions) {
		this.#pool = new PoolState(ctx, options);
		this.#offers = new PoolOffers(this.#pool, (task) => this.#onEnqueue(task));
		this.#slots = new PoolSlots(this.#pool, this.#offers);
		this.#engines = new PoolEngines(this.#pool, this.#slots, this.#offers);
		this.#standings = new PoolStandings(this.#pool);
		this.#showGauges();
		this.#publish();
	}

	onMessage(ctx: ActorContext<PoolMessage>, message: PoolMessage): Next<PoolMessage> {
		this.#pool.queue.age(ctx.now());
		if (message.type === 'publish-due') this.#tellDispatcher();
		else if (message.type === 'gauges-due') this.#showGauges();
		// It changes who is next, and nothing that is told of a pool; and it comes five times a second.
		else if (message.type === 'tokens-served') this.#slots.served(message.served);
		else {
			this.#handle(message);
			this.#engines.swap();
			this.#engines.residency.look();
			this.#publish();
		}
		return this.#next();
	}

	onSignal(_ctx: ActorContext<PoolMessage>, signal: Signal): Next<PoolMessage> {
		if (signal.type !== 'terminated') return 'same';
		if (!this.#engines.gone(signal.ref)) this.#slots.taskGone(signal.ref);
		this.#engines.residency.look();
		this.#publish();
		return this.#next();
	}

	invariant(): string | null {
		return this.#slots.drift();
	}

	/** A pool that was told to end has ended with its last replica, and when whoever waited here has heard what became of it. */
	#next(): Next<PoolMessage> {
		const { replicas, news } = this.#pool;
		return this.#ending && replicas.rows.length === 0 && news.isTold ? 'stopped' : 'same';
	}

	#handle(message: Exclude<PoolMessage, { type: 'publish-due' | 'gauges-due' | 'tokens-served' }>): void {
		switch (message.type) {
			case 'enqueue':
				this.#pool.received += 1;
				return this.#onEnqueue(message);
			case 'withdraw':
				return this.#onWithdraw(message.taskId);
			case 'settle':
				return this.#slots.settle(message);
			case 'report-lease':
				return this.#slots.reportLease(message);
			case 'foresee':
				return this.#onForesee(message);
			case 'configure':
				return this.#onConfigure(message.spec);
			case 'retire':
				this.#pool.retiring = true;
				return this.#offers.all();
			case 'unretire':
				this.#pool.retiring = false;
				return;
			case 'end':
				this.#ending = true;
				this.#pool.replicas.endAll();
				return;
			case 'drain':
				return this.#onDrain(message.deadlineAt);
			case 'undrain':
				return this.#onUndrain();
			case 'drain-over':
				return this.#onDrainOver();
			case 'offer-due':
				return this.#offers.next();
			case 'reload':
				return this.#engines.reload(message);
			case 'purge':
				return this.#engines.purge(message);
			case 'resume-purge':
				return this.#pool.reload.resume(message.purging);
			case 'register':
				return this.#engines.register(message);
			case 'use-engine':
				return this.#engines.use(message);
			case 'start-replicas-due':
				return this.#engines.startAll();
			case 'residency-due':
				return this.#engines.residency.due();
			case 'use-keeper':
				return this.#engines.residency.useKeeper(message.replyTo);
			case 'load':
			case 'unload':
				return this.#onResidency(message);
			case 'memory-granted':
			case 'memory-refused':
			case 'memory-expected':
			case 'give-way':
			case 'stay':
				return this.#engines.residency.heard(message);
			case 'verify-due':
				return this.#engines.verifyAgain();
			case 'open-grants':
				this.#pool.grantsOpen = true;
				return this.#slots.grant();
			case 'audit-due':
				return this.#slots.audit(message.replicaId);
			case 'breaker-due':
				this.#pool.replicas.find(message.replicaId)?.breaker.tryAgain();
				return this.#slots.grant();
			case 'ledger-due':
				return this.#slots.check();
			case 'tell-again-due':
				this.#pool.news.tellAgain();
				return this.#slots.grant();
			case 'standings-due':
				return this.#standings.tell(message.from);
			default:
				return this.#engines.heard(message);
		}
	}

	// --- tasks ----------------------------------------------------------------------------------------------------

	#onEnqueue(command: Extract<PoolCommand, { type: 'enqueue' }>): void {
		const { spec, replicas, sessions, news, ctx, forecast, queue, tasks, telemetry } = this.#pool;
		const { summary, terms, origin, replyTo: ref } = command;
		if (origin?.kind === 'moved' && !this.#mayJoin(summary)) return this.#offers.displace(command, origin.from, spec.poolId);
		if (origin?.kind === 'stays' && replicas.state === 'failed') {
			sessions.left(command);
			return news.tell(ref, { type: 'refused', failure: this.#pool.cannotServe() });
		}
		const now = ctx.now();
		const decline = origin === null ? this.#whyNot(summary, now) : null;
		if (decline !== null) return this.#decline(command, decline);
		const serviceMs = forecast.serviceMs(summary, this.#pool.depthOfNext());
		const { startMs, standing } = forecast.foresee(summary, serviceMs, this.#pool);
		const onTimeProbability = forecast.onTime(summary, standing, now, this.#pool.warmUp);
		const waiting: Waiting = {
			taskId: summary.taskId,
			priority: summary.priority,
			tenant: summary.tenant,
			admittedAt: summary.admittedAt,
			deadlineAt: summary.deadlineAt,
			begun: summary.resume !== null,
			cost: forecast.cost(summary),
			costAtStart: forecast.costAtStart(summary),
			bytes: summary.queuedBytes,
			// A strict task takes all slots of its replica for as long.
			workMs: serviceMs * (summary.strict ? (replicas.facts?.slots ?? 1) : 1),
			summary,
			terms,
			ref,
			serviceMs,
			enqueuedAt: now,
			startMs,
			predictedStartMs: standing.predictedStartMs,
			predictedEndMs: standing.predictedEndMs,
			cold: standing.warmUp !== null,
			toldPosition: standing.position,
			toldStartMs: standing.predictedStartMs,
			toldWarm: standing.warmUp !== null,
			toldAt: now,
		};
		queue.enqueue(waiting);
		tasks.waits(waiting);
		if (origin === null) telemetry.enqueued(summary, replicas.facts);
		ref.tell({
			type: 'queued',
			poolId: spec.poolId,
			engine: spec.engine,
			standing: { ...standing, queueDepth: queue.length },
			onTimeProbability,
			budget: terms.budget,
			held: terms.held,
		});
		this.#slots.grant();
		this.#standings.watch();
	}

	/** One that another pool cannot serve now: nobody is dropped for it. */
	#mayJoin(summary: TaskSummary): boolean {
		const { queue, drain, refusals } = this.#pool;
		const { taskId, queuedBytes } = summary;
		if (queue.get(taskId) !== undefined || this.#pool.unserved() !== null || drain.active) return false;
		return summary.resume !== null || (refusals.tooLarge(summary) === null && queue.hasRoom(queuedBytes));
	}

	/** Null: it could be queued, were there room and time. */
	#whyNotServed(summary: TaskSummary): Failure | null {
		const { queue, refusals, replicas } = this.#pool;
		if (queue.get(summary.taskId) !== undefined) return refusals.alreadyQueued(summary.taskId);
		// It was placed before the news of our failure got there.
		if (replicas.state === 'failed') return this.#pool.cannotServe();
		// It had a slot, and its watchers have a part of the answer: it is not told now that there is no room.
		if (summary.resume !== null) return null;
		return this.#pool.unserved() ?? refusals.tooLarge(summary);
	}

	/** Why it is not queued; null: it may be, and perhaps others were dropped for it. */
	#whyNot(summary: TaskSummary, now: number): Decline | null {
		const { poolId } = this.#pool.spec;
		const refusal = this.#whyNotServed(summary);
		if (refusal !== null) return { poolId, failure: refusal, endMs: null };
		if (summary.resume !== null || summary.recalled) return null;
		// Before anybody is dropped for it: one that is refused costs nobody a place.
		const late = this.#whyTooLate(summary, now);
		if (late !== null) return late;
		const full = this.#makeRoom(summary);
		return full === null ? null : { poolId, failure: full, endMs: null };
	}

	/** Another pool may have it. */
	#decline({ summary, terms, asked, replyTo }: Extract<PoolCommand, { type: 'enqueue' }>, decline: Decline): void {
		const { dispatcher, sessions, news } = this.#pool;
		// A task that is here already may not begin elsewhere, too.
		if (asked.others && decline.failure.code !== 'CONFLICT') {
			const declined = { type: 'declined', summary, terms, declines: [...asked.declines, decline], replyTo } as const;
			if (dispatcher.tell(declined) === 'accepted') return;
		}
		sessions.refused({ summary, terms });
		news.tell(replyTo, { type: 'refused', failure: lastWord([...asked.declines, decline]) ?? decline.failure });
	}

	/** As the queue stands: with those that would be dropped for it. */
	#whyTooLate(summary: TaskSummary, now: number): Decline | null {
		if (summary.deadlineAt === null) return null;
		const { forecast, refusals, pace, warmUp, spec } = this.#pool;
		const { standing } = forecast.foresee(summary, forecast.serviceMs(summary, this.#pool.depthOfNext()), this.#pool);
		// By the load alone, where nobody knows how fast it is then.
		const hopeless = pace.founded
			? forecast.onTime(summary, standing, now, warmUp) === 0
			: warmUp !== null && warmUp.possibleMs.every((each) => now + each > (summary.deadlineAt as number));
		const failure = hopeless ? refusals.tooLate(summary, standing, now) : null;
		return failure === null ? null : { poolId: spec.poolId, failure, endMs: standing.predictedEndMs };
	}

	/** Null: there is room for it; perhaps others were dropped. */
	#makeRoom(summary: TaskSummary): Failure | null {
		const { queue, refusals, telemetry, spec, sessions, news } = this.#pool;
		const victims = victimsFor(spec.queue.fullPolicy, queue, summary.priority, summary.queuedBytes);
		if (victims?.length !== 0) telemetry.backpressure();
		if (victims === null) return refusals.full(summary, queue, this.#pool.retryAfterMs());
		for (const victim of victims) {
			this.#pool.dequeue(victim);
			sessions.left(victim);
			telemetry.dropped(victim.summary);
			news.tell(victim.ref, { type: 'refused', failure: refusals.dropped(this.#pool.retryAfterMs()) });
		}
		return null;
	}

	#onWithdraw(taskId: string): void {
		const { queue, sessions } = this.#pool;
		const waiting = queue.get(taskId);
		if (waiting === undefined) return;
		this.#pool.dequeue(waiting);
		sessions.left(waiting);
		waiting.ref.tell({ type: 'withdrawn' });
		this.#slots.grant();
	}

	// --- configuration --------------------------------------------------------------------------------------------

	/** What runs and waits goes on by what it was admitted with; what its engines are started with is exchanged one by one. */
	#onConfigure(next: PoolSpec): void {
		const { spec, queue, pace, loads, telemetry, reload } = this.#pool;
		const settingsChanged = next.model !== spec.model || JSON.stringify(next.settings) !== JSON.stringify(spec.settings) || reload.undone;
		if (!settingsChanged && spec.is(next)) return;
		spec.become(next);
		queue.bounds = next.queue;
		pace.prior = next.perfPrior;
		loads.prior = next.perfPrior.loadMs;
		telemetry.configured(
			settingsChanged ? `${spec.poolId} has other settings: its engines start anew, one by one.` : `${spec.poolId} has other settings.`,
		);
		this.#engines.configure(settingsChanged);
		this.#slots.grant();
	}

	#onResidency({ type, replyTo }: Extract<PoolCommand, { type: 'load' | 'unload' }>): void {
		const { residency } = this.#engines;
		const done = type === 'load' ? residency.load() : residency.unload();
		replyTo.tell({ type: 'pool-controlled', failure: done ? null : this.#pool.refusals.alwaysLoaded() });
	}

	// --- drain ----------------------------------------------------------------------------------------------------

	#onDrain(deadlineAt: number): void {
		const { drain, ctx } = this.#pool;
		drain.begin(deadlineAt);
		ctx.setTimer('drain', Math.max(0, deadlineAt - ctx.now()), { type: 'drain-over' });
		this.#offers.all();
	}

	#onUndrain(): void {
		const { drain, ctx } = this.#pool;
		drain.end();
		ctx.cancelTimer('drain');
		this.#slots.grant();
	}

	/** Who still runs is told to go: on elsewhere, if that can be. */
	#onDrainOver(): void {
		const { drain, tasks, news } = this.#pool;
		if (!drain.active) return;
		for (const { lease, ref, goneAt } of tasks) {
			if (goneAt === null) news.tell(ref, { type: 'leave-slot', lease, reason: 'drained' });
		}
	}

	// --- what it says of itself -----------------------------------------------------------------------------------

	#onForesee({ summary, decision, declines, replyTo }: Extract<PoolCommand, { type: 'foresee' }>): void {
		const { dispatcher } = this.#pool;
		const foreseen = this.#foresee(summary);
		if (foreseen.type === 'would-queue') {
			replyTo.tell({ ...foreseen, decision });
			return;
		}
		// Also where there is no other: what was decided is told as it turned out.
		if (dispatcher.tell({ type: 'would-decline', summary, declines: [...declines, foreseen], replyTo }) === 'accepted') return;
		replyTo.tell({ type: 'would-refuse', failure: foreseen.failure, decision });
	}

	#foresee(summary: TaskSummary): Foreseen | (Decline & { readonly type: 'would-decline' }) {
		const { spec, refusals, queue, forecast, ctx } = this.#pool;
		const { engine, poolId } = spec;
		const declined = (why: Failure) => ({ type: 'would-decline', poolId, failure: why, endMs: null }) as const;
		const tooLarge = refusals.tooLarge(summary);
		if (tooLarge !== null) return declined(tooLarge);
		const now = ctx.now();
		const late = this.#whyTooLate(summary, now);
		if (late !== null) return { ...late, type: 'would-decline' };
		if (victimsFor(spec.queue.fullPolicy, queue, summary.priority, summary.queuedBytes) === null) {
			return declined(refusals.full(summary, queue, this.#pool.retryAfterMs()));
		}
		const serviceMs = forecast.serviceMs(summary, this.#pool.depthOfNext());
		const { standing } = forecast.foresee(summary, serviceMs, this.#pool);
		const onTimeProbability = forecast.onTime(summary, standing, now, this.#pool.warmUp);
		return { type: 'would-queue', poolId, engine, standing, onTimeProbability };
	}

	/** Once for all messages that wait: this one goes behind them. */
	#publish(): void {
		if (this.#publishing) return;
		this.#publishing = this.#pool.ctx.self.tell({ type: 'publish-due' }) === 'accepted';
	}

	#tellDispatcher(): void {
		const { spec, reload, replicas, ledger, queue, pace, tasks, drain, dispatcher, ctx } = this.#pool;
		const { warmUp } = this.#pool;
		this.#publishing = false;
		const { snapshot, view } = poolNews({
			spec,
			model: reload.model.ref,
			reloadingTo: reload.underWay,
			purging: reload.purging(replicas.rows),
			reloadProblem: reload.problem,
			replicas,
			ledger,
			queue,
			predictedStartMs: {
				interactive: this.#pool.startMs(queue.workOf('interactive')),
				batch: this.#pool.startMs(queue.workMs),
			},
			taskEveryMs: pace.heldMs(queue.meanWorkMs) / Math.max(1, replicas.readySlots),
			retryAfterMs: this.#pool.retryAfterMs(),
			running: tasks.runningCount,
			drainingUntil: drain.deadlineAt,
			fetch: this.#pool.fetch ?? replicas.fetch,
			// Of one that is not being loaded nobody knows when that begins.
			readyAt: warmUp === null || warmUp.basis === 'guess' || this.#pool.phase === 'out' ? null : Math.round(ctx.now() + warmUp.p50Ms),
			pace: paceOf(pace, replicas.facts?.slots ?? 1, spec.maxTokensOut),
		});
		dispatcher.tell({ type: 'pool-changed', snapshot, view, received: this.#pool.received, lastLeaseId: ledger.lastId });
		// What is left of a load grows less by itself; what nobody waits for does not.
		if (warmUp !== null && this.#pool.phase !== 'out') ctx.setTimer('publish', warmUpMs, { type: 'publish-due' });
		if (this.#gaugesDue) return;
		this.#gaugesDue = true;
		ctx.setTimer('gauges', gaugesMs, { type: 'gauges-due' });
	}

	#showGauges(): void {
		const { telemetry, queue, replicas, ledger, drain } = this.#pool;
		this.#gaugesDue = false;
		telemetry.stands(queue, replicas.rows, ledger, drain.active);
	}
}
