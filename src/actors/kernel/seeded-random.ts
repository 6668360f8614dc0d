/** A generator whose numbers are a function of its seed, for simulations. Not for secrets. */
const bitsRange = 2 ** 32;

/** xoshiro128** (Blackman, Vigna, 2018), its state filled by a splitmix of 32 bits from the seed. */
export class SeededRandom {
	readonly #state = new Uint32Array(4);

	constructor(seed: number) {
		let word = seed >>> 0;
		for (let index = 0; index < 4; index += 1) {
			word = (word + 0x9e3779b9) >>> 0;
			let mixed = word;
			mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
			mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
			this.#state[index] = mixed ^ (mixed >>> 16);
		}
	}

	/** Next 32 bits. */
	bits(): number {
		const state = this.#state;
		const [a = 0, b = 0, c = 0, d = 0] = state;
		const scaled = Math.imul(b, 5);
		const result = Math.imul((scaled << 7) | (scaled >>> 25), 9) >>> 0;
		const mixed = d ^ b;
		state[2] = c ^ a ^ (b << 9);
		state[3] = (mixed << 11) | (mixed >>> 21);
		state[1] = b ^ c ^ a;
		state[0] = a ^ mixed;
		return result;
	}

	/** In [0, 1). */
	next(): number {
		return this.bits() / bitsRange;
	}

	/** A whole number in [0, below). */
	below(below: number): number {
		return Math.floor(this.next() * below);
	}
}
