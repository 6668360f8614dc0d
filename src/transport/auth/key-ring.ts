/**
 * The API keys of the daemon: who a request is from, by `Authorization: Bearer`, `X-API-Key`, or the subprotocol of a browser's
 * WebSocket. On each front thread. Knows keys by their SHA-256 only, and says of one no more than its fingerprint. What the keys
 * are may change while the daemon runs: for each request, and each message of a WebSocket, those of that moment count.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { type Failure, failure } from '../../actors/serving/failure.ts';
import type { HttpRequest } from '../http/http-host.ts';
import { type Access, lacking, localUser, type Principal, type Role } from './principal.ts';

export interface KeySettings {
	readonly name: string;
	/** Of the key, in lower case hex. */
	readonly sha256: string;
	readonly tenant: string;
	readonly roles: readonly Role[];
}

export interface AuthSettings {
	readonly keys: readonly KeySettings[];
	/** `/metrics` needs no key. */
	readonly publicMetrics: boolean;
}

export type Admission = { readonly ok: true; readonly principal: Principal } | { readonly ok: false; readonly failure: Failure };

/** A page cannot set headers of a WebSocket, but offer subprotocols: this one is its key. */
export const keyProtocolPrefix = 'orchestratord.key.';
const fingerprintLength = 6;
/** Longer is no key: nobody has the daemon hash at length. */
const keyCharactersMax = 1_024;

interface KnownKey {
	readonly digest: Buffer;
	readonly principal: Principal;
}

export class KeyRing {
	/** By fingerprint, which is no secret: behind it the whole digests are compared, in constant time. */
	#keys = new Map<string, KnownKey[]>();
	#publicMetrics = false;
	/** Of those that were let in here: the key that they came with, as the digest of it. */
	readonly #digests = new WeakMap<Principal, Buffer>();
	readonly #onUnknown: (fingerprint: string) => void;

	/** `onUnknown`: a key was given that is none of these. */
	constructor(settings: AuthSettings, onUnknown: (fingerprint: string) => void) {
		this.#onUnknown = onUnknown;
		this.replace(settings);
	}

	/** From now on these are the keys. */
	replace({ keys, publicMetrics }: AuthSettings): void {
		this.#publicMetrics = publicMetrics;
		this.#keys = new Map();
		for (const { name, sha256, tenant, roles } of keys) {
			const known = { digest: Buffer.from(sha256, 'hex'), principal: { keyName: name, tenant, roles } };
			const fingerprint = sha256.slice(0, fingerprintLength);
			this.#keys.set(fingerprint, [...(this.#keys.get(fingerprint) ?? []), known]);
			this.#digests.set(known.principal, known.digest);
		}
	}

	/** Whether `principal`, who was let in before as a client, may go on, and who that is by now. */
	readmit(principal: Principal): Admission {
		const digest = this.#digests.get(principal);
		const now = digest === undefined ? (this.#keys.size === 0 ? principal : null) : this.#find(digest);
		if (now === null) return { ok: false, failure: failure('UNAUTHORIZED', 'the key of this connection is no longer one of this daemon') };
		const problem = lacking(now, 'client');
		return problem === null ? { ok: true, principal: now } : { ok: false, failure: problem };
	}

	/** Whether the request may have what needs `access`, and from whom it is. */
	admit(request: HttpRequest, access: Access): Admission {
		if (access === 'public' || (access === 'metrics' && this.#publicMetrics)) return { ok: true, principal: localUser };
		if (this.#keys.size === 0) {
			if (access !== 'worker') return { ok: true, principal: localUser };
			const words = 'a worker registers with a key; this daemon has none with the role worker (auth.keys)';
			return { ok: false, failure: failure('UNAUTHORIZED', words) };
		}
		const given = keyOf(request);
		const principal = given === null ? null : this.#principalOf(given);
		if (principal === null) {
			const words =
				given === null ? 'a key is needed, as Authorization: Bearer … or X-API-Key: …' : 'the key that was given is none of this daemon';
			return { ok: false, failure: failure('UNAUTHORIZED', words) };
		}
		const problem = lacking(principal, access === 'metrics' ? 'client' : access);
		return problem === null ? { ok: true, principal } : { ok: false, failure: problem };
	}

	#principalOf(key: string): Principal | null {
		const digest = createHash('sha256').update(key, 'latin1').digest();
		const found = this.#find(digest);
		if (found === null) this.#onUnknown(fingerprintOf(digest));
		return found;
	}

	#find(digest: Buffer): Principal | null {
		let found: Principal | null = null;
		for (const known of this.#keys.get(fingerprintOf(digest)) ?? []) if (timingSafeEqual(known.digest, digest)) found = known.principal;
		return found;
	}
}

function fingerprintOf(digest: Buffer): string {
	return digest.toString('hex').slice(0, fingerprintLength);
}

/** Null: none was given. The header of RFC 6750 wins over the others. */
function keyOf(request: HttpRequest): string | null {
	const bearer = /^bearer +(.*)$/i.exec(request.header('authorization') ?? '')?.[1];
	const given = bearer ?? request.header('x-api-key') ?? protocolKeyOf(request.header('sec-websocket-protocol'));
	const key = given?.trim() ?? '';
	return key === '' ? null : key.slice(0, keyCharactersMax);
}

function protocolKeyOf(offered: string | undefined): string | undefined {
	const protocols = (offered ?? '').split(',').map((each) => each.trim());
	return protocols.find((each) => each.startsWith(keyProtocolPrefix))?.slice(keyProtocolPrefix.length);
}
