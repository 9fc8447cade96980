// SPDX-License-Identifier: Apache-2.0
// transact.js - moves an amount from one account to another in an interactive transaction, and tries again on a conflict.
// usage: PROTO_DIR=api/proto node transact.js ADDRESS KEYSPACE FROM TO AMOUNT
// Accounts are keys whose values are decimal numbers.
'use strict';
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

// One stream, one transaction: requests are answered one after the other.
class Transaction {
  constructor(client, keyspace, deadline, first) {
    this.stream = client.Transact({ deadline });
    this.answers = this.stream[Symbol.asyncIterator]();
    this.first = { keyspace, ...first };
  }

  async ask(request) {
    this.stream.write(request);
    const { value, done } = await this.answers.next();
    if (done) throw new Error('the stream has ended');
    if (value.response === 'error') throw Object.assign(new Error(`${value.error.status}: ${value.error.message}`), { detail: value.error });
    return value[value.response];
  }

  async begin() {
    const { txnId, begin } = await this.ask({ begin: this.first });
    return { txnId, begin };
  }

  async get(...keys) {
    const { rows } = await this.ask({ get: { keys: keys.map((key) => Buffer.from(key)) } });
    return rows.map((row) => (row.found ? row.value.toString() : null));
  }

  put(key, value) {
    return this.ask({ write: { mutations: [{ put: { key: Buffer.from(key), value: Buffer.from(value) } }] } });
  }

  commit() {
    return this.ask({ commit: {} });
  }

  // What was not committed is rolled back.
  close() {
    this.stream.on('error', () => {}); // the cancellation
    this.stream.cancel();
  }
}

// Runs body(transaction) and commits, again and again until the deadline while others are in the way. A repeat keeps id and
// `begin` of the first try: the outcome is kept under the id, and the oldest of those in conflict wins.
async function transact(client, keyspace, body, ms = 30000) {
  const deadline = new Date(Date.now() + ms);
  let first = {};
  for (let attempt = 0; ; attempt += 1) {
    const txn = new Transaction(client, keyspace, deadline, first);
    try {
      first = await txn.begin();
      await body(txn);
      return await txn.commit();
    } catch (error) {
      if (error.detail?.status !== 'ABORTED_RETRY' || Date.now() > deadline) throw error;
    } finally {
      txn.close();
    }
    const pause = Math.random() * Math.min(100, 2 * 2 ** Math.min(attempt, 6));
    await new Promise((resolve) => { setTimeout(resolve, pause); });
  }
}

function transfer(client, keyspace, source, target, amount) {
  return transact(client, keyspace, async (txn) => {
    const [have, had] = (await txn.get(source, target)).map((value) => BigInt(value ?? 0));
    if (have < amount) throw new Error(`${source} has ${have} only`);
    await txn.put(source, String(have - amount));
    await txn.put(target, String(had + amount));
  });
}

async function main() {
  const [address, keyspace, source, target, amount] = process.argv.slice(2);
  const schema = path.join(process.env.PROTO_DIR ?? 'api/proto', 'lightcone.proto');
  const { lightcone } = grpc.loadPackageDefinition(loader.loadSync(schema, { longs: String, enums: String, oneofs: true }));
  const client = new lightcone.v1.Data(address, grpc.credentials.createInsecure());
  const committed = await transfer(client, keyspace, source, target, BigInt(amount));
  console.log(`transferred by ${committed.txnId.toString('hex')} at ${committed.timestamp}`);
  client.close();
}

if (require.main === module) {
  main().catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
}
module.exports = { Transaction, transact, transfer };
