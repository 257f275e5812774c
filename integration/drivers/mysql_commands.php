<?php
// Uses MySQL as a test suite would, through mysqli and mysqlnd, and says in JSON what came of it.
//
//     php mysql_commands.php PORT USER
//
// What it says must not depend on whether PORT is the server's or rds-sidecar's.
[, $port, $user] = $argv;
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
$said = [];

function attempt(callable $action)
{
    try {
        return $action();
    } catch (mysqli_sql_exception $error) {
        return ['error', $error->getCode()];
    }
}

$connection = mysqli_init();
$connection->options(MYSQLI_OPT_LOCAL_INFILE, 1);
$connection->real_connect('127.0.0.1', $user, '', 'app', (int) $port);
$rows = fn($sql) => $connection->query($sql)->fetch_all();
$said[] = $rows("SELECT 1, NULL, '', 'größe'");
$connection->multi_query('SELECT 1; SELECT 2, 3; SELECT 4 FROM DUAL WHERE 0');
do {
    $said[] = $connection->store_result()->fetch_all();
} while ($connection->more_results() && $connection->next_result());
$said[] = attempt(fn() => $rows('SELECT nonsense'));
$statement = $connection->prepare('SELECT ?, ?');
for ($n = 0; $n < 3; $n++) {
    $text = "text $n";
    $statement->bind_param('is', $n, $text);
    $statement->execute();
    $said[] = $statement->get_result()->fetch_all();
}
$statement->close();
$statement = $connection->prepare('SELECT LENGTH(?)');
$null = null;
$statement->bind_param('b', $null);
for ($n = 0; $n < 5; $n++) {
    $statement->send_long_data(0, str_repeat('x', 1000000));
}
$statement->execute();
$said[] = $statement->get_result()->fetch_all();
$statement->close();
$cursor = $connection->prepare('SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3');
$cursor->attr_set(MYSQLI_STMT_ATTR_CURSOR_TYPE, MYSQLI_CURSOR_TYPE_READ_ONLY);
$cursor->execute();
$cursor->bind_result($n);
while ($cursor->fetch()) {
    $said[] = $n;
}
$cursor->close();
$connection->query('CREATE TEMPORARY TABLE t (n INT)');
$file = tempnam(sys_get_temp_dir(), 'rows');
file_put_contents($file, implode("\n", range(1, 50000)) . "\n");
$connection->query("LOAD DATA LOCAL INFILE '$file' INTO TABLE t");
unlink($file);
$said[] = [$connection->affected_rows, $rows('SELECT COUNT(*), SUM(n) FROM t')];
$connection->begin_transaction();
$connection->query('DELETE FROM t');
$connection->rollback();
$said[] = strlen($rows("SELECT REPEAT('y', 20000000)")[0][0]);
$connection->query("SELECT CAST('x' AS SIGNED)")->fetch_all();
$said[] = $connection->warning_count;
$connection->set_charset('latin1');
$connection->change_user($user, '', 'mysql');
$said[] = $rows('SELECT DATABASE()');
$connection->close();
echo json_encode($said);
