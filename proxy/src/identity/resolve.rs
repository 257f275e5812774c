//! From the name a user configured to the endpoint as RDS knows it.
//!
//! A token signed for a CNAME is refused, and no certificate covers one
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html>), so a
//! name that is no RDS name is looked up, and what it is an alias of is used instead.

use std::net::IpAddr;

use config::Endpoint;

use crate::fault::Blame;
use crate::fault::ClientError;
use crate::fault::Fault;
use crate::fault::Retry;
use crate::identity::dns::Resolver;
use crate::identity::endpoint;
use crate::identity::rds_token::SignTarget;

/// `AI_CANONNAME` of `<netdb.h>`: the same on Linux (glibc, musl) and the BSDs with macOS.
const AI_CANONNAME: i32 = 0x0002;

/// The endpoint as RDS knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RealEndpoint {
    /// Sign for this, and verify the server's certificate against it.
    pub endpoint: Endpoint,
    /// Its region: from its name, else as configured.
    pub region: Option<String>,
}

/// Why there is no endpoint to sign for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// DNS does not know the name, or did not answer.
    #[error("the host {host} cannot be resolved: {reason}")]
    Lookup {
        /// The name.
        host: String,
        /// The resolver's words.
        reason: String,
    },
    /// No name tells the region and none is configured.
    #[error("the AWS region of {endpoint} is unknown")]
    RegionUnknown {
        /// The endpoint that would be signed for.
        endpoint: String,
    },
}

impl RealEndpoint {
    /// What to sign for; fails where the region is unknown.
    pub fn sign_target(&self) -> Result<SignTarget, EndpointError> {
        match &self.region {
            Some(region) => Ok(SignTarget {
                endpoint: self.endpoint.clone(),
                region: region.clone(),
            }),
            None => Err(EndpointError::RegionUnknown {
                endpoint: self.endpoint.to_string(),
            }),
        }
    }
}

/// Finds the endpoint to sign for and verify against: `sign_host` where given; `upstream` itself where its name
/// is an RDS name or an IP address; else the RDS name it is an alias of, or itself when it is no alias.
///
/// A region in an RDS name wins over `region`: the database knows no other. Cancel safe; the caller bounds the
/// time.
pub async fn resolve(
    upstream: &Endpoint,
    sign_host: Option<&Endpoint>,
    region: Option<&str>,
) -> Result<RealEndpoint, EndpointError> {
    let given = sign_host.unwrap_or(upstream);
    if sign_host.is_some() || is_literal(&given.host) || endpoint::parse(&given.host).is_some() {
        return Ok(real(given.clone(), region));
    }
    let alias_of = rds_name_of(&Resolver::system().await, &given.host).await?;
    let endpoint = Endpoint {
        host: alias_of.unwrap_or_else(|| given.host.clone()),
        port: given.port,
    };
    Ok(real(endpoint, region))
}

/// The RDS name `host` is an alias of, if it is one: the nearest, because a cluster's endpoint is itself an
/// alias of the present writer's, and that one changes. Names that are not in DNS (`/etc/hosts`, mDNS) are
/// left to the system's resolver.
async fn rds_name_of(resolver: &Resolver, host: &str) -> Result<Option<String>, EndpointError> {
    let aliases = resolver.aliases_of(host).await;
    match aliases
        .into_iter()
        .find(|name| endpoint::parse(name).is_some())
    {
        Some(name) => Ok(Some(name)),
        None => canonical_name(host).await,
    }
}

fn real(endpoint: Endpoint, region: Option<&str>) -> RealEndpoint {
    let named = endpoint::parse(&endpoint.host).and_then(|name| name.region);
    RealEndpoint {
        endpoint,
        region: named.or_else(|| region.map(str::to_owned)),
    }
}

fn is_literal(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok()
}

/// The RDS name `host` is an alias of by the system's resolver. Fails when that does not know the host.
async fn canonical_name(host: &str) -> Result<Option<String>, EndpointError> {
    let failed = |reason: String| EndpointError::Lookup {
        host: host.to_owned(),
        reason,
    };
    let name = host.to_owned();
    let found = tokio::task::spawn_blocking(move || {
        let hints = dns_lookup::AddrInfoHints {
            flags: AI_CANONNAME,
            ..dns_lookup::AddrInfoHints::default()
        };
        let found = dns_lookup::getaddrinfo(Some(&name), None, Some(hints))
            .map_err(std::io::Error::from)?;
        Ok::<_, std::io::Error>(found.flatten().find_map(|info| info.canonname))
    });
    let found = found
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| failed(error.to_string()))?;
    Ok(found
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
        .filter(|name| endpoint::parse(name).is_some()))
}

