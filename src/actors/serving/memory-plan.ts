/**
 * Who leaves the memory of the devices so that a pool finds room there: the decision, as one pure function over what is held. Idle pools
 * before busy ones, of those the one that was used longest ago; never one that is pinned, that loads, or that has not been there for its
 * least time; and nobody who does not have to. A busy one is only asked: it leaves behind its last task.
 */

/** What a pool takes: so many bytes on each of its devices. `whole`: nobody knows how many, and it is alone there. */
export interface MemoryShare {
	readonly device: string;
	readonly bytes: number | 'whole';
}

export interface DeviceRoom {
	readonly device: string;
	/** Of all pools together; null: nobody knows, and one is there at a time. */
	readonly totalBytes: number | null;
}

export interface Holder {
	readonly poolId: string;
	readonly shares: readonly MemoryShare[];
	/** `stays`: for good. `going`: it was asked to leave, and will. Else when it may be asked, on `Host.now`. */
	readonly leaves: 'stays' | 'going' | number;
	/** It has tasks. */
	readonly busy: boolean;
	readonly lastUsedAt: number;
}

export type Verdict =
	| { readonly kind: 'fits' }
	/** Once these have gone, it fits. */
	| { readonly kind: 'leave'; readonly poolIds: readonly string[] }
	/** For those that are going, or until a time; null: until one that is going has gone. */
	| { readonly kind: 'wait'; readonly untilAt: number | null }
	/** Not while those that stay are there; `ever`: nor without them. `device`: where. */
	| { readonly kind: 'never'; readonly ever: boolean; readonly device: string };

/** Of a holder that may not be asked before something happens to it: one that loads. */
export const never = Number.POSITIVE_INFINITY;

export function whoLeaves(wanted: readonly MemoryShare[], rooms: readonly DeviceRoom[], holders: readonly Holder[], now: number): Verdict {
	const fits = (left: readonly Holder[]): boolean => wanted.every((share) => fitsOn(share, roomOf(rooms, share.device), left));
	if (fits(holders)) return { kind: 'fits' };
	const bare = wanted.find((share) => !fitsOn(share, roomOf(rooms, share.device), []));
	if (bare !== undefined) return { kind: 'never', ever: true, device: bare.device };
	const staying = holders.filter(({ leaves }) => leaves === 'stays');
	const blocked = wanted.find((share) => !fitsOn(share, roomOf(rooms, share.device), staying));
	if (blocked !== undefined) return { kind: 'never', ever: false, device: blocked.device };

	const remaining = holders.filter(({ leaves }) => leaves !== 'going');
	if (fits(remaining)) return { kind: 'wait', untilAt: null };
	const concerned = (holder: Holder): boolean => holder.shares.some(({ device }) => wanted.some((share) => share.device === device));
	const may = remaining.filter((holder) => mayLeave(holder, now) && concerned(holder)).toSorted(soonest);
	const leaving: Holder[] = [];
	for (const holder of may) {
		if (fits(without(remaining, leaving))) break;
		leaving.push(holder);
	}
	if (!fits(without(remaining, leaving))) {
		// Of those that may not yet the first may then be asked: it is looked at again.
		const later = remaining.flatMap(({ leaves }) => (typeof leaves === 'number' && leaves > now && leaves < never ? [leaves] : []));
		return { kind: 'wait', untilAt: later.length === 0 ? null : Math.min(...later) };
	}
	// One that was chosen early may turn out not to be in the way: the longest used stays first.
	for (const holder of leaving.toReversed()) {
		const rest = leaving.filter((each) => each !== holder);
		if (fits(without(remaining, rest))) leaving.splice(leaving.indexOf(holder), 1);
	}
	return { kind: 'leave', poolIds: leaving.map(({ poolId }) => poolId) };
}

function mayLeave({ leaves }: Holder, now: number): boolean {
	return typeof leaves === 'number' && leaves <= now;
}

function soonest(a: Holder, b: Holder): number {
	return Number(a.busy) - Number(b.busy) || a.lastUsedAt - b.lastUsedAt || (a.poolId < b.poolId ? -1 : 1);
}

function without(holders: readonly Holder[], leaving: readonly Holder[]): readonly Holder[] {
	return leaving.length === 0 ? holders : holders.filter((holder) => !leaving.includes(holder));
}

function roomOf(rooms: readonly DeviceRoom[], device: string): number | null {
	return rooms.find((room) => room.device === device)?.totalBytes ?? null;
}

/** A share of nothing is no share: it fits anywhere, and is in nobody's way. Nor is one that stays, and of which nobody knows what it takes. */
function fitsOn({ device, bytes }: MemoryShare, totalBytes: number | null, holders: readonly Holder[]): boolean {
	if (bytes === 0) return true;
	const unknown = bytes === 'whole' || totalBytes === null;
	let held = 0;
	for (const { shares, leaves } of holders) {
		for (const share of shares) {
			if (share.device !== device || share.bytes === 0) continue;
			if (share.bytes !== 'whole' && !unknown) held += share.bytes;
			else if (leaves !== 'stays') return false;
		}
	}
	return unknown || held + bytes <= totalBytes;
}
