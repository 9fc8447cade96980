// SPDX-License-Identifier: Apache-2.0
// node_client.js - the Data service through @grpc/grpc-js: unary calls, a scan, the batch stream, an
// interactive transaction, and the example of one (docs/examples/transact.js, which lies beside this file when it is run).
// usage: PROTO_DIR=... ADDRESSES=host:port,... node --test node_client.js   (the keyspace `n` must exist)
'use strict';
const test = require('node:test');
const assert = require('node:assert');
const crypto = require('node:crypto');
const { execFile } = require('node:child_process');
const path = require('node:path');
const { promisify } = require('node:util');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const { Transaction, transfer } = require('./transact.js');

const [protoDir, addresses] = [process.env.PROTO_DIR, process.env.ADDRESSES.split(',')];
const definition = loader.loadSync(path.join(protoDir, 'lightcone.proto'), { longs: String, enums: String, oneofs: true });
const { lightcone } = grpc.loadPackageDefinition(definition);
const clients = addresses.map((a) => new lightcone.v1.Data(a, grpc.credentials.createInsecure()));
const deadline = () => new Date(Date.now() + 15000);
const call = (node, method, request) => new Promise((resolve, reject) => {
  clients[node][method](request, { deadline: deadline() }, (error, answer) => (error ? reject(error) : resolve(answer)));
});
const put = (node, key, value) => call(node, 'Commit', { keyspace: 'n', mutations: [{ put: { key: Buffer.from(key), value: Buffer.from(value) } }] });

test.after(() => clients.forEach((client) => client.close()));

test('a put through one node is read through another', async () => {
  const written = await put(0, 'alpha', 'one');
  assert.strictEqual(written.result, 'COMMIT_RESULT_COMMITTED');
  const read = await call(clients.length - 1, 'Read', { keyspace: 'n', keys: [Buffer.from('alpha')] });
  assert.strictEqual(read.rows[0].value.toString(), 'one');
  assert.strictEqual(read.rows[0].version, written.timestamp);
});

test('an oversized key names the field', async () => {
  await assert.rejects(put(0, 'k'.repeat(4097), 'v'), (error) => {
    assert.strictEqual(error.code, grpc.status.INVALID_ARGUMENT);
    assert.match(error.details, /key/);
    return true;
  });
});

test('a scan streams every row in order', async () => {
  for (let i = 0; i < 25; i += 1) await put(i % clients.length, `scan-${String(i).padStart(3, '0')}`, `v${i}`);
  const rows = [];
  const stream = clients[0].Scan({ keyspace: 'n', start: Buffer.from('scan-'), end: Buffer.from('scan.'), pageRows: 4 }, { deadline: deadline() });
  for await (const page of stream) rows.push(...page.rows.map((row) => row.key.toString()));
  assert.strictEqual(rows.length, 25);
  assert.deepStrictEqual(rows, [...rows].sort());
});

test('the batch stream answers every tag', async () => {
  const stream = clients[0].Batch({ deadline: deadline() });
  const seen = new Set();
  const done = new Promise((resolve, reject) => {
    stream.on('error', reject);
    stream.on('data', (message) => {
      for (const reply of message.replies) {
        if (reply.response !== 'commit') reject(new Error(JSON.stringify(reply)));
        seen.add(reply.tag);
      }
      if (seen.size === 100) stream.end();
    });
    stream.on('end', resolve);
  });
  for (let turn = 0; turn < 10; turn += 1) {
    const items = [];
    for (let i = 0; i < 10; i += 1) {
      const tag = turn * 10 + i + 1;
      items.push({ tag, commit: { keyspace: 'n', txnId: crypto.randomBytes(16), mutations: [{ put: { key: Buffer.from(`batch-${tag}`), value: Buffer.from('x') } }] } });
    }
    stream.write({ items });
  }
  await done;
  assert.strictEqual(seen.size, 100);
});

const value = async (key) => (await call(0, 'Read', { keyspace: 'n', keys: [Buffer.from(key)] })).rows[0].value.toString();

test('an interactive transaction reads its own writes and is refused when others were first', async () => {
  await put(0, 'interactive', 'before');
  const txn = new Transaction(clients[0], 'n', deadline());
  const { txnId, begin } = await txn.begin();
  assert.strictEqual(txnId.length, 16);
  assert.deepStrictEqual(await txn.get('interactive', 'nowhere'), ['before', null]);
  await txn.put('interactive', 'mine');
  await txn.put('\u007fanother', 'mine');
  assert.deepStrictEqual(await txn.get('interactive'), ['mine']);
  const { scanned } = await txn.ask({ scan: { start: Buffer.from('interactive') } });
  assert.deepStrictEqual(scanned.filter((row) => row.value.toString() === 'mine').map((row) => row.key.toString()), ['interactive', '\u007fanother']);
  await put(clients.length - 1, 'interactive', 'theirs');
  await assert.rejects(txn.commit(), (error) => {
    assert.strictEqual(error.detail.status, 'ABORTED_RETRY');
    assert.strictEqual(error.detail.retryable, true);
    assert.strictEqual(error.detail.key.toString(), 'interactive');
    return true;
  });
  txn.close();
  const again = new Transaction(clients[0], 'n', deadline(), { txnId, begin });
  assert.deepStrictEqual(await again.begin(), { txnId, begin });
  assert.deepStrictEqual(await again.get('interactive'), ['theirs']);
  await again.put('interactive', 'mine');
  assert.strictEqual((await again.commit()).result, 'COMMIT_RESULT_COMMITTED');
  again.close();
  assert.strictEqual(await value('interactive'), 'mine');
});

test('the example moves money, many at once', async () => {
  await put(0, 'source', '100');
  await put(0, '\u007ftarget', '0');
  await Promise.all(Array.from({ length: 8 }, (_, i) => transfer(clients[i % clients.length], 'n', 'source', '\u007ftarget', 10n)));
  const program = [path.join(__dirname, 'transact.js'), addresses[0], 'n', 'source', '\u007ftarget', '10'];
  const { stdout } = await promisify(execFile)(process.execPath, program);
  assert.match(stdout, /^transferred by [0-9a-f]{32} at /);
  assert.deepStrictEqual([await value('source'), await value('\u007ftarget')], ['10', '90']);
});
