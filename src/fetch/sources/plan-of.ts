/** Which source a ref belongs to: what it stands for there, as files to be fetched. On the fetching thread. */
import type { FetchSources } from '../../actors/catalog/fetch-messages.ts';
import type { ModelRef } from '../../actors/catalog/model-ref.ts';
import { FetchError } from '../fetch-error.ts';
import type { FetchPlan } from '../fetch-plan.ts';
import type { Web } from '../web.ts';
import { planOfHub } from './hub-source.ts';
import { planOfOci } from './oci-source.ts';
import { planOfS3 } from './s3-source.ts';
import { planOfUrl } from './web-source.ts';

/** Throws `FetchError`. */
export async function planOf(ref: ModelRef, web: Web, sources: FetchSources): Promise<FetchPlan> {
	switch (ref.kind) {
		case 'url':
			return planOfUrl(ref.url, web);
		case 'hf':
			return await planOfHub(ref, web, sources.hf);
		case 's3':
			return await planOfS3(ref, web, sources.s3);
		case 'oci':
			return await planOfOci(ref, web, sources.oci);
		case 'file':
		case 'digest':
		case 'alias':
			throw new FetchError('INVALID_PARAMS', 'it names nothing that can be fetched');
	}
}
