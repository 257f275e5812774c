//! What an RDS endpoint's name says about itself: region, partition, kind.
//!
//! The shapes are those of AWS's own drivers (`RdsUtils` in aws-advanced-jdbc-wrapper). A name that fits
//! none of them says nothing: the answer is `None`, never a guess.

/// What an RDS endpoint's name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RdsName {
    /// Region; none for the endpoint of a global database, whose name carries none.
    pub region: Option<String>,
    /// What kind of endpoint.
    pub kind: Kind,
    /// AWS partition, as in ARNs.
    pub partition: &'static str,
    /// The FIPS variant (`rds-fips`).
    pub fips: bool,
}

/// The kinds of endpoint RDS hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Aurora cluster, the writer.
    Cluster,
    /// Aurora cluster, custom endpoint.
    ClusterCustom,
    /// Aurora cluster, the readers.
    ClusterReader,
    /// Writer of an Aurora global database.
    Global,
    /// One instance.
    Instance,
    /// RDS Proxy, default endpoint.
    Proxy,
    /// RDS Proxy, an endpoint made beside the default one.
    ProxyEndpoint,
    /// Aurora Limitless shard group.
    ShardGroup,
}

/// Reads an RDS endpoint's name. Upper case and a trailing dot are fine.
pub fn parse(host: &str) -> Option<RdsName> {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let (rest, china) = strip_dns_suffix(&host)?;
    let mut labels: Vec<&str> = rest.split('.').collect();
    let last = labels.pop()?;
    let before = labels.pop()?;
    // `<region>.rds` nearly everywhere; `rds.<region>` in new China and the government partitions.
    let (region, fips) = match (fips_service(last), fips_service(before)) {
        (Some(fips), None) => (before, fips),
        (None, Some(fips)) => (last, fips),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let (kind, hash) = strip_kind(labels.pop()?);
    if hash.is_empty() || !hash.chars().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let kind = match (labels.as_slice(), kind) {
        ([name, "endpoint"], Kind::Proxy) if is_name(name) => Kind::ProxyEndpoint,
        ([name], kind) if is_name(name) => kind,
        _ => return None,
    };
    if kind == Kind::Global {
        return (region == "global").then_some(RdsName {
            region: None,
            kind,
            partition: "aws",
            fips,
        });
    }
    let partition = partition(region);
    let consistent = is_region(region) && china == (partition == "aws-cn");
    consistent.then(|| RdsName {
        region: Some(region.to_owned()),
        kind,
        partition,
        fips,
    })
}

/// The partition of a region, from its prefix (AWS General Reference, "Amazon Resource Names").
pub fn partition(region: &str) -> &'static str {
    const PREFIXES: &[(&str, &str)] = &[
        ("cn-", "aws-cn"),
        ("eu-isoe-", "aws-iso-e"),
        ("eusc-", "aws-eusc"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
    ];
    PREFIXES
        .iter()
        .find(|(prefix, _)| region.starts_with(prefix))
        .map_or("aws", |(_, partition)| partition)
}

/// The part before AWS's DNS suffix, and whether the suffix is China's.
fn strip_dns_suffix(host: &str) -> Option<(&str, bool)> {
    const SUFFIXES: &[&str] = &[
        ".amazonaws.com",
        ".amazonaws.eu",
        ".amazonaws.au",
        ".amazonaws.uk",
        ".c2s.ic.gov",
        ".sc2s.sgov.gov",
        ".csp.hci.ic.gov",
        ".cloud.adc-e.uk",
    ];
    if let Some(rest) = host.strip_suffix(".amazonaws.com.cn") {
        return Some((rest, true));
    }
    SUFFIXES
        .iter()
        .find_map(|suffix| host.strip_suffix(suffix))
        .map(|rest| (rest, false))
}

/// Whether a label is the service's name, and if so whether the FIPS one.
fn fips_service(label: &str) -> Option<bool> {
    match label {
        "rds" => Some(false),
        "rds-fips" => Some(true),
        _ => None,
    }
}

fn strip_kind(label: &str) -> (Kind, &str) {
    // Longer prefixes first: all three cluster kinds begin alike.
    const PREFIXES: &[(&str, Kind)] = &[
        ("cluster-custom-", Kind::ClusterCustom),
        ("cluster-ro-", Kind::ClusterReader),
        ("cluster-", Kind::Cluster),
        ("global-", Kind::Global),
        ("proxy-", Kind::Proxy),
        ("shardgrp-", Kind::ShardGroup),
    ];
    PREFIXES
        .iter()
        .find_map(|(prefix, kind)| label.strip_prefix(prefix).map(|hash| (*kind, hash)))
        .unwrap_or((Kind::Instance, label))
}

fn is_name(label: &str) -> bool {
    !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// `eu-west-1`, `us-gov-east-1`, `eusc-de-east-1`: words, then a number.
fn is_region(text: &str) -> bool {
    let mut parts: Vec<&str> = text.split('-').collect();
    let number = parts.pop().unwrap_or_default();
    let is_word = |part: &&str| part.len() >= 2 && part.chars().all(|c| c.is_ascii_lowercase());
    !number.is_empty()
        && number.chars().all(|c| c.is_ascii_digit())
        && parts.len() >= 2
        && parts.iter().all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host, then what it says.
    const SHAPES: &str = "
        mydb.abc123.eu-west-1.rds.amazonaws.com eu-west-1 Instance aws
        MyDB.ABC123.EU-West-1.RDS.AmazonAWS.com. eu-west-1 Instance aws
        db-old1.123456789012.us-east-1.rds.amazonaws.com us-east-1 Instance aws
        c.cluster-abc.us-east-2.rds.amazonaws.com us-east-2 Cluster aws
        c.cluster-ro-abc.us-east-2.rds.amazonaws.com us-east-2 ClusterReader aws
        c.cluster-custom-abc.us-east-2.rds.amazonaws.com us-east-2 ClusterCustom aws
        c.shardgrp-abc.us-east-2.rds.amazonaws.com us-east-2 ShardGroup aws
        p.proxy-abc.us-west-2.rds.amazonaws.com us-west-2 Proxy aws
        e.endpoint.proxy-abc.us-west-2.rds.amazonaws.com us-west-2 ProxyEndpoint aws
        mydb.abc.us-east-1.rds-fips.amazonaws.com us-east-1 Instance aws fips
        mydb.abc.us-gov-west-1.rds.amazonaws.com us-gov-west-1 Instance aws-us-gov
        mydb.abc.rds.us-gov-east-1.amazonaws.com us-gov-east-1 Instance aws-us-gov
        mydb.abc.rds.cn-north-1.amazonaws.com.cn cn-north-1 Instance aws-cn
        mydb.abc.cn-northwest-1.rds.amazonaws.com.cn cn-northwest-1 Instance aws-cn
        c.cluster-abc.rds.cn-north-1.amazonaws.com.cn. cn-north-1 Cluster aws-cn
        e.endpoint.proxy-a1.rds-fips.cn-north-1.amazonaws.com.cn cn-north-1 ProxyEndpoint aws-cn fips
        mydb.abc.eusc-de-east-1.rds.amazonaws.eu eusc-de-east-1 Instance aws-eusc
        mydb.abc.rds.us-iso-east-1.c2s.ic.gov us-iso-east-1 Instance aws-iso
        mydb.abc.us-isob-east-1.rds.sc2s.sgov.gov us-isob-east-1 Instance aws-iso-b
    ";

    #[test]
    fn every_shape_gives_region_kind_and_partition() {
        for line in SHAPES
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let (host, expected) = line.split_once(' ').unwrap();
            let name = parse(host).unwrap_or_else(|| panic!("{host}"));
            let fips = if name.fips { " fips" } else { "" };
            let region = name.region.unwrap();
            assert_eq!(
                format!("{region} {:?} {}{fips}", name.kind, name.partition),
                expected
            );
        }
    }

    #[test]
    fn a_global_endpoint_carries_no_region() {
        let name = parse("x.global-abc.global.rds.amazonaws.com").unwrap();
        assert_eq!((name.kind, name.region), (Kind::Global, None));
    }

    #[test]
    fn what_is_no_rds_endpoint_says_nothing() {
        for host in [
            "",
            ".",
            "localhost",
            "127.0.0.1",
            "::1",
            "db.internal.example.com",
            "rds.amazonaws.com",
            "rds.us-east-1.amazonaws.com",
            "us-east-1.rds.amazonaws.com",
            "prod-instance.us-east-1.rds.amazonaws.com",
            "mydb.abc.notaregion.rds.amazonaws.com",
            "mydb.abc.us-east-1.rds.amazonaws.com.evil.example",
            "mydb.abc.us-east-1.rds.evilamazonaws.com",
            "mydb.abc.us-east-1.rds.amazonaws.com.cn",
            "mydb.abc.cn-north-1.rds.amazonaws.com",
            "mydb.abc.us-east-1.ec2.amazonaws.com",
            "vpce-1.rds.us-east-1.vpce.amazonaws.com",
            "a.b.abc.us-east-1.rds.amazonaws.com",
            "x.global-abc.us-east-1.rds.amazonaws.com",
            ".abc.us-east-1.rds.amazonaws.com",
            "mydb.cluster-.us-east-1.rds.amazonaws.com",
            "mydb.abc.rds.rds.amazonaws.com",
        ] {
            assert_eq!(parse(host), None, "{host}");
        }
    }
}
