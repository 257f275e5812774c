<?php
// Logs in as told through PHP's mysqlnd: a JSON list of attempts on stdin, their outcomes on stdout.

mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

function log_in(array $attempt): array
{
    $connection = mysqli_init();
    $flags = $attempt['tls'] ? MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_DONT_VERIFY_SERVER_CERT : 0;
    $socket = $attempt['socket'] ?? null;
    try {
        $connection->real_connect(
            $socket === null ? '127.0.0.1' : 'localhost',
            $attempt['user'],
            $attempt['password'],
            $attempt['database'],
            $attempt['port'] ?? 0,
            $socket,
            $flags
        );
    } catch (mysqli_sql_exception $error) {
        return ['code' => $error->getCode(), 'message' => $error->getMessage()];
    }
    [$user, $answer] = $connection->query('SELECT CURRENT_USER(), 6 * 7')->fetch_row();
    $version = $connection->server_info;
    $connection->close();
    return ['user' => $user, 'answer' => (int) $answer, 'version' => $version];
}

error_reporting(E_ALL & ~E_WARNING);
echo json_encode(array_map('log_in', json_decode(stream_get_contents(STDIN), true)), JSON_THROW_ON_ERROR), "\n";
