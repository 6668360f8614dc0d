/**
 * The catalog's part of the configuration: where fetched models are kept, whence they may come, and with what rights. Keys are read from
 * the environment, by the names that the sources' own tools use; they are never in the file, never logged and never shown.
 */
import { isAbsolute, join, resolve as resolvePath } from 'node:path';
import { type Static, Type } from '@sinclair/typebox';
import { bytes, folder, section } from './config-fields.ts';
import { resolveTrust, type TrustConfig, trustSection } from './config-trust.ts';

const hostPattern = '^(\\*\\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$';

const ociKey = Type.Object(
	{
		registry: Type.String({
			pattern: '^[a-z0-9][a-z0-9.:-]*$',
			description: 'As in oci://registry/repository:tag',
			allowed: 'host or host:port',
		}),
		username: Type.String({ minLength: 1, description: 'Whose password it is' }),
		password_env: Type.String({
			pattern: '^[A-Za-z_][A-Za-z0-9_]*$',
			description: 'Environment variable that holds it',
			allowed: 'a name',
		}),
	},
	{ additionalProperties: false, description: 'Credentials for one registry' },
);

export const catalogSection = section(
	{
		root: folder('Folder for fetched models; auto: models in that of the store'),
		fetch: Type.Boolean({ default: false, description: 'Whether models may be fetched from elsewhere' }),
		quota_bytes: bytes('0', 'Bytes that fetched models may take; those that no pool uses make room; 0: the disk is the bound'),
		redirect_hosts: Type.Array(Type.String({ pattern: hostPattern, allowed: 'a host, or *. and a domain' }), {
			default: [],
			maxItems: 100,
			description: 'Further hosts that a source may redirect to',
		}),
		hf: section(
			{
				endpoint: Type.String({ default: 'auto', minLength: 1, description: 'Hub of hf: refs; auto: HF_ENDPOINT, else the public one' }),
				token_env: Type.String({ default: 'HF_TOKEN', minLength: 1, description: 'Environment variable with the token for gated models' }),
			},
			'Hugging Face',
		),
		s3: section(
			{
				endpoint: Type.String({
					default: 'auto',
					minLength: 1,
					description: 'Server of s3: refs; auto: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, else Amazon',
				}),
				region: Type.String({
					default: 'auto',
					minLength: 1,
					description: 'Its region; auto: AWS_REGION or AWS_DEFAULT_REGION, else us-east-1',
				}),
			},
			'S3, with the keys of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN',
		),
		trust: trustSection,
		oci: Type.Array(ociKey, { default: [], maxItems: 100, description: 'Credentials for registries' }),
	},
	'Models: where fetched ones are kept, and whence they may come',
);

export interface CatalogConfig {
	/** Absolute. */
	readonly root: string;
	readonly fetch: boolean;
	/** 0: none. */
	readonly quotaBytes: number;
	readonly trust: TrustConfig;
	readonly sources: {
		readonly hf: { readonly endpoint: string; readonly token: string | null };
		readonly s3: {
			/** Null: Amazon's own. */
			readonly endpoint: string | null;
			readonly region: string;
			readonly keys: { readonly id: string; readonly secret: string; readonly session: string | null } | null;
		};
		readonly oci: readonly { readonly registry: string; readonly username: string; readonly password: string }[];
		readonly caRoots: readonly string[];
		readonly redirectHosts: readonly string[];
	};
}

interface World {
	readonly env: Readonly<Record<string, string | undefined>>;
	readonly cwd: string;
	readFile(path: string): string;
}

const publicHub = 'https://huggingface.co';

/** `store`: its folder. */
export function resolveCatalog(
	file: Static<typeof catalogSection>,
	quotaBytes: number,
	store: string,
	world: World,
	problems: string[],
): CatalogConfig {
	const { env, cwd } = world;
	const { trust, caRoots } = resolveTrust(file.trust, world, problems);
	const { hf, s3, oci } = file;
	const hub = hf.endpoint === 'auto' ? env['HF_ENDPOINT'] || publicHub : hf.endpoint;
	const server = s3.endpoint === 'auto' ? env['AWS_ENDPOINT_URL_S3'] || env['AWS_ENDPOINT_URL'] || null : s3.endpoint;
	const region = s3.region === 'auto' ? env['AWS_REGION'] || env['AWS_DEFAULT_REGION'] || 'us-east-1' : s3.region;
	const [id, secret] = [env['AWS_ACCESS_KEY_ID'], env['AWS_SECRET_ACCESS_KEY']];
	return {
		root: file.root === 'auto' ? join(store, 'models') : isAbsolute(file.root) ? file.root : resolvePath(cwd, file.root),
		fetch: file.fetch,
		quotaBytes,
		trust,
		sources: {
			hf: { endpoint: endpointOf(hub, 'catalog.hf.endpoint', problems), token: headerValue(env[hf.token_env], hf.token_env, problems) },
			s3: {
				endpoint: server === null ? null : endpointOf(server, 'catalog.s3.endpoint', problems),
				region,
				keys: id && secret ? { id, secret, session: env['AWS_SESSION_TOKEN'] || null } : null,
			},
			oci: oci.map(({ registry, username, password_env: name }, index) => {
				const password = env[name];
				if (!password) problems.push(`catalog.oci[${index}].password_env is ${name}, which is not set in the environment`);
				return { registry, username, password: password ?? '' };
			}),
			caRoots,
			redirectHosts: file.redirect_hosts,
		},
	};
}

/** Keys are sent there: over TLS, or to this machine alone. Without a slash at the end. */
function endpointOf(text: string, path: string, problems: string[]): string {
	const url = URL.canParse(text) ? new URL(text) : null;
	const near = url !== null && /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname);
	if (
		url === null ||
		(url.protocol !== 'https:' && !(url.protocol === 'http:' && near)) ||
		url.username + url.password + url.search + url.hash !== ''
	)
		problems.push(`${path} is ${JSON.stringify(text)}; it must be https://host, or http:// to a loopback address`);
	return text.replace(/\/+$/, '');
}

function headerValue(value: string | undefined, name: string, problems: string[]): string | null {
	const trimmed = value?.trim() ?? '';
	if (!/^[\x21-\x7e]*$/.test(trimmed)) problems.push(`${name} in the environment holds characters that no header takes`);
	return trimmed === '' ? null : trimmed;
}
