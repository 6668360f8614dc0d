/**
 * One actor, alive: its two lanes, its behaviour, its children, and the states between its first message and its end. Runs
 * only inside a turn of its system's scheduler, never re-entered: `tell` queues, always. Nothing outside the kernel sees it.
 *
 * ```
 *  starting ──(setup)──► running ──(bug, supervisor: restart)──► restarting ──(delay over, children gone)──► starting
 *      │                    │                                        │
 *      └────────────────────┴────(stop; a bug given up)──────────────┴──► stopping ──(children gone)──► ended
 * ```
 * The news lane (starts, stops, deaths) is read before the inbox and never refuses: its items are bounded by what the actor
 * watches and spawned. While restarting the inbox waits; from `stopping` on it is closed, and at the end what is left in it
 * becomes dead letters.
 */
import type { Address } from './address.ts';
import { answerUnread } from './ask.ts';
import type { Behavior, Next, Setup, Signal, SpawnOptions, StopReason } from './behavior.ts';
import { CellContext, type ContextOwner } from './context.ts';
import type { TimerHandle } from './host.ts';
import { LocalRef, type Relative } from './local-ref.ts';
import type { ActorRef, Delivery } from './ref.ts';
import { Reserved } from './reserved.ts';
import { Ring } from './ring.ts';
import type { Runnable } from './scheduler.ts';
import { decideRestart, noFailures, type SupervisionSpec, stopOnFailure } from './supervision.ts';
import type { SystemCore } from './system-core.ts';
import { errorFields } from './telemetry.ts';

const mailboxDefault = 1024;
const stopped: StopReason = { kind: 'stopped' };

/** What waits in the news lane. */
type News =
	| { readonly kind: 'start' | 'stop' | 'drain' | 'restart-due' | 'children-gone' }
	| { readonly kind: 'terminated'; readonly address: Address<never>; readonly reason: StopReason }
	| { readonly kind: 'child-failed'; readonly signal: Signal };

type CellState = 'starting' | 'running' | 'restarting' | 'stopping' | 'ended';

export class Cell<M> implements Runnable, Relative, ContextOwner<M> {
	scheduled = false;
	readonly ref: LocalRef<M>;
	readonly path: string;
	readonly kindPath: string;
	readonly #about: SpawnOptions['about'];
	readonly #core: SystemCore;
	readonly #parent: Relative | null;
	readonly #setup: Setup<M>;
	readonly #supervision: SupervisionSpec;
	readonly #inbox: Ring<M | Reserved<M>>;
	readonly #news = new Ring<News>(Number.POSITIVE_INFINITY);
	readonly #context: CellContext<M>;
	#children: Map<string, Relative> | null = null;
	#state: CellState = 'starting';
	#behavior: Behavior<M> | null = null;
	/** Draining on behalf of a behaviour that has no `onSignal`: nothing more comes in. */
	#closing = false;
	#drainAsked = false;
	#stopReason: StopReason = stopped;
	#history = noFailures;
	#restartTimer: TimerHandle | null = null;
	#drainTimer: TimerHandle | null = null;

	constructor(core: SystemCore, parent: Relative | null, basePath: string, name: string, setup: Setup<M>, options: SpawnOptions) {
		this.#core = core;
		this.#parent = parent;
		this.path = `${basePath}/${name}`;
		this.kindPath = `${parent?.kindPath ?? basePath}/${options.kind ?? name}`;
		this.#about = options.about;
		this.#setup = setup;
		this.#supervision = options.supervision ?? stopOnFailure;
		this.#inbox = new Ring(options.mailboxMax ?? mailboxDefault);
		this.ref = new LocalRef<M>(this, name, parent?.ref ?? null);
		this.#context = new CellContext(core, this);
		core.actors += 1;
		this.#hear({ kind: 'start' });
	}

	// --- what others do to it -------------------------------------------------------------------------------------

