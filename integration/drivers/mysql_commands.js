// Uses MySQL as a test suite would, through one driver, and says in JSON what came of it.
//
//     node mysql_commands.js mysql2|mariadb PORT USER
//
// What it says must not depend on whether PORT is the server's or rds-sidecar's.
"use strict";

const [driver, port, user] = process.argv.slice(2);
const { Readable } = require("stream");
const common = { host: "127.0.0.1", port: Number(port), user, password: "", database: "app" };
const lines = () => Readable.from(Array.from({ length: 50 }, (_, n) => Buffer.from(`${n}\n`.repeat(100))));

function number(error) {
  return ["error", error.errno];
}

async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    return number(error);
  }
}

async function mysql2() {
  const connection = await require("mysql2/promise").createConnection({ ...common, multipleStatements: true });
  const query = async (sql, values) => (await connection.query(sql, values))[0];
  const execute = async (sql, values) => (await connection.execute(sql, values))[0];
  const said = [];
  said.push(await query("SELECT 1 AS a, NULL AS b, '' AS c, 'größe' AS d"));
  said.push(await query("SELECT 1 AS a; SELECT 2 AS b, 3 AS c"));
  said.push(await attempt(() => query("SELECT 1; SELECT nonsense")));
  for (let n = 0; n < 3; n++) said.push(await execute("SELECT ? AS n, ? AS t", [n, "text"]));
  said.push(await attempt(() => execute("SELECT nonsense")));
  await query("CREATE TEMPORARY TABLE t (n INT)");
  await connection.beginTransaction();
  await execute("INSERT INTO t VALUES (?)", [1]);
  await connection.rollback();
  said.push(await query({ sql: "LOAD DATA LOCAL INFILE 'stream' INTO TABLE t", infileStreamFactory: lines }).then((done) => done.affectedRows));
  said.push(await query("SELECT COUNT(*) AS count, CAST(SUM(n) AS CHAR) AS sum FROM t"));
  said.push(await query("SELECT LENGTH(?) AS l", ["x".repeat(20000000)]));
  said.push((await query("SELECT REPEAT('y', 20000000) AS y"))[0].y.length);
  said.push(await Promise.all([1, 2, 3].map((n) => query(`SELECT ${n} AS n`))));
  await query("SET NAMES latin1");
  said.push(await query("SELECT @@character_set_client AS c"));
  await connection.changeUser({ user, database: "mysql" });
  said.push(await query("SELECT DATABASE() AS d, @@character_set_client AS c"));
  await connection.ping();
  await connection.end();
  return said;
}

async function mariadb() {
  const connection = await require("mariadb").createConnection({
    ...common,
    multipleStatements: true,
    pipelining: true,
    bigIntAsNumber: true,
  });
  const query = (sql, values) => connection.query(sql, values);
  const said = [];
  said.push(await query("SELECT 1 AS a, NULL AS b, '' AS c, 'größe' AS d"));
  said.push(await query("SELECT 1 AS a; SELECT 2 AS b, 3 AS c"));
  said.push(await attempt(() => query("SELECT 1; SELECT nonsense")));
  for (let n = 0; n < 3; n++) said.push(await connection.execute("SELECT ? AS n, ? AS t", [n, "text"]));
  said.push(await attempt(() => connection.execute("SELECT nonsense")));
  await query("CREATE TEMPORARY TABLE t (n INT, t VARCHAR(9))");
  const rows = Array.from({ length: 1000 }, (_, n) => [n, "x"]);
  said.push((await connection.batch("INSERT INTO t VALUES (?, ?)", rows)).affectedRows);
  said.push(await query("SELECT COUNT(*) AS count, CAST(SUM(n) AS CHAR) AS sum FROM t"));
  said.push(await query("SELECT LENGTH(?) AS l", ["x".repeat(20000000)]));
  said.push((await query("SELECT REPEAT('y', 20000000) AS y"))[0].y.length);
  said.push(await Promise.all([1, 2, 3].map((n) => query(`SELECT ${n} AS n`))));
  await query("SET @a = 1");
  await connection.reset();
  said.push(await query("SELECT @a AS a, DATABASE() AS d"));
  // It refuses to where the server is MySQL.
  said.push(await attempt(() => connection.changeUser({ user, database: "mysql" })));
  said.push(await query("SELECT DATABASE() AS d"));
  await connection.ping();
  await connection.end();
  return said;
}

const drivers = { mysql2, mariadb };
drivers[driver]().then(
  (said) => process.stdout.write(JSON.stringify(said)),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
