//! Why a database server cannot be reached, and what usually mends it.

use std::io;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;

use config::Endpoint;

use crate::fault::Blame;
use crate::fault::ClientError;
use crate::fault::Fault;
use crate::fault::Retry;

/// No TCP connection to the database server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// Somebody at that address said no: nothing listens on the port.
    #[error("cannot reach {endpoint}: connection refused")]
    Refused {
        /// What was dialled.
        endpoint: Endpoint,
        /// Who refused.
        address: SocketAddr,
    },
    /// The operating system failed the attempt in some other way.
    #[error("cannot reach {endpoint}: {reason}")]
    System {
        /// What was dialled.
        endpoint: Endpoint,
        /// The address tried.
        address: SocketAddr,
        /// The system's words.
        reason: String,
    },
    /// Nobody answered.
    #[error("cannot reach {endpoint}: no answer within {after:?}")]
    TimedOut {
        /// What was dialled.
        endpoint: Endpoint,
        /// What the name resolved to.
        addresses: Vec<SocketAddr>,
        /// How long we waited.
        after: Duration,
    },
    /// A router, or our own routing table, knows no way.
    #[error("cannot reach {endpoint}: {reason}")]
    Unreachable {
        /// What was dialled.
        endpoint: Endpoint,
        /// The address tried.
        address: SocketAddr,
        /// The system's words: no route, network unreachable.
        reason: String,
    },
    /// DNS has no address for the name.
    #[error("cannot resolve {}: {reason}", endpoint.host)]
    Unresolved {
        /// What was dialled.
        endpoint: Endpoint,
        /// The resolver's words.
        reason: String,
    },
}

impl DialError {
    /// Sorts a failed `connect`.
    pub(super) fn from_connect(
        endpoint: &Endpoint,
        address: SocketAddr,
        error: &io::Error,
    ) -> Self {
        let endpoint = endpoint.clone();
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused { endpoint, address },
            ErrorKind::HostUnreachable | ErrorKind::NetworkDown | ErrorKind::NetworkUnreachable => {
                Self::Unreachable {
                    endpoint,
                    address,
                    reason: plain(error),
                }
            }
            _ => Self::System {
                endpoint,
                address,
                reason: plain(error),
            },
        }
    }

    /// The name resolved to nothing.
    pub(super) fn no_address(endpoint: &Endpoint) -> Self {
        Self::Unresolved {
            endpoint: endpoint.clone(),
            reason: "the name has no address".to_owned(),
        }
    }

    /// Of the failures of several addresses, the one that says most: a machine without IPv6 reports
    /// "network unreachable" for it, beside the real trouble of the IPv4 address.
    pub(super) fn or_more_telling(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.weight() > self.weight() => other,
            Some(_) | None => self,
        }
    }

    fn weight(&self) -> u8 {
        match self {
            Self::Refused { .. } => 4,
            Self::TimedOut { .. } => 3,
            Self::System { .. } => 2,
            Self::Unreachable { .. } => 1,
            Self::Unresolved { .. } => 0,
        }
    }

    fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::Refused { address, .. }
            | Self::System { address, .. }
            | Self::Unreachable { address, .. } => std::slice::from_ref(address),
            Self::TimedOut { addresses, .. } => addresses,
            Self::Unresolved { .. } => &[],
        }
    }

    fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Refused { endpoint, .. }
            | Self::System { endpoint, .. }
            | Self::TimedOut { endpoint, .. }
            | Self::Unreachable { endpoint, .. }
            | Self::Unresolved { endpoint, .. } => endpoint,
        }
    }

    /// None where the name is an address already.
    fn detail(&self) -> Option<String> {
        let host = &self.endpoint().host;
        if self.addresses().is_empty() || host.parse::<IpAddr>().is_ok() {
            return None;
        }
        let addresses: Vec<String> = self
            .addresses()
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        Some(format!("{host} resolves to {}", addresses.join(", ")))
    }

    fn hint(&self) -> String {
        let port = self.endpoint().port;
        match self {
            Self::Refused { .. } => format!(
                "the host is there but nothing listens on port {port}: check the port in the database URL, \
                 and that the instance is running (a stopped or restarting one refuses too)"
            ),
            Self::System { reason, .. } if reason.starts_with("Too many open files") => {
                "raise the limit of open files (`ulimit -n`), or lower max_connections".to_owned()
            }
            Self::System { .. } => "see the machine's network and firewall settings".to_owned(),
            Self::TimedOut { .. } | Self::Unreachable { .. } if self.is_private() => format!(
                "that is a private address: it answers only inside its VPC or through VPN, peering or a tunnel, \
                 and only if the security group allows inbound TCP {port} from here"
            ),
            Self::TimedOut { .. } => format!(
                "allow inbound TCP {port} from here in the instance's security group; from outside its VPC the \
                 instance must also be publicly accessible"
            ),
            Self::Unreachable { .. } => "this machine has no route there: check its network, VPN or VPC".to_owned(),
            Self::Unresolved { .. } => "check the host for a typing error, and that the instance still exists \
                 (the name of a deleted one stops resolving); a private hosted zone answers only inside its VPC"
                .to_owned(),
        }
    }

    fn is_private(&self) -> bool {
        self.addresses().iter().any(|address| match address.ip() {
            IpAddr::V4(ip) => ip.is_private(),
            IpAddr::V6(ip) => ip.is_unique_local(),
        })
    }
}

