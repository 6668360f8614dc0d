/**
 * The likeliest tokens beside one that was taken, as a token event says them: `top_logprobs: [{t, id?, logprob, bytes?}…]`. Written as JSON where
 * an engine's answer is read, and passed on as the bytes that they are. Only for whoever asked. Pure.
 */

export interface TopToken {
	/** A part of a character is shown as U+FFFD. */
	readonly t: string;
	/** Absent: the engine names none. */
	readonly id?: number;
	/** Natural logarithm. */
	readonly logprob: number;
	/** Where `t` does not say them. */
	readonly bytes?: readonly number[];
}

/** A record says their length in two bytes. */
const bytesMax = 0xffff;
/** What OpenAI says of a token that is as good as impossible. */
export const leastLogprob = -9999;

/** The inside of a JSON list, likeliest first; null: there are none. Those for which a record has no room are left out. */
export function topsJson(tops: readonly TopToken[]): string | null {
	let json = '';
	for (const { t, id, logprob, bytes } of tops) {
		const more = JSON.stringify({
			t,
			...(id === undefined ? {} : { id }),
			logprob: rounded(logprob),
			...(bytes === undefined ? {} : { bytes }),
		});
		const longer = json === '' ? more : `${json},${more}`;
		if (Buffer.byteLength(longer) > bytesMax) break;
		json = longer;
	}
	return json === '' ? null : json;
}

/** By its bytes, which may be a part of a character. */
export function topToken(bytes: Uint8Array, id: number, logprob: number): TopToken {
	const t = Buffer.from(bytes).toString('utf8');
	return Buffer.from(t).equals(bytes) ? { t, id, logprob } : { t, id, logprob, bytes: [...bytes] };
}

/** To six decimals, as the log-probability of the token itself. */
function rounded(logprob: number): number {
	if (!Number.isFinite(logprob)) return leastLogprob;
	// As a token's own, which is told from a 32-bit number: the same token is told the same in both places.
	const told = Math.fround(logprob);
	return (Math.sign(told) * Math.round(Math.abs(told) * 1e6)) / 1e6 + 0;
}
