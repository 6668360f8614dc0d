/** An S3 server on loopback that believes no signature: each is made again here, from the specification, with what was really sent. */
import { createHash, createHmac } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { BadSource } from './bad-source.ts';

export interface FakeBucket {
	readonly id: string;
	readonly secret: string;
	readonly region: string;
	/** Versions of its objects have names. */
	readonly versioned: boolean;
	/** Whether objects tell their checksum. */
	readonly checksums: boolean;
}

/** Objects are files of `source`, by `/bucket/key`. */
export function serveS3(source: BadSource, bucket: FakeBucket): void {
	source.onRequest = (request, response) => {
		const refusal = whyNot(request, bucket, source.port);
		if (refusal !== null) {
			response.writeHead(403, { 'x-refused': refusal }).end(`<Error><Code>SignatureDoesNotMatch</Code></Error>`);
			return true;
		}
		const path = decodeURIComponent((request.url ?? '').split('?')[0] ?? '');
		const file = source.files.get(path);
		if (request.method !== 'HEAD' || file === undefined) return false;
		const checksum = bucket.checksums && request.headers['x-amz-checksum-mode'] === 'ENABLED';
		response
			.writeHead(200, {
				'content-length': file.bytes.length,
				...(bucket.versioned ? { 'x-amz-version-id': 'v7' } : {}),
				...(checksum ? { 'x-amz-checksum-sha256': createHash('sha256').update(file.bytes).digest('base64') } : {}),
			})
			.end();
		return true;
	};
}

/** AWS Signature Version 4, as its specification has it. */
function whyNot(request: IncomingMessage, { id, secret, region }: FakeBucket, port: number): string | null {
	const authorization = request.headers.authorization ?? '';
	const [, who, day = '', where, names = '', signature] =
		/^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
			authorization,
		) ?? [];
	if (who !== id || where !== region) return 'credential';
	const [path = '', query = ''] = (request.url ?? '').split('?');
	const header = (name: string): string => (name === 'host' ? `127.0.0.1:${port}` : String(request.headers[name]).trim());
	const canonical = [
		request.method,
		path,
		query.split('&').sort().join('&'),
		...names.split(';').map((name) => `${name}:${header(name)}`),
		'',
		names,
		header('x-amz-content-sha256'),
	].join('\n');
	const scope = `${day}/${region}/s3/aws4_request`;
	const text = ['AWS4-HMAC-SHA256', header('x-amz-date'), scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
	let key: Buffer = Buffer.from(`AWS4${secret}`);
	for (const part of [day, region, 's3', 'aws4_request']) key = createHmac('sha256', key).update(part).digest();
	return createHmac('sha256', key).update(text).digest('hex') === signature ? null : 'signature';
}
