/**
 * Prompts that were counted of late, by their hash: who sends one again (a retry, a preview before the task) has the answer without
 * the engine. On a front thread; holds no text.
 */
import { createHash } from 'node:crypto';
import type { ReplicaFacts } from '../../actors/serving/messages.ts';
import type { PromptInput } from '../../actors/serving/task-request.ts';

/** Beyond this many the one that was asked for longest ago is forgotten. */
const kept = 4_096;

export class PromptCounts {
	readonly #tokens = new Map<string, number>();

	/** Of one model; where that has no digest, of one engine's life. */
	keyOf(
		{ modelDigest, address, chatTemplate }: Pick<ReplicaFacts, 'modelDigest' | 'address' | 'chatTemplate'>,
		input: PromptInput,
	): string {
		const about = JSON.stringify([modelDigest ?? address, chatTemplate, input]);
		return createHash('sha256').update(about).digest('base64');
	}

	get(key: string): number | undefined {
		const tokens = this.#tokens.get(key);
		if (tokens !== undefined) this.put(key, tokens);
		return tokens;
	}

	put(key: string, tokens: number): void {
		this.#tokens.delete(key);
		this.#tokens.set(key, tokens);
		if (this.#tokens.size <= kept) return;
		for (const oldest of this.#tokens.keys()) {
			this.#tokens.delete(oldest);
			return;
		}
	}
}
