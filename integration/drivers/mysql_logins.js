// Logs in as told through one of the Node drivers: a JSON list of attempts on stdin, their outcomes on stdout.
'use strict';

function options(attempt) {
  const where = attempt.socket ? { socketPath: attempt.socket } : { host: '127.0.0.1', port: attempt.port };
  const { user, password, database } = attempt;
  return { user, password, database, ...where, ...(attempt.tls ? { ssl: { rejectUnauthorized: false } } : {}) };
}

const SQL = 'SELECT CURRENT_USER() AS user, 6 * 7 AS answer';

function callbacks(connection, version) {
  return new Promise((resolve, reject) => {
    connection.connect((refused) => {
      if (refused) return reject(refused);
      connection.query(SQL, (error, rows) => {
        if (error) return reject(error);
        connection.end(() => resolve({ ...rows[0], version: version() }));
      });
    });
  });
}

const drivers = {
  mysql2(attempt) {
    const connection = require('mysql2').createConnection(options(attempt));
    return callbacks(connection, () => connection._handshakePacket.serverVersion);
  },
  mysql(attempt) {
    const connection = require('mysql').createConnection(options(attempt));
    return callbacks(connection, () => connection._protocol._handshakeInitializationPacket.serverVersion);
  },
  async mariadb(attempt) {
    const connection = await require('mariadb').createConnection({ bigIntAsNumber: true, ...options(attempt) });
    const [row] = await connection.query(SQL);
    const version = connection.serverVersion();
    await connection.end();
    return { ...row, version };
  },
};

async function main() {
  const attempts = JSON.parse(require('fs').readFileSync(0, 'utf8'));
  const outcomes = [];
  for (const attempt of attempts) {
    try {
      const { user, answer, version } = await drivers[process.argv[2]](attempt);
      outcomes.push({ user, answer: Number(answer), version });
    } catch (error) {
      outcomes.push({ code: error.errno, message: String(error.message) });
    }
  }
  console.log(JSON.stringify(outcomes));
}

main();
