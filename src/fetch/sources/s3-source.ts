/**
 * Objects of S3 and of servers that speak it. Requests are signed where there are keys; an object of a bucket with versions is pinned to one.
 * What its checksum says is believed where it is of the whole object, and SHA-256.
 */
import { AwsV4Signer } from 'aws4fetch';
import type { FetchSources } from '../../actors/catalog/fetch-messages.ts';
import { partsOf } from '../../actors/catalog/model-parts.ts';
import type { ModelRef } from '../../actors/catalog/model-ref.ts';
import { FetchError, statusProblem } from '../fetch-error.ts';
import type { FetchPlan, PlannedFile } from '../fetch-plan.ts';
import type { Answer, Web } from '../web.ts';
import { evidenceBeside } from './beside.ts';
import { ggufName } from './web-source.ts';

type S3 = FetchSources['s3'];

const refusals = [301, 400, 401, 403, 404];

export async function planOfS3({ bucket, key }: Extract<ModelRef, { kind: 's3' }>, web: Web, s3: S3): Promise<FetchPlan> {
	const at = key.lastIndexOf('/') + 1;
	const files: PlannedFile[] = [];
	const manifests: string[] = [];
	for (const name of partsOf(key.slice(at))) {
		const object = key.slice(0, at) + name;
		const url = addressOf(bucket, object, s3);
		const headers = await signed(url, 'HEAD', { 'x-amz-checksum-mode': 'ENABLED' }, s3);
		const answer = await web.ask(url, { method: 'HEAD', headers, accept: refusals });
		if (refusals.includes(answer.status)) throw refusal(bucket, object, answer, s3);
		const version = answer.header('x-amz-version-id');
		const pinned = version === null || version === 'null' ? url : `${url}?versionId=${encodeURIComponent(version)}`;
		if (pinned !== url) manifests.push(`s3://${bucket}/${object}?versionId=${version}`);
		const length = answer.header('content-length');
		files.push({
			name: ggufName(name),
			url: pinned,
			headers: (more) => signed(pinned, 'GET', more, s3),
			sizeBytes: length === null ? null : Number(length),
			digest: digestOf(answer),
			gitOid: null,
		});
	}
	const evidence = evidenceBeside(web, partsOf(key.slice(at)), async (name) => {
		const url = addressOf(bucket, key.slice(0, at) + name, s3);
		return { url, headers: await signed(url, 'GET', {}, s3) };
	});
	return { files, manifests, evidence };
}

/** Amazon names a bucket in the host, where TLS allows it; others know it by path. */
function addressOf(bucket: string, key: string, { endpoint, region }: S3): string {
	const path = key.split('/').map(encodeURIComponent).join('/');
	if (endpoint !== null) return `${endpoint}/${bucket}/${path}`;
	const host = `s3.${region}.amazonaws.com`;
	return bucket.includes('.') ? `https://${host}/${bucket}/${path}` : `https://${bucket}.${host}/${path}`;
}

async function signed(
	url: string,
	method: string,
	headers: Readonly<Record<string, string>>,
	{ keys, region }: S3,
): Promise<Readonly<Record<string, string>>> {
	if (keys === null) return headers;
	const { id: accessKeyId, secret: secretAccessKey, session } = keys;
	const signer = new AwsV4Signer({
		url,
		method,
		headers: { ...headers },
		accessKeyId,
		secretAccessKey,
		service: 's3',
		region,
		...(session === null ? {} : { sessionToken: session }),
	});
	const { headers: all } = await signer.sign();
	// The host is the client library's to send.
	return Object.fromEntries([...all].filter(([name]) => name !== 'host'));
}

/** Of several parts that were sent one by one it is the checksum of checksums, with their number behind it. */
function digestOf(answer: Answer): string | null {
	const base64 = answer.header('x-amz-checksum-sha256');
	if (base64 === null || answer.header('x-amz-checksum-type') === 'COMPOSITE' || base64.includes('-')) return null;
	const bytes = Buffer.from(base64, 'base64');
	return bytes.length === 32 ? `sha256:${bytes.toString('hex')}` : null;
}

function refusal(bucket: string, key: string, answer: Answer, { keys, region }: S3): FetchError {
	const name = `s3://${bucket}/${key}`;
	const elsewhere = answer.header('x-amz-bucket-region');
	if (elsewhere !== null && elsewhere !== region)
		return new FetchError('INVALID_PARAMS', `${name}: the bucket is in region ${elsewhere}, not ${region}; set catalog.s3.region`);
	if (answer.status === 403 && keys === null)
		return new FetchError('FORBIDDEN', `${name} may not be read by everybody; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY`);
	if (answer.status === 403) return new FetchError('FORBIDDEN', `${name} is not there, or these keys may not read it`);
	return statusProblem(answer.status, name, null, 0);
}
