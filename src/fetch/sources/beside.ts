/** Signatures and bills of materials that lie beside a model, under the names that their tools give them. On the fetching thread. */
import type { EvidenceSource } from '../fetch-plan.ts';
import { type EvidenceFile, evidenceBytesMax, sbomNames, signatureNames } from '../trust-judge.ts';
import type { Web } from '../web.ts';

export interface Located {
	readonly url: string;
	readonly headers: Readonly<Record<string, string>>;
}

/** Not there, or not to be seen: sources do not always say which. */
const absent = [401, 403, 404, 410];

/** `names`: of the model's files, as its source calls them. `locate` answers null for what is known not to be there. */
export function evidenceBeside(
	web: Web,
	names: readonly string[],
	locate: (name: string) => Promise<Located | null> | Located | null,
): EvidenceSource {
	return {
		root: null,
		async find(kind) {
			const found: EvidenceFile[] = [];
			for (const name of kind === 'signatures' ? signatureNames(names) : sbomNames(names)) {
				const located = await locate(name);
				if (located === null) continue;
				const answer = await web.ask(located.url, { headers: located.headers, accept: absent });
				if (absent.includes(answer.status)) await answer.body.dump();
				else found.push({ from: name, bytes: await web.bytes(answer, evidenceBytesMax) });
			}
			return found;
		},
	};
}
