/**
 * When requests of a benchmark are sent, fixed before it begins: an open loop does not wait for answers, so that a slow server is not
 * spared the load that makes it slow (Schroeder et al., "Open Versus Closed", NSDI 2006). Pure.
 */

/** Numbers in [0, 1) from a seed: mulberry32. Enough for workloads, for nothing else. */
export function seeded(seed: number): () => number {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x6d2b79f5) >>> 0;
		let mixed = Math.imul(state ^ (state >>> 15), state | 1);
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
	};
}

/** Of a normal distribution (Box and Muller 1958). */
export function normal(random: () => number): number {
	return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Of a gamma distribution with this shape and scale (Marsaglia and Tsang, "A Simple Method for Generating Gamma Variables", 2000). */
export function gamma(random: () => number, shape: number, scale: number): number {
	if (shape < 1) return gamma(random, shape + 1, scale) * (1 - random()) ** (1 / shape);
	const d = shape - 1 / 3;
	const c = 1 / Math.sqrt(9 * d);
	for (;;) {
		const x = normal(random);
		const v = (1 + c * x) ** 3;
		if (v > 0 && Math.log(1 - random()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v * scale;
	}
}

/**
 * `count` times of sending, ms from the start, not falling. `perSecond` infinite: all at once. `burstiness` is the shape of the gamma
 * distribution of the gaps: 1 is a Poisson process, less is burstier, infinite is a constant rate.
 */
export function arrivalsMs(count: number, perSecond: number, burstiness: number, random: () => number): readonly number[] {
	if (perSecond === Number.POSITIVE_INFINITY) return new Array<number>(count).fill(0);
	const meanMs = 1000 / perSecond;
	const gap = (): number => (burstiness === Number.POSITIVE_INFINITY ? meanMs : gamma(random, burstiness, meanMs / burstiness));
	const times: number[] = [];
	for (let at = 0; times.length < count; at += gap()) times.push(at);
	// A finite sample of gaps has another mean than was asked for: the last one is to be when it should be.
	const last = times.at(-1) ?? 0;
	const wanted = (count - 1) * meanMs;
	return last > 0 ? times.map((at) => (at * wanted) / last) : times;
}
