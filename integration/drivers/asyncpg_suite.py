"""asyncpg, which speaks the protocol itself: flushes without syncs, pooled with its own reset, binary everywhere."""

import asyncio
import sys

import asyncpg

URL = sys.argv[1]


async def basics(connection):
    assert await connection.fetchval("SELECT pg_backend_pid()") == connection.get_server_pid()
    assert connection.get_settings().server_encoding == "UTF8"
    assert await connection.fetch("SELECT i FROM generate_series(1, 3) i") == [(1,), (2,), (3,)]
    assert await connection.fetchval("SELECT $1::int[]", [1, 2, 3]) == [1, 2, 3]
    statement = await connection.prepare("SELECT $1::text || $2::text")
    assert await statement.fetchval("a", "b") == "ab"
    assert [parameter.name for parameter in statement.get_parameters()] == ["text", "text"]
    assert await connection.execute("SELECT 1; SELECT 2") == "SELECT 1"


async def types(connection):
    await connection.execute("CREATE TYPE pg_temp.mood AS ENUM ('sad', 'glad')")
    assert await connection.fetchval("SELECT 'glad'::pg_temp.mood") == "glad"
    await connection.set_type_codec("json", encoder=str, decoder=lambda text: ("json", text), schema="pg_catalog")
    assert await connection.fetchval("SELECT '[1]'::json") == ("json", "[1]")
    await connection.execute("CREATE TEMP TABLE changing (a int)")
    await connection.fetch("SELECT * FROM changing")
    await connection.execute("ALTER TABLE changing ADD b int")
    await connection.fetch("SELECT * FROM changing")


async def transactions(connection):
    await connection.execute("CREATE TEMP TABLE t (i int)")
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute("INSERT INTO t VALUES (1)")
            async with connection.transaction():
                await connection.execute("SELECT 1 / 0")
    except asyncpg.DivisionByZeroError:
        pass
    assert await connection.fetchval("SELECT count(*) FROM t") == 0
    async with connection.transaction():
        total = 0
        async for row in connection.cursor("SELECT generate_series(1, 1000)", prefetch=7):
            total += row[0]
        assert total == 500_500
        cursor = await connection.cursor("SELECT generate_series(1, 10)")
        await cursor.forward(5)
        assert (await cursor.fetchrow())[0] == 6


async def copy(connection):
    rows = [(i, f"x{i}") for i in range(5_000)]
    await connection.execute("CREATE TEMP TABLE copied (i int, x text)")
    assert await connection.copy_records_to_table("copied", records=rows) == "COPY 5000"
    received = bytearray()

    async def take(data):
        received.extend(data)

    await connection.copy_from_query("SELECT * FROM copied", output=take, format="csv")
    assert received.count(b"\n") == 5_000
    await connection.executemany("INSERT INTO copied VALUES ($1, $2)", rows)
    assert await connection.fetchval("SELECT count(*) FROM copied") == 10_000


async def notifications(connection, other):
    heard = asyncio.Queue()
    await connection.add_listener("asyncpg_channel", lambda *args: heard.put_nowait(args[1:]))
    await other.execute("NOTIFY asyncpg_channel, 'hello'")
    told = await asyncio.wait_for(heard.get(), 20)
    assert told == (other.get_server_pid(), "asyncpg_channel", "hello"), told


async def cancelled(connection):
    try:
        await asyncio.wait_for(connection.execute("SELECT pg_sleep(60)"), 0.2)
    except asyncio.TimeoutError:
        pass
    assert await connection.fetchval("SELECT 1") == 1


async def own_pool():
    async with asyncpg.create_pool(URL, min_size=2, max_size=5) as pool:
        async def work(i):
            async with pool.acquire() as connection:
                await connection.execute("SET application_name = 'pooled'")
                return await connection.fetchval("SELECT $1::int", i)
        assert await asyncio.gather(*(work(i) for i in range(100))) == list(range(100))
        async with pool.acquire() as connection:
            assert await connection.fetchval("SHOW application_name") != "pooled"


async def settings():
    connection = await asyncpg.connect(URL, server_settings={"work_mem": "7MB", "search_path": "pg_temp"})
    await connection.reset()
    assert await connection.fetchval("SHOW work_mem") == "7MB"
    await connection.close()
    try:
        await asyncpg.connect(URL, database="none_such")
    except asyncpg.InvalidCatalogNameError as error:
        assert str(error) == 'database "none_such" does not exist'
    else:
        raise AssertionError("none_such exists")


async def main():
    connection, other = await asyncpg.connect(URL), await asyncpg.connect(URL)
    for part in [basics, types, transactions, copy, cancelled]:
        await part(connection)
    await notifications(connection, other)
    await connection.close()
    await other.close()
    await own_pool()
    await settings()
    print("ok")


asyncio.run(asyncio.wait_for(main(), 60))
