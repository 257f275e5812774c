//! What a proxy costs before it does anything: its start, and its memory at rest and with idle clients.

use std::time::Duration;

use anyhow::Context;
use anyhow::Result;
use tokio::time::Instant;

use crate::machine;
use crate::peer::Kind;
use crate::peer::Lab;
use crate::peer::Peer;
use crate::report::Sample;
use crate::wire::Client;

const POLL: Duration = Duration::from_micros(200);
const START_SECONDS_MAX: u64 = 10;

/// From the proxy's start to the first answered query: a cold TLS connection and a login to the server included.
pub fn start(lab: &Lab<'_>, kind: Kind) -> Result<Option<Sample>> {
    if kind == Kind::Direct {
        return Ok(None);
    }
    let began = Instant::now();
    let peer = lab.spawn(kind)?;
    let mut client = first_client(&peer, began)?;
    client.query()?;
    let figures = vec![(
        "start to first answer, ms",
        began.elapsed().as_secs_f64() * 1e3,
    )];
    Ok(Some(Sample {
        figures,
        ..Sample::default()
    }))
}

/// Memory at rest, and with `clients` that each hold a server connection of their own, TLS included.
pub fn idle(peer: &Peer, clients: u32) -> Result<Option<Sample>> {
    let Some(pid) = peer.pid else { return Ok(None) };
    let mut open = vec![Client::connect(peer.port)?];
    for client in &mut open {
        client.query()?;
    }
    let at_rest = machine::pss_kib(pid)?;
    for _ in 0..clients {
        let mut client =
            Client::connect(peer.port).with_context(|| format!("client {}", open.len()))?;
        client.query()?;
        open.push(client);
    }
    let with_clients = machine::pss_kib(pid)?;
    let figures = vec![
        ("at rest, MB (PSS)", at_rest / 1024.0),
        ("with idle clients, MB (PSS)", with_clients / 1024.0),
        (
            "per client with its own TLS server connection, KiB",
            (with_clients - at_rest) / f64::from(clients),
        ),
    ];
    Ok(Some(Sample {
        figures,
        ..Sample::default()
    }))
}

/// Tries again while nobody listens yet.
pub fn first_client(peer: &Peer, began: Instant) -> Result<Client> {
    loop {
        match Client::connect(peer.port) {
            Ok(client) => return Ok(client),
            Err(error) if began.elapsed() > Duration::from_secs(START_SECONDS_MAX) => {
                return Err(error.context(peer.log()));
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
