/** Models at an address: one file, or all parts of one whose name says that it is a part. */
import { partsOf } from '../../actors/catalog/model-parts.ts';
import { type FetchPlan, type PlannedFile, safeName } from '../fetch-plan.ts';
import type { Web } from '../web.ts';
import { evidenceBeside } from './beside.ts';

export function planOfUrl(address: string, web: Web): FetchPlan {
	const url = new URL(address);
	const at = url.pathname.lastIndexOf('/') + 1;
	const last = decoded(url.pathname.slice(at));
	const names = partsOf(last);
	/** As it was written where it is the only one. */
	const addressOf = (name: string): string => {
		const sibling = new URL(url);
		if (name !== last) sibling.pathname = `${url.pathname.slice(0, at)}${encodeURIComponent(name)}`;
		return sibling.href;
	};
	const files = names.map(
		(name): PlannedFile => ({
			name: ggufName(name),
			url: addressOf(name),
			headers: (more) => Promise.resolve(more),
			sizeBytes: null,
			digest: null,
			gitOid: null,
		}),
	);
	return { files, manifests: [], evidence: evidenceBeside(web, names, (name) => ({ url: addressOf(name), headers: {} })) };
}

/** Engines know the parts of a model by their names, and people a model by its ending. */
export function ggufName(text: string): string {
	const name = safeName(text.replaceAll('/', '_'));
	return /\.gguf$/i.test(name) ? name : `${name}.gguf`;
}

function decoded(text: string): string {
	try {
		return decodeURIComponent(text);
	} catch {
		return text;
	}
}
