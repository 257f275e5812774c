//! Socket options that both sides of a session share.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use socket2::TcpKeepalive;

/// A silent peer is asked for a sign of life after this. Well below the 350 s after which AWS NAT gateways
/// and network load balancers forget an idle connection (VPC and ELB user guides).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// With the above: a peer that vanished while the connection was idle is noticed within a minute.
const KEEPALIVE_PROBES: u32 = 3;

/// Keeps an idle connection alive through NATs and notices a peer that vanished.
///
/// `TCP_USER_TIMEOUT` is left alone on purpose. It would notice a peer that vanished in the middle of a
/// transfer sooner than the kernel's 15 minutes, but since Linux 5.11 it also ends a healthy connection whose
/// peer merely does not read for that long: measured on 6.18, a living peer with a full window is given up
/// after exactly that time. A server that waits for a lock in the middle of a pipeline, or an application
/// stopped in a debugger, does not read for minutes, and over a direct connection survives it.
pub(super) fn keep_alive(socket: &SockRef<'_>) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)
}

/// [`keep_alive`], and small messages leave at once: both protocols are ping-pong, and waiting to fill a
/// packet costs 40 ms a query.
pub(super) fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    keep_alive(socket)
}
