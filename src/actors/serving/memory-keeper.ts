/**
 * The keeper of the devices' memory, on the control thread: which pools hold how much of it, and who gets it next. Pools ask before they load
 * an engine on demand and tell what they hold; the keeper asks others to leave (`memory-plan.ts` says whom) and grants what is free. In the
 * order of asking on each device; a pool is never taken anything, it gives back.
 *
 * ```
 *   free ─wanted─► (waits, others are asked to leave) ─granted─► loading ─► resident ─asked, idle─► leaving ─► free
 * ```
 */
import type { ActorContext, Behavior, Next, Setup, Signal } from '../kernel/behavior.ts';
import type { ActorRef } from '../kernel/ref.ts';
import { type Failure, failure } from './failure.ts';
import type { DeviceMemory, MemoryCommand, MemoryNews, MemoryUse } from './memory-messages.ts';
import { type DeviceRoom, type Holder, type MemoryShare, never, type Verdict, whoLeaves } from './memory-plan.ts';

interface Row {
	readonly poolId: string;
	readonly ref: ActorRef<MemoryNews>;
	use: MemoryUse;
	/** Whom it was asked to leave for; null: it was not. */
	askedFor: string | null;
	/** What it tells with fewer grants heard was told before it heard of the last one. */
	grants: number;
}

interface Want {
	readonly poolId: string;
	readonly shares: readonly MemoryShare[];
	readonly rooms: readonly DeviceRoom[];
	readonly loadMs: number;
	readonly minResidentMs: number;
	/** When its memory is expected, as it was told, on `Host.now`; null: it was not. */
	expectedAt: number | null;
}

const unsure: MemoryUse = {
	phase: 'unsure',
	shares: [],
	busy: false,
	lastUsedAt: 0,
	mayLeaveAt: never,
	leavesInMs: 0,
	grants: 0,
};
/** An expectation is told again when it has moved by this much. */
const expectedAnewMs = 250;

export function memoryKeeper(): Setup<MemoryCommand> {
	return (ctx) => new MemoryKeeper(ctx);
}

class MemoryKeeper implements Behavior<MemoryCommand> {
	readonly #ctx: ActorContext<MemoryCommand>;
	readonly #rows = new Map<string, Row>();
	/** In the order of asking. */
	#wants: readonly Want[] = [];

	constructor(ctx: ActorContext<MemoryCommand>) {
		this.#ctx = ctx;
	}

	onMessage(_ctx: ActorContext<MemoryCommand>, message: MemoryCommand): Next<MemoryCommand> {
		switch (message.type) {
			case 'pool-joined':
				this.#rows.set(message.poolId, { poolId: message.poolId, ref: message.replyTo, use: unsure, askedFor: null, grants: 0 });
				this.#ctx.watch(message.replyTo);
				return 'same';
			case 'memory-use':
				this.#onUse(message.poolId, message.use);
				break;
			case 'memory-wanted':
				this.#onWanted(message);
				break;
			case 'memory-unwanted':
				this.#wants = this.#wants.filter(({ poolId }) => poolId !== message.poolId);
				break;
			case 'memory-due':
				break;
		}
		this.#decide();
		return 'same';
	}

	onSignal(_ctx: ActorContext<MemoryCommand>, signal: Signal): Next<MemoryCommand> {
		if (signal.type !== 'terminated') return 'same';
		for (const { poolId, ref } of this.#rows.values()) {
			if (ref !== signal.ref) continue;
			this.#rows.delete(poolId);
			this.#wants = this.#wants.filter((want) => want.poolId !== poolId);
		}
		this.#decide();
		return 'same';
	}