impl Fault for EndpointError {
    fn blame(&self) -> Blame {
        match self {
            Self::Lookup { .. } => Blame::Upstream,
            Self::RegionUnknown { .. } => Blame::Config,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Lookup { .. } => Retry::Later,
            Self::RegionUnknown { .. } => Retry::Never,
        }
    }

    fn for_client(&self) -> ClientError {
        let (sqlstate, hint) = match self {
            // sqlclient_unable_to_establish_sqlconnection
            Self::Lookup { .. } => (
                "08001",
                "check the host in the database's URL, and the DNS of this network",
            ),
            // config_file_error
            Self::RegionUnknown { .. } => (
                "F0000",
                "set region (AWS_REGION), or sign_host to the database's RDS endpoint; it is never guessed",
            ),
        };
        ClientError {
            sqlstate: sqlstate.into(),
            message: format!("rds-sidecar: {self}"),
            detail: None,
            hint: Some(hint.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::dns::tests::server;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint {
            host: host.to_owned(),
            port: 5432,
        }
    }

    const RDS: &str = "mydb.abc123.eu-west-1.rds.amazonaws.com";

    #[tokio::test]
    async fn an_rds_name_is_itself_and_its_region_wins() {
        for configured in [None, Some("us-east-1")] {
            let real = resolve(&endpoint(RDS), None, configured).await.unwrap();
            assert_eq!(
                real,
                RealEndpoint {
                    endpoint: endpoint(RDS),
                    region: Some("eu-west-1".to_owned())
                }
            );
        }
    }

    #[tokio::test]
    async fn sign_host_wins_without_any_lookup() {
        let real = resolve(
            &endpoint("no-such-host.invalid"),
            Some(&endpoint(RDS)),
            None,
        )
        .await
        .unwrap();
        assert_eq!(real.endpoint, endpoint(RDS));
        let target = real.sign_target().unwrap();
        assert_eq!(
            (target.endpoint, target.region),
            (endpoint(RDS), "eu-west-1".to_owned())
        );
    }

    #[tokio::test]
    async fn an_address_needs_a_configured_region() {
        for host in ["10.1.2.3", "::1", "localhost"] {
            let real = resolve(&endpoint(host), None, Some("eu-west-1"))
                .await
                .unwrap();
            assert_eq!(
                real,
                RealEndpoint {
                    endpoint: endpoint(host),
                    region: Some("eu-west-1".to_owned())
                }
            );
        }
        let error = resolve(&endpoint("::1"), None, None)
            .await
            .unwrap()
            .sign_target()
            .unwrap_err();
        assert_eq!(error.to_string(), "the AWS region of [::1]:5432 is unknown");
        assert_eq!(error.for_client().sqlstate, "F0000");
    }

    #[tokio::test]
    async fn a_name_dns_does_not_know_is_an_error() {
        let error = resolve(&endpoint("no-such-host.invalid"), None, None)
            .await
            .unwrap_err();
        assert!(matches!(error, EndpointError::Lookup { .. }), "{error:?}");
        assert_eq!(error.retry(), Retry::Later);
    }

    #[tokio::test]
    async fn an_alias_is_the_nearest_rds_name_of_its_chain() {
        let resolver = server(&[
            ("db.internal", "db.example.com"),
            (
                "db.example.com",
                "c.cluster-abc.eu-west-1.rds.amazonaws.com",
            ),
            (
                "c.cluster-abc.eu-west-1.rds.amazonaws.com",
                "i.abc.eu-west-1.rds.amazonaws.com",
            ),
            (
                "i.abc.eu-west-1.rds.amazonaws.com",
                "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com",
            ),
        ])
        .await;
        let name = rds_name_of(&resolver, "db.internal").await.unwrap();
        assert_eq!(
            name.as_deref(),
            Some("c.cluster-abc.eu-west-1.rds.amazonaws.com")
        );
    }

    #[tokio::test]
    async fn a_name_outside_dns_is_left_to_the_system() {
        let resolver = server(&[]).await;
        // Every machine has this one in /etc/hosts or built in.
        assert_eq!(rds_name_of(&resolver, "localhost").await.unwrap(), None);
    }
}
