//! Hosts, ports and listen addresses as they are typed.

use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::problem::Wrong;
use crate::values::Endpoint;
use crate::values::Listen;

/// Longest DNS name (RFC 1035, 2.3.4, less the root's dot).
const HOST_BYTES_MAX: usize = 253;

/// Longest path of a unix socket: `sun_path` less its NUL (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// `HOST[:PORT]`, an IPv6 address in brackets. Quotes nothing of a port that is no number: where this text
/// comes from a URL, a password may have slipped into it.
pub(crate) fn endpoint(text: &str, default_port: u16) -> Result<Endpoint, Wrong> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest
                .split_once(']')
                .ok_or_else(|| Wrong::new("`[` opens an IPv6 address that no `]` closes"))?;
            let address: Ipv6Addr = host.parse().map_err(|_| {
                Wrong::new("what stands between `[` and `]` is not an IPv6 address")
            })?;
            match after.strip_prefix(':') {
                Some(port) => (address.to_string(), Some(port)),
                None if after.is_empty() => (address.to_string(), None),
                None => return Err(Wrong::new("only `:PORT` may follow `]`")),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(Wrong::new("the host holds more than one `:`")
                    .try_instead("put an IPv6 address in brackets: [::1]:5432"));
            }
            Some((host, port)) => (dns_name(host)?, Some(port)),
            None => (dns_name(text)?, None),
        },
    };
    match port {
        Some(port) => Ok(Endpoint {
            host,
            port: upstream_port(port)?,
        }),
        None => Ok(Endpoint {
            host,
            port: default_port,
        }),
    }
}

fn dns_name(text: &str) -> Result<String, Wrong> {
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if host.is_empty() {
        return Err(Wrong::new("the host is missing"));
    }
    let legal = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if host.len() > HOST_BYTES_MAX || !host.split('.').all(legal) {
        return Err(Wrong::new(
            "the host is neither a DNS name nor an IP address",
        ));
    }
    Ok(host)
}

fn upstream_port(text: &str) -> Result<u16, Wrong> {
    match text.parse() {
        Ok(0) => Err(Wrong::new("port 0 cannot be dialled")),
        Ok(port) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(Wrong::new("the port is not a number from 1 to 65535")),
    }
}

/// Where clients connect: what [`tcp`] takes, or `unix:/PATH`.
pub(crate) fn listen(text: &str, default_port: u16) -> Result<Listen, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') {
            return Err(Wrong::new("the path of a unix socket must be absolute")
                .try_instead("write unix:/PATH"));
        }
        if path.len() > UNIX_PATH_BYTES_MAX {
            return Err(Wrong::new(format!(
                "the path of a unix socket has {UNIX_PATH_BYTES_MAX} bytes at most"
            )));
        }
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    if text.starts_with('/') {
        return Err(Wrong::new(format!("`{text}` is not an address"))
            .try_instead(format!("write `unix:{text}`")));
    }
    tcp(text, default_port).map(Listen::Tcp)
}

/// `HOST:PORT`, `:PORT` (loopback) or `HOST`; HOST is an IP address or `localhost`. Port 0 is any free one.
pub(crate) fn tcp(text: &str, default_port: u16) -> Result<SocketAddr, Wrong> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, default_port));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::new(format!("`{text}` is not an address"))
            .try_instead(format!("write `:{text}`")));
    }
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    match text.rsplit_once(':') {
        None if text == "localhost" => Ok(SocketAddr::new(loopback, default_port)),
        Some(("" | "localhost", port)) => match port.parse() {
            Ok(port) => Ok(SocketAddr::new(loopback, port)),
            Err(_) => Err(Wrong::new(format!("`{port}` is not a port"))
                .try_instead("write a number from 0 to 65535")),
        },
        Some(("*", port)) => Err(
            Wrong::new(format!("`{text}` is not an address")).try_instead(format!(
                "write `0.0.0.0:{port}` to listen on every interface"
            )),
        ),
        _ => Err(Wrong::new(format!("`{text}` is not an address"))
            .try_instead("write IP:PORT, :PORT for loopback, or localhost:PORT")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (text, host, port) in [
            ("DB.example.com.", "db.example.com", 5432),
            ("db:1", "db", 1),
            ("10.0.0.1:65535", "10.0.0.1", 65535),
            ("[2001:DB8::1]", "2001:db8::1", 5432),
            ("[::1]:6000", "::1", 6000),
        ] {
            assert_eq!(
                endpoint(text, 5432),
                Ok(Endpoint {
                    host: host.to_owned(),
                    port
                }),
                "{text}"
            );
        }
        for text in [
            "", ":1", "db:", "db:0", "db:65536", "db:+1", "::1", "[::1", "[x]", "[::1]x", "a..b",
            "a b", "ä",
        ] {
            assert!(endpoint(text, 5432).is_err(), "{text}");
        }
    }

    #[test]
    fn listen_addresses() {
        for (text, shown) in [
            (":5433", "127.0.0.1:5433"),
            ("localhost", "127.0.0.1:5432"),
            ("localhost:0", "127.0.0.1:0"),
            ("0.0.0.0", "0.0.0.0:5432"),
            ("::", "[::]:5432"),
            ("[::1]", "[::1]:5432"),
            ("[::1]:1", "[::1]:1"),
            ("unix:/run/pg/.s.PGSQL.5432", "unix:/run/pg/.s.PGSQL.5432"),
        ] {
            assert_eq!(
                listen(text, 5432).map(|listen| listen.to_string()),
                Ok(shown.to_owned()),
                "{text}"
            );
        }
        for text in [
            "", "5433", "*:5433", "db:5432", ":x", ":70000", "unix:x", "/run/x", "1.2.3:4",
        ] {
            assert!(listen(text, 5432).is_err(), "{text}");
        }
    }
}