	#onUse(poolId: string, use: MemoryUse): void {
		const row = this.#rows.get(poolId);
		if (row === undefined || use.grants < row.grants) return;
		row.use = use;
		row.grants = use.grants;
		if (use.phase === 'free') row.askedFor = null;
	}

	#onWanted({ poolId, shares, devices, loadMs, minResidentMs }: Extract<MemoryCommand, { type: 'memory-wanted' }>): void {
		const rooms = devices.map((device) => ({ device: device.device, totalBytes: this.#totalOf(device) }));
		const want: Want = { poolId, shares, rooms, loadMs, minResidentMs, expectedAt: null };
		const index = this.#wants.findIndex((each) => each.poolId === poolId);
		this.#wants = index < 0 ? [...this.#wants, want] : this.#wants.with(index, want);
	}

	/** What others than pools of ours have taken is not to be had. Of a pool that loads nobody knows how much of it is taken by now. */
	#totalOf({ device, totalBytes, freeBytes }: DeviceMemory): number | null {
		if (totalBytes === null || freeBytes === null) return totalBytes;
		let heldBytes = 0;
		for (const { use } of this.#rows.values()) {
			if (use.phase === 'free' || use.phase === 'loading') continue;
			for (const share of use.shares) if (share.device === device && share.bytes !== 'whole') heldBytes += share.bytes;
		}
		return Math.min(totalBytes, freeBytes + heldBytes);
	}

	#decide(): void {
		const now = this.#ctx.now();
		this.#ctx.cancelTimer('due');
		// What a control thread before this one has loaded is found first.
		if ([...this.#rows.values()].some(({ use }) => use.phase === 'unsure')) return;
		/** Devices for which somebody waits who came first, and when that one will be done with its turn. */
		const claimed = new Map<string, number>();
		let lookAt = never;
		for (const want of this.#wants) {
			const behind = Math.max(0, ...want.shares.map(({ device }) => claimed.get(device) ?? 0));
			let expectedAt = behind;
			if (behind === 0) {
				const verdict = whoLeaves(want.shares, want.rooms, this.#holders(want), now);
				if (this.#settle(want, verdict)) continue;
				if (verdict.kind === 'wait' && verdict.untilAt !== null) lookAt = Math.min(lookAt, verdict.untilAt);
				expectedAt = this.#expectedAt(want, verdict, now);
			}
			const doneAt = expectedAt + want.loadMs + want.minResidentMs;
			for (const { device } of want.shares) claimed.set(device, Math.max(doneAt, claimed.get(device) ?? 0));
			this.#expect(want, expectedAt, now);
		}
		for (const row of this.#rows.values()) {
			const { askedFor } = row;
			if (askedFor === null || this.#wants.some(({ poolId }) => poolId === askedFor)) continue;
			row.askedFor = null;
			row.ref.tell({ type: 'stay' });
		}
		if (lookAt < never) this.#ctx.setTimer('due', Math.max(1, lookAt - now), { type: 'memory-due' });
	}

	/** True: it waits no longer. */
	#settle(want: Want, verdict: Verdict): boolean {
		const row = this.#rows.get(want.poolId);
		if (row === undefined) return true;
		switch (verdict.kind) {
			case 'fits':
				this.#wants = this.#wants.filter((each) => each !== want);
				row.use = { ...row.use, phase: 'loading', shares: want.shares, mayLeaveAt: never };
				if (row.ref.tell({ type: 'memory-granted' }) === 'accepted') row.grants += 1;
				return true;
			case 'never':
				this.#wants = this.#wants.filter((each) => each !== want);
				row.ref.tell({ type: 'memory-refused', failure: noRoom(want, verdict) });
				return true;
			case 'leave':
				for (const poolId of verdict.poolIds) {
					const other = this.#rows.get(poolId);
					if (other === undefined) continue;
					other.askedFor = want.poolId;
					other.ref.tell({ type: 'give-way', backInMs: want.loadMs + want.minResidentMs });
				}
				return false;
			case 'wait':
				return false;
		}
	}

	/** What others hold than the one that wants. */
	#holders(want: Want): Holder[] {
		const holders: Holder[] = [];
		for (const { poolId, use, askedFor } of this.#rows.values()) {
			if (poolId === want.poolId || use.phase === 'free') continue;
			const { shares, busy, lastUsedAt, mayLeaveAt } = use;
			const going = use.phase === 'leaving' || askedFor !== null;
			const leaves = use.phase === 'permanent' ? 'stays' : going ? 'going' : use.phase === 'loading' ? never : mayLeaveAt;
			holders.push({ poolId, shares, leaves, busy, lastUsedAt });
		}
		return holders;
	}

	/** When those have gone that are in its way, about. */
	#expectedAt(want: Want, verdict: Verdict, now: number): number {
		const devices = new Set(want.shares.map(({ device }) => device));
		let at = verdict.kind === 'wait' && verdict.untilAt !== null ? verdict.untilAt : now;
		for (const { poolId, use, askedFor } of this.#rows.values()) {
			const going = use.phase === 'leaving' || askedFor !== null;
			if (poolId !== want.poolId && going && use.shares.some(({ device }) => devices.has(device))) at = Math.max(at, now + use.leavesInMs);
		}
		return at;
	}

	#expect(want: Want, at: number, now: number): void {
		if (want.expectedAt !== null && Math.abs(at - want.expectedAt) < expectedAnewMs) return;
		want.expectedAt = at;
		this.#rows.get(want.poolId)?.ref.tell({ type: 'memory-expected', inMs: Math.max(0, at - now) });
	}
}

function noRoom({ poolId, shares, rooms }: Want, { ever, device }: Extract<Verdict, { kind: 'never' }>): Failure {
	const needs = shares.find((share) => share.device === device)?.bytes ?? 0;
	const has = rooms.find((room) => room.device === device)?.totalBytes ?? 0;
	const where = device === 'ram' ? 'memory' : `memory of GPU ${device}`;
	const words = `it needs ${mebibytes(needs)} of ${where}, and ${mebibytes(has)} may be used`;
	const by = ever ? '' : ', a part of which is held by pools that are always loaded or pinned';
	return failure('POOL_UNAVAILABLE', `${words}${by}`, { poolId, retriable: !ever });
}

function mebibytes(bytes: number | 'whole'): string {
	return bytes === 'whole' ? 'all' : `${Math.ceil(bytes / 2 ** 20)} MiB`;
}