/// The system's words without Rust's "(os error 113)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl Fault for DialError {
    fn blame(&self) -> Blame {
        match self {
            Self::Refused { .. }
            | Self::System { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. } => Blame::Upstream,
            Self::Unresolved { .. } => Blame::Config,
        }
    }

    /// All of them pass when an instance restarts, a rule is mended or a VPN comes up.
    fn retry(&self) -> Retry {
        Retry::Later
    }

    fn for_client(&self) -> ClientError {
        ClientError {
            // sqlclient_unable_to_establish_sqlconnection
            sqlstate: "08001".into(),
            message: self.to_string(),
            detail: self.detail(),
            hint: Some(self.hint()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint {
            host: "mydb.abc123.eu-west-1.rds.amazonaws.com".to_owned(),
            port: 5432,
        }
    }

    #[test]
    fn a_private_address_that_is_silent_points_at_the_vpc() {
        let addresses = vec!["10.1.2.3:5432".parse().unwrap()];
        let error = DialError::TimedOut {
            endpoint: endpoint(),
            addresses,
            after: Duration::from_secs(15),
        };
        let told = error.for_client();
        assert_eq!(told.sqlstate, "08001");
        assert_eq!(
            told.message,
            "cannot reach mydb.abc123.eu-west-1.rds.amazonaws.com:5432: no answer within 15s"
        );
        let detail = "mydb.abc123.eu-west-1.rds.amazonaws.com resolves to 10.1.2.3";
        assert_eq!(told.detail.as_deref(), Some(detail));
        assert!(told.hint.unwrap().contains("private address"));
    }

    #[test]
    fn a_public_address_that_is_silent_points_at_the_security_group() {
        let addresses = vec!["198.51.100.7:5432".parse().unwrap()];
        let error = DialError::TimedOut {
            endpoint: endpoint(),
            addresses,
            after: Duration::from_secs(15),
        };
        let hint = error.for_client().hint.unwrap();
        assert!(hint.starts_with("allow inbound TCP 5432"), "{hint}");
    }

    #[test]
    fn unreachable_ipv6_does_not_hide_what_ipv4_says() {
        // ENETUNREACH, ECONNREFUSED
        let v6 = "[2001:db8::1]:5432".parse().unwrap();
        let v4 = "198.51.100.7:5432".parse().unwrap();
        let unreachable =
            DialError::from_connect(&endpoint(), v6, &io::Error::from_raw_os_error(101));
        let refused = DialError::from_connect(&endpoint(), v4, &io::Error::from_raw_os_error(111));
        assert_eq!(
            unreachable.clone().or_more_telling(Some(refused.clone())),
            refused
        );
        assert_eq!(refused.clone().or_more_telling(Some(unreachable)), refused);
    }

    #[test]
    fn running_out_of_descriptors_is_told() {
        let address = "198.51.100.7:5432".parse().unwrap();
        let error =
            DialError::from_connect(&endpoint(), address, &io::Error::from_raw_os_error(24));
        assert!(error.for_client().hint.unwrap().contains("ulimit -n"));
    }
}
