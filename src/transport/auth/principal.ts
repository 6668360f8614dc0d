/**
 * Who a request comes from, and what it may do: the roles of its key, and the tenant whose tasks and sessions it may see.
 * Pure. Of a key itself nothing is here but its name.
 */
import { type Failure, failure } from '../../actors/serving/failure.ts';

export const roles = ['client', 'operator', 'worker'] as const;
export type Role = (typeof roles)[number];

export interface Principal {
	/** As configured; null: the daemon has no keys. */
	readonly keyName: string | null;
	readonly tenant: string;
	readonly roles: readonly Role[];
}

/** What a route asks for. `public`: nothing; `metrics`: a client, unless metrics are public; `worker`: a key, always. */
export type Access = 'public' | 'metrics' | Role;

/** A daemon without keys is its user's own: whoever reaches its loopback address is that user. */
export const localUser: Principal = { keyName: null, tenant: 'default', roles: ['client', 'operator'] };

export function isOperator({ roles: held }: Principal): boolean {
	return held.includes('operator');
}

/** Whether what is of `tenant` may be seen, watched and cancelled. */
export function maySee(principal: Principal, tenant: string): boolean {
	return isOperator(principal) || principal.tenant === tenant;
}

/** Null: the principal has what a route asks for. */
export function lacking(principal: Principal, access: Exclude<Access, 'public' | 'metrics'>): Failure | null {
	const held = principal.roles;
	if (held.includes(access) || (access === 'client' && held.includes('operator'))) return null;
	return failure('FORBIDDEN', `this needs a key with the role ${access}; the key ${principal.keyName ?? ''} has ${held.join(', ')}`);
}

/** The tenant of a new task: `asked` is that of the body. */
export function tenantFor(principal: Principal, asked: string | undefined): string | Failure {
	if (asked === undefined || maySee(principal, asked)) return asked ?? principal.tenant;
	return failure('FORBIDDEN', `tenant is ${JSON.stringify(asked)}; the key is one of tenant ${JSON.stringify(principal.tenant)}`);
}
