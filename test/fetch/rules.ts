/** Rules of an operator who has none, and how others differ from them. */
import type { TrustRules } from '../../src/actors/catalog/trust-messages.ts';

export function rules(more: Partial<TrustRules> = {}): TrustRules {
	return {
		mode: 'permissive',
		allowedRegistries: [],
		requireSignature: false,
		requireSbom: false,
		caRoots: [],
		publicKeys: [],
		identities: [],
		trustedRoot: null,
		fingerprint: JSON.stringify(more),
		...more,
	};
}
