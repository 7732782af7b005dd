"""Idle connections are reused, and closed when they expire."""

import asyncio
from collections.abc import Callable

from headrace.core.gateway.routes import ReplicaRoute, RouteTable, ServiceRoute, TargetRoute
from headrace.gateway.routing.router import Router
from headrace.gateway.routing.topology import ReplicaEndpoint
from headrace.gateway.upstream.pool import MAX_IDLE_S, Pool, UpstreamConnection
from headrace.testing.servers.scripted_replica import Peer, ScriptedReplica


async def hold_open(peer: Peer) -> None:
    await peer.read_to_end()


def table(*replicas: ReplicaRoute) -> RouteTable:
    return RouteTable(1, (ServiceRoute("svc", True, (TargetRoute(1, 3000, 100, replicas),)),))


async def open_one(pool: Pool, replica: ReplicaEndpoint) -> UpstreamConnection | None:
    opened: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
    pool.connect(replica, opened.set_result)
    return await opened


def replica_at(server: ScriptedReplica) -> ReplicaEndpoint:
    router = Router(0.0)
    router.replace_table(table(server.route), 0.0)
    (replica,) = router.replicas.values()
    return replica


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30.0):
        while not condition():
            await asyncio.sleep(0.001)


def test_the_most_recent_connection_is_used_first_and_old_ones_are_closed() -> None:
    now = 0.0

    async def scenario() -> None:
        nonlocal now
        async with ScriptedReplica(hold_open) as server:
            router = Router(0.0)
            router.replace_table(table(server.route), 0.0)
            (replica,) = router.replicas.values()
            pool = Pool(asyncio.get_running_loop(), lambda: now)
            assert pool.take(replica) is None
            old = await open_one(pool, replica)
            fresh = await open_one(pool, replica)
            assert old is not None
            assert fresh is not None
            pool.release(replica, old)
            now = MAX_IDLE_S - 1
            fresh.idle_since = now
            pool.release(replica, fresh)
            assert pool.take(replica) is fresh
            pool.release(replica, fresh)
            now = MAX_IDLE_S
            pool.close_idle(now)
            assert pool.take(replica) is fresh
            assert pool.take(replica) is None
            assert not old.is_usable
            pool.release(replica, fresh)
            router.replace_table(table(), now)
            pool.close_idle(now)
            assert pool.take(replica) is None
            assert not fresh.is_usable

    asyncio.run(scenario())


def test_a_closed_connection_is_not_reused() -> None:
    async def scenario() -> None:
        async with ScriptedReplica(hold_open) as server:
            replica = replica_at(server)
            pool = Pool(asyncio.get_running_loop(), lambda: 0.0)
            connection = await open_one(pool, replica)
            assert connection is not None
            pool.release(replica, connection)
            connection.close()
            assert pool.take(replica) is None
            pool.close()

    asyncio.run(scenario())


def test_after_its_first_stream_a_connection_is_probed_before_reuse() -> None:
    async def scenario() -> None:
        async with ScriptedReplica(hold_open) as server:
            replica = replica_at(server)
            pool = Pool(asyncio.get_running_loop(), lambda: 0.0)
            first = await open_one(pool, replica)
            second = await open_one(pool, replica)
            assert first is not None
            assert second is not None
            first.was_chunked = second.was_chunked = True
            pool.release(replica, first)
            assert pool.take(replica) is None
            await until(lambda: pool.idle_connections(replica).keeps_alive_after_stream is not None)
            assert pool.take(replica) is first
            pool.release(replica, second)
            assert pool.take(replica) is second
            pool.close()

    asyncio.run(scenario())


def test_a_replica_that_closes_after_streams_gets_a_new_connection_for_each() -> None:
    """As llama-server does, despite keep-alive; after other responses they stay open."""

    async def scenario() -> None:
        async with ScriptedReplica(hold_open) as server:
            replica = replica_at(server)
            pool = Pool(asyncio.get_running_loop(), lambda: 0.0)
            ended, streamed, plain = [await open_one(pool, replica) for _ in range(3)]
            assert ended is not None
            assert streamed is not None
            assert plain is not None
            ended.was_chunked = streamed.was_chunked = True
            pool.release(replica, ended)
            ended.close()
            await until(lambda: pool.idle_connections(replica).keeps_alive_after_stream is not None)
            assert pool.take(replica) is None
            pool.release(replica, streamed)
            assert not streamed.is_usable
            pool.release(replica, plain)
            assert pool.take(replica) is plain
            pool.close()

    asyncio.run(scenario())


def test_a_refused_connection_is_reported() -> None:
    async def scenario() -> None:
        async with ScriptedReplica(hold_open) as server:
            port = server.port
        router = Router(0.0)
        router.replace_table(table(ReplicaRoute("gone", "127.0.0.1", port)), 0.0)
        (replica,) = router.replicas.values()
        assert await open_one(Pool(asyncio.get_running_loop(), lambda: 0.0), replica) is None

    asyncio.run(scenario())
