/**
 * Where a JSON object ends that comes in parts: counts braces outside of strings, one UTF-16 unit after another. Says nothing of
 * whether it is JSON. Pure, one per object.
 */
export class ObjectScan {
	#depth = 0;
	#inString = false;
	#escaped = false;

	/** Takes text that goes on with the object, from its `{` on; where it ends in it (behind its `}`), or −1. */
	take(text: string, from: number): number {
		for (let at = from; at < text.length; at += 1) {
			const unit = text.charCodeAt(at);
			if (this.#inString) {
				if (this.#escaped) this.#escaped = false;
				else if (unit === 0x5c) this.#escaped = true;
				else if (unit === 0x22) this.#inString = false;
			} else if (unit === 0x22) this.#inString = true;
			else if (unit === 0x7b || unit === 0x5b) this.#depth += 1;
			else if (unit === 0x7d || unit === 0x5d) {
				this.#depth -= 1;
				if (this.#depth === 0) return at + 1;
			}
		}
		return -1;
	}
}
