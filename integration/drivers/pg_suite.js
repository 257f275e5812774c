// node-postgres as a test suite uses it: its own protocol code, named statements, its own pool.
'use strict';

const assert = require('node:assert');
const { once } = require('node:events');
const { Client, Pool } = require('pg');

const connectionString = process.argv[2];

async function withClient(work, options = {}) {
  const client = new Client({ connectionString, ...options });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function basics() {
  await withClient(async (client) => {
    const { rows } = await client.query('SELECT pg_backend_pid() AS pid');
    assert.strictEqual(rows[0].pid, client.processID);
    const typed = await client.query('SELECT $1::int + 1 AS i, $2::jsonb AS j, now() AS t', [41, { a: [1] }]);
    assert.deepStrictEqual([typed.rows[0].i, typed.rows[0].j], [42, { a: [1] }]);
    const several = await client.query('SELECT 1 AS a; SELECT 2 AS b');
    assert.deepStrictEqual(several.map((result) => result.rows[0]), [{ a: 1 }, { b: 2 }]);
    for (let i = 0; i < 50; i += 1) {
      const named = await client.query({ name: 'add', text: 'SELECT $1::int + $2::int AS sum', values: [i, 1] });
      assert.strictEqual(named.rows[0].sum, i + 1);
    }
    const queued = await Promise.all(Array.from({ length: 100 }, (_, i) => client.query('SELECT $1::int AS i', [i])));
    assert.deepStrictEqual(queued.map((result) => result.rows[0].i), Array.from({ length: 100 }, (_, i) => i));
  }, { application_name: 'suite', options: '-c statement_timeout=30000' });
}

async function errors() {
  await withClient(async (client) => {
    await client.query('CREATE TEMP TABLE t (i int PRIMARY KEY)');
    await client.query('BEGIN');
    await client.query('INSERT INTO t VALUES (1)');
    await assert.rejects(client.query('INSERT INTO t VALUES ($1)', [1]), { code: '23505', constraint: 't_pkey' });
    await assert.rejects(client.query('SELECT 1'), { code: '25P02' });
    await client.query('ROLLBACK');
    assert.strictEqual((await client.query('SELECT * FROM t')).rowCount, 0);
    await assert.rejects(client.query('SELECT $1::int', ['x']), { code: '22P02' });
    assert.strictEqual((await client.query('SELECT 1 AS one')).rows[0].one, 1);
  });
  const missing = new Client({ connectionString: connectionString.replace('/app', '/none_such') });
  await assert.rejects(missing.connect(), { code: '3D000', message: 'database "none_such" does not exist' });
}

async function notifications() {
  await withClient((listener) => withClient(async (notifier) => {
    await listener.query('LISTEN node_channel');
    const heard = once(listener, 'notification');
    await notifier.query("SELECT pg_notify('node_channel', 'hello')");
    const [{ payload, processId }] = await heard;
    assert.deepStrictEqual([payload, processId], ['hello', notifier.processID]);
    const notice = once(listener, 'notice');
    await listener.query("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$");
    assert.strictEqual((await notice)[0].message, 'noticed');
  }));
}

async function pooled() {
  const pool = new Pool({ connectionString, max: 5 });
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => pool.query('SELECT $1::int AS i', [i])));
  assert.strictEqual(answers.reduce((sum, { rows }) => sum + rows[0].i, 0), 4950);
  const big = await pool.query("SELECT repeat('x', 5000000) AS x");
  assert.strictEqual(big.rows[0].x.length, 5_000_000);
  await pool.end();
}

(async () => {
  for (const part of [basics, errors, notifications, pooled]) await part();
  console.log('ok');
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
