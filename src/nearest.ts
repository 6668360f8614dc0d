/**
 * "Did you mean": the known name closest to an unknown one. Pure; used for configuration keys, flags, environment names
 * and request fields. Never used to correct anything silently.
 */

/** The closest of `known`, when it is close enough to be a likely slip; else null. */
export function nearest(word: string, known: Iterable<string>): string | null {
	const allowed = Math.max(1, Math.min(3, Math.floor(word.length / 3)));
	let best: string | null = null;
	let bestDistance = allowed + 1;
	for (const candidate of known) {
		const distance = editDistance(word.toLowerCase(), candidate.toLowerCase(), bestDistance);
		if (distance < bestDistance) {
			best = candidate;
			bestDistance = distance;
		}
	}
	return best;
}

/** Optimal string alignment (Levenshtein plus swaps of neighbours), given up at `limit`. */
function editDistance(a: string, b: string, limit: number): number {
	if (Math.abs(a.length - b.length) >= limit) return limit;
	let beforeLast: number[] = [];
	let last = Array.from({ length: b.length + 1 }, (_, j) => j);
	for (let i = 1; i <= a.length; i++) {
		const row = [i];
		for (let j = 1; j <= b.length; j++) {
			const substituted = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
			let cost = Math.min(substituted, (last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1);
			if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, (beforeLast[j - 2] ?? 0) + 1);
			row.push(cost);
		}
		beforeLast = last;
		last = row;
	}
	return Math.min(last[b.length] ?? limit, limit);
}