	tell(message: M): Delivery {
		if (this.#closing || this.#state === 'stopping' || this.#state === 'ended') return 'closed';
		if (!this.#inbox.push(message)) return 'full';
		if (!this.scheduled) this.#core.scheduler.schedule(this);
		return 'accepted';
	}

	arrived(item: Reserved<M>): void {
		if (this.#state === 'stopping' || this.#state === 'ended') return;
		this.#inbox.pushBeyond(item);
		if (!this.scheduled) this.#core.scheduler.schedule(this);
	}

	requestStop(): void {
		this.#hear({ kind: 'stop' });
	}

	requestDrain(): void {
		this.#hear({ kind: 'drain' });
	}

	watchedEnded(address: Address<never>, reason: StopReason): void {
		this.#hear({ kind: 'terminated', address, reason });
	}

	childFailed(signal: Signal): void {
		this.#hear({ kind: 'child-failed', signal });
	}

	/** The name is free at once: who hears `terminated` may use it again. */
	childEnded(name: string): void {
		this.#children?.delete(name);
		if (this.#hasChildren || this.#state === 'running') return;
		this.#hear({ kind: 'children-gone' });
	}

	#hear(news: News): void {
		if (this.#state === 'ended') return;
		this.#news.pushBeyond(news);
		if (!this.scheduled) this.#core.scheduler.schedule(this);
	}

	// --- its turn -------------------------------------------------------------------------------------------------

	get hasWork(): boolean {
		return this.#news.length > 0 || (this.#inbox.length > 0 && this.#state === 'running');
	}

	run(max: number): number {
		let handled = 0;
		for (;;) {
			try {
				while (handled < max) {
					if (this.#news.length > 0) {
						handled += 1;
						this.#onNews(this.#news.shift() as News);
					} else if (this.#inbox.length > 0 && this.#state === 'running') {
						handled += 1;
						this.#onItem(this.#inbox.shift() as M | Reserved<M>);
					} else break;
				}
				if (this.#closing) this.#endWhenDrained();
				return handled;
			} catch (error) {
				this.#fail(error);
			}
		}
	}

	#onItem(item: M | Reserved<M>): void {
		if (!(item instanceof Reserved)) this.#onMessage(item);
		else if (item.claim()) this.#onMessage(item.open());
	}

	#onMessage(message: M): void {
		if (this.#core.trace !== undefined) this.#core.trace(this.path, 'message', message);
		const behavior = this.#behavior;
		if (behavior === null) return;
		const next = behavior.onMessage(this.#context, message);
		if (next !== 'same') this.#become(next);
		if (this.#core.check !== undefined) this.#check(this.#core.check);
	}

	#check(look: (actor: string, invariant: () => string | null) => void): void {
		const behavior = this.#behavior;
		if (behavior?.invariant !== undefined) look(this.path, () => behavior.invariant?.() ?? null);
	}

	#onNews(news: News): void {
		switch (news.kind) {
			case 'start':
				if (this.#state === 'starting') this.#start();
				return;
			case 'stop':
				this.#beginStop(stopped);
				return;
			case 'drain':
				this.#drain();
				return;
			case 'restart-due':
			case 'children-gone':
				this.#goOn();
				return;
			case 'terminated':
				if (this.#context.takeWatch(news.address)) this.#signal({ type: 'terminated', ref: news.address, reason: news.reason });
				return;
			case 'child-failed':
				this.#signal(news.signal);
				return;
		}
	}

	#start(): void {
		this.#state = 'running';
		this.#behavior = this.#setup(this.#context);
		if (this.#drainAsked) this.#passOnDrain();
	}

	#signal(signal: Signal): void {
		if (this.#core.trace !== undefined) this.#core.trace(this.path, 'signal', signal);
		const behavior = this.#behavior;
		if (this.#state !== 'running' || behavior?.onSignal === undefined) return;
		this.#become(behavior.onSignal(this.#context, signal));
		if (this.#core.check !== undefined) this.#check(this.#core.check);
	}

	#become(next: Next<M>): void {
		if (next === 'same' || this.#state !== 'running') return;
		if (next === 'stopped') this.#beginStop(stopped);
		else this.#behavior = next;
	}

	// --- draining -------------------------------------------------------------------------------------------------

	#drain(): void {
		if (this.#drainAsked || this.#state === 'stopping' || this.#state === 'ended') return;
		this.#drainAsked = true;
		this.#drainTimer = this.#core.host.setTimer(this.#supervision.shutdownMs, () => this.requestStop());
		if (this.#state === 'running') this.#passOnDrain();
	}

	#passOnDrain(): void {
		if (this.#behavior?.onSignal === undefined) this.#closing = true;
		else this.#signal({ type: 'drain' });
	}

	#endWhenDrained(): void {
		if (this.#state === 'running' && this.#inbox.length === 0 && this.#context.asks === 0) this.#beginStop(stopped);
	}

	// --- failing and ending ---------------------------------------------------------------------------------------

	/** A bug, in its turn. One who is to end anyway is not started again. */
	#fail(error: unknown): void {
		if (this.#state !== 'running') {
			this.#core.host.telemetry.log('error', 'actor-failed', {
				...this.#about,
				actor: this.path,
				...errorFields(error),
				state: this.#state,
			});
			return;
		}
		const now = this.#core.host.now();
		const verdict = this.#drainAsked
			? ({ decision: 'stop' } as const)
			: decideRestart(this.#supervision, this.#history, now, this.#core.host.random());
		const { decision } = verdict;
		const fields = errorFields(error);
		const retryInMs = verdict.decision === 'restart' ? verdict.delayMs : null;
		this.#core.failures += 1;
		this.#core.host.telemetry.log('error', 'actor-failed', { ...this.#about, actor: this.path, ...fields, decision, retryInMs });
		this.#parent?.childFailed({ type: 'child-failed', ref: this.ref, name: this.ref.name, message: fields.message, decision });
		this.#stopReason = { kind: 'failed', message: fields.message };
		if (verdict.decision === 'stop') {
			this.#beginStop(this.#stopReason);
			return;
		}
		this.#history = verdict.history;
		this.#state = 'restarting';
		this.#restartTimer = this.#core.host.setTimer(verdict.delayMs, () => {
			this.#restartTimer = null;
			this.#hear({ kind: 'restart-due' });
		});
		this.#letGo();
	}

	#beginStop(reason: StopReason): void {
		if (this.#state === 'stopping' || this.#state === 'ended') return;
		this.#state = 'stopping';
		this.#stopReason = reason;
		this.#letGo();
	}

	/** Gives back what it holds, then waits for its children, if any. */
	#letGo(): void {
		this.#context.release();
		if (this.#children !== null) for (const child of this.#children.values()) child.requestStop();
		this.#goOn();
	}

	/** The next step of a restart or an end, once there are no children. */
	#goOn(): void {
		if (this.#hasChildren || (this.#state !== 'restarting' && this.#state !== 'stopping')) return;
		this.#sayLast();
		if (this.#state === 'stopping') this.#end();
		else if (this.#restartTimer === null) {
			this.#state = 'starting';
			this.#hear({ kind: 'start' });
		}
	}

	/** Last words of the behaviour, once. What it sets in them, it loses. */
	#sayLast(): void {
		const behavior = this.#behavior;
		this.#behavior = null;
		if (behavior?.onSignal === undefined) return;
		const signal: Signal = { type: 'post-stop', reason: this.#stopReason };
		if (this.#core.trace !== undefined) this.#core.trace(this.path, 'signal', signal);
		try {
			behavior.onSignal(this.#context, signal);
		} catch (error) {
			this.#core.host.telemetry.log('error', 'actor-failed', {
				...this.#about,
				actor: this.path,
				...errorFields(error),
				during: 'post-stop',
			});
		}
		this.#context.release();
	}

	#end(): void {
		this.#state = 'ended';
		this.#context.end();
		if (this.#restartTimer !== null) this.#core.host.clearTimer(this.#restartTimer);
		if (this.#drainTimer !== null) this.#core.host.clearTimer(this.#drainTimer);
		this.#news.clear();
		this.#dropInbox();
		this.#core.actors -= 1;
		if (this.#parent === null) this.#core.rootEnded(this.ref.name);
		else this.#parent.childEnded(this.ref.name);
		this.ref.end(this.#stopReason);
	}

	#dropInbox(): void {
		const unread: M[] = [];
		while (this.#inbox.length > 0) {
			const item = this.#inbox.shift() as M | Reserved<M>;
			if (!(item instanceof Reserved)) unread.push(item);
		}
		this.#inbox.clear();
		for (const message of unread) answerUnread(message);
		if (unread.length > 0) this.#core.deadLetters(this.path, unread, this.#about);
	}

	// --- its children ---------------------------------------------------------------------------------------------

	get #hasChildren(): boolean {
		return this.#children !== null && this.#children.size > 0;
	}

	get inboxLength(): number {
		return this.#inbox.length;
	}

	get children(): Iterable<Relative> {
		return this.#children?.values() ?? [];
	}

	spawn<N>(name: string, setup: Setup<N>, options: SpawnOptions): ActorRef<N> {
		if (this.#state !== 'running') throw new Error(`${this.path} is ${this.#state}: it cannot spawn ${name}`);
		this.#children ??= new Map();
		if (this.#children.has(name)) throw new Error(`${this.path} has a child named ${name} already`);
		const child = new Cell(this.#core, this, this.path, name, setup, options);
		this.#children.set(name, child);
		return child.ref;
	}

	stopChild(ref: ActorRef<never>): void {
		this.#childOf(ref)?.requestStop();
	}

	drainChild(ref: ActorRef<never>): void {
		this.#childOf(ref)?.requestDrain();
	}

	/** Undefined when it has ended. Another's child is a bug: only a parent ends its children. */
	#childOf(ref: ActorRef<never>): Relative | undefined {
		if (!(ref instanceof LocalRef) || ref.parent !== this.ref) throw new Error(`${this.path} can stop or drain its own children only`);
		const child = this.#children?.get(ref.name);
		return child?.ref === ref ? child : undefined;
	}
}
