//! The aliases of a name, one by one, from the name servers of `/etc/resolv.conf`.
//!
//! `getaddrinfo` only tells the last name of a chain of aliases. That is not enough: the endpoint of an Aurora
//! cluster is an alias of the present writer's, and that of a publicly accessible instance is an alias of
//! `ec2-….compute.amazonaws.com`. The name to sign for stands in the middle. RFC 1035 is the format.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;

/// How long one name server may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Largest answer over UDP without EDNS (RFC 1035, section 4.2.1).
const ANSWER_BYTES_MAX: usize = 512;
/// `MAXNS` of `<resolv.h>`.
const SERVERS_MAX: usize = 3;
/// Longer chains are broken, or circles.
const ALIASES_MAX: usize = 8;
const TYPE_CNAME: u16 = 5;
const CLASS_IN: u16 = 1;
const HEADER_BYTES: usize = 12;

/// Name servers and search domains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Resolver {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
}

impl Resolver {
    /// Reads `/etc/resolv.conf`; without one there are no servers, and no aliases will be found.
    pub(super) async fn system() -> Self {
        let text = tokio::fs::read_to_string("/etc/resolv.conf")
            .await
            .unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    resolver
                        .servers
                        .extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => resolver.search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        resolver.servers.truncate(SERVERS_MAX);
        resolver
    }

    /// The names `host` is an alias of, nearest first, lower case; empty when it is none, or nobody answers.
    /// Cancel safe.
    pub(super) async fn aliases_of(&self, host: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let searched = self
            .search
            .iter()
            .map(|domain| format!("{host}.{}", domain.trim_end_matches('.')));
        for first in std::iter::once(host.to_owned()).chain(searched) {
            let mut name = first;
            while let Some(target) = self
                .alias_of(&name)
                .await
                .filter(|_| found.len() < ALIASES_MAX)
            {
                found.push(target.clone());
                name = target;
            }
            if !found.is_empty() {
                break;
            }
        }
        found
    }

    /// The first server that answers decides.
    async fn alias_of(&self, name: &str) -> Option<String> {
        for server in &self.servers {
            if let Ok(Some(reply)) = tokio::time::timeout(ANSWER_TIMEOUT, ask(*server, name)).await
            {
                return cname(&reply);
            }
        }
        None
    }
}

/// One question, one answer; none when the question cannot be asked.
async fn ask(server: SocketAddr, name: &str) -> Option<Vec<u8>> {
    let id: u16 = rand::random();
    let question = question(id, name)?;
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await.ok()?;
    socket.connect(server).await.ok()?;
    socket.send(&question).await.ok()?;
    let mut reply = vec![0; ANSWER_BYTES_MAX];
    loop {
        let length = socket.recv(&mut reply).await.ok()?;
        // Anything else is a stray or forged packet: keep listening.
        let body = reply.get(..length)?;
        let asked = question.get(HEADER_BYTES..)?;
        let echoed = body
            .get(HEADER_BYTES..)
            .is_some_and(|rest| rest.to_ascii_lowercase().starts_with(asked));
        if word(body, 0) == Some(id) && echoed {
            reply.truncate(length);
            return Some(reply);
        }
    }
}

/// A recursive question for the CNAME of `name`, which is made lower case.
fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    bytes.extend(id.to_be_bytes());
    // Recursion desired; one question.
    bytes.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').to_ascii_lowercase().split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(TYPE_CNAME.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    Some(bytes)
}

/// The target of the first CNAME in an answer.
fn cname(reply: &[u8]) -> Option<String> {
    let answers = word(reply, 6)?;
    let (_, mut at) = name(reply, HEADER_BYTES)?;
    at += 4;
    for _ in 0..answers {
        let (_, end) = name(reply, at)?;
        let length = usize::from(word(reply, end + 8)?);
        if word(reply, end)? == TYPE_CNAME && word(reply, end + 2)? == CLASS_IN {
            return name(reply, end + 10).map(|(target, _)| target);
        }
        at = end + 10 + length;
    }
    None
}

/// The name at `at`, lower case, and where what follows it begins. Follows compression pointers (RFC 1035,
/// section 4.1.4), each to before where the part it ends began, so that it comes to an end.
fn name(packet: &[u8], at: usize) -> Option<(String, usize)> {
    let mut labels: Vec<String> = Vec::new();
    let (mut at, mut began, mut end) = (at, at, None);
    loop {
        let length = *packet.get(at)?;
        match length {
            0 => return Some((labels.join("."), end.unwrap_or(at + 1))),
            1..=63 => {
                let label = packet.get(at + 1..at + 1 + usize::from(length))?;
                labels.push(String::from_utf8(label.to_ascii_lowercase()).ok()?);
                at += 1 + usize::from(length);
            }
            192..=255 => {
                let target = usize::from(word(packet, at)? & 0x3fff);
                end = end.or(Some(at + 2));
                began = Some(target).filter(|target| *target < began)?;
                at = began;
            }
            64..=191 => return None,
        }
    }
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    let bytes: [u8; 2] = packet.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

#[cfg(test)]
pub(crate) mod tests;
