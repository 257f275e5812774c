//! Reaching the database over TCP.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use config::Endpoint;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

use super::dial_error::DialError;
use super::tcp;

/// How long one address may be silent before the next is tried beside it. RFC 8305 section 5,
/// "Connection Attempt Delay": 250 ms recommended.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// A TCP connection to a database server.
#[derive(Debug)]
pub struct Dialled {
    /// The connection, with keepalive and without Nagle's delay.
    pub stream: TcpStream,
    /// The address that answered. A name may mean another server a second later (failover, reader
    /// endpoints): what must reach this very server goes to [`dial_address`].
    pub address: SocketAddr,
}

/// Connects to `endpoint` within `limit`, name resolution included. The name is resolved anew each time.
///
/// All addresses are tried in the resolver's order, families alternating; the next one starts when the one
/// before failed or was silent for 250 ms, and the first to answer wins (RFC 8305, without its caching).
/// Cancel safe: dropping closes every attempt.
pub async fn dial(endpoint: &Endpoint, limit: Duration) -> Result<Dialled, DialError> {
    let deadline = Instant::now() + limit;
    let addresses = resolve(endpoint, limit).await?;
    match timeout_at(deadline, race(endpoint, &addresses)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(DialError::TimedOut {
            endpoint: endpoint.clone(),
            addresses,
            after: limit,
        }),
    }
}

/// Connects to exactly this address within `limit`. Cancel safe.
pub async fn dial_address(address: SocketAddr, limit: Duration) -> Result<TcpStream, DialError> {
    let endpoint = Endpoint {
        host: address.ip().to_string(),
        port: address.port(),
    };
    match timeout(limit, connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(DialError::from_connect(&endpoint, address, &error)),
        Err(_elapsed) => Err(DialError::TimedOut {
            endpoint,
            addresses: vec![address],
            after: limit,
        }),
    }
}

async fn resolve(endpoint: &Endpoint, limit: Duration) -> Result<Vec<SocketAddr>, DialError> {
    if let Ok(ip) = endpoint.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, endpoint.port)]);
    }
    let unresolved = |reason: String| DialError::Unresolved {
        endpoint: endpoint.clone(),
        reason,
    };
    let found = timeout(limit, lookup_host((endpoint.host.as_str(), endpoint.port)))
        .await
        .map_err(|_elapsed| unresolved(format!("no answer from DNS within {limit:?}")))?
        .map_err(|error| unresolved(resolver_words(&error)))?;
    let addresses = alternate(found.collect());
    if addresses.is_empty() {
        return Err(unresolved("the name has no address".to_owned()));
    }
    Ok(addresses)
}

/// glibc's words without the standard library's preamble.
fn resolver_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ")
        .unwrap_or(&text)
        .to_owned()
}

/// The resolver's order, but the second family gets every other place: a network whose IPv6 swallows packets
/// then costs one step (RFC 8305 section 4).
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut preferred = preferred.into_iter();
    let mut others = others.into_iter();
    let mut mixed = Vec::new();
    loop {
        let pair = [preferred.next(), others.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// The first connection that comes about, or the most telling of the failures.
async fn race(endpoint: &Endpoint, addresses: &[SocketAddr]) -> Result<Dialled, DialError> {
    let mut waiting = addresses.iter().copied();
    let mut running = JoinSet::new();
    let mut failure: Option<DialError> = None;
    loop {
        let started = waiting.next();
        if let Some(address) = started {
            running.spawn(async move { (address, connect(address).await) });
        }
        let finished = match started {
            Some(_) if waiting.len() > 0 => timeout(NEXT_ADDRESS_AFTER, running.join_next()).await,
            Some(_) | None => Ok(running.join_next().await),
        };
        match finished {
            Ok(Some(Ok((address, Ok(stream))))) => return Ok(Dialled { stream, address }),
            Ok(Some(Ok((address, Err(error))))) => {
                let new = DialError::from_connect(endpoint, address, &error);
                failure = Some(new.or_more_telling(failure));
            }
            // A panicked attempt counts for nothing; a silent one goes on beside the next.
            Ok(Some(Err(_))) | Err(_) => (),
            Ok(None) => return Err(failure.unwrap_or_else(|| DialError::no_address(endpoint))),
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    tcp::tune(&SockRef::from(&stream))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_alternate_and_keep_their_order() {
        let parse = |list: &[&str]| {
            list.iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<SocketAddr>>()
        };
        let resolver = parse(&[
            "[2001:db8::1]:1",
            "[2001:db8::2]:1",
            "10.0.0.1:1",
            "10.0.0.2:1",
            "10.0.0.3:1",
        ]);
        let mixed = parse(&[
            "[2001:db8::1]:1",
            "10.0.0.1:1",
            "[2001:db8::2]:1",
            "10.0.0.2:1",
            "10.0.0.3:1",
        ]);
        assert_eq!(alternate(resolver), mixed);
        assert_eq!(alternate(Vec::new()), Vec::new());
    }
}
