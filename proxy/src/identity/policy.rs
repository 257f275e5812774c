//! The session policy: what the role's session may still do, which is to log in as the configured users.
//!
//! A job that only tests a database needs none of the role's other rights, so it does not ask STS for them.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session>

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::json;

use crate::identity::endpoint;

/// Longest inline session policy STS accepts, in characters (STS API reference, `Policy`).
const POLICY_CHARS_MAX: usize = 2_048;

/// Which logins this process will make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// One for each database that logs in with an IAM token. None at all: no session policy is passed.
    pub logins: Vec<Login>,
}

/// The logins to one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Its region, where configuration or the endpoint's name tells.
    pub region: Option<String>,
    /// The fixed upstream user; none when the client's user passes through.
    pub user: Option<String>,
}

impl Scope {
    /// The first region known, in configured order.
    pub(super) fn first_region(&self) -> Option<&str> {
        self.logins.iter().find_map(|login| login.region.as_deref())
    }

    /// The session policy for a session of the role `role_arn`, or none when there is nothing to narrow.
    pub(super) fn session_policy(&self, role_arn: &str) -> Option<String> {
        if self.logins.is_empty() {
            return None;
        }
        let exact = policy(&self.resources(role_arn, |login| user_pattern(login.user.as_deref())));
        if exact.chars().count() <= POLICY_CHARS_MAX {
            return Some(exact);
        }
        tracing::warn!(
            logins = self.logins.len(),
            "session policy would exceed {POLICY_CHARS_MAX} characters: it allows every database user instead"
        );
        let broad = policy(&self.resources(role_arn, |_| "*".to_owned()));
        if broad.chars().count() <= POLICY_CHARS_MAX {
            return Some(broad);
        }
        let (partition, account) = partition_and_account(role_arn);
        let partition = partition.unwrap_or("aws");
        Some(policy(&BTreeSet::from([format!(
            "arn:{partition}:rds-db:*:{account}:dbuser:*/*"
        )])))
    }

    fn resources(&self, role_arn: &str, user: impl Fn(&Login) -> String) -> BTreeSet<String> {
        let (role_partition, account) = partition_and_account(role_arn);
        let resource = |login: &Login| {
            let region = login.region.as_deref().unwrap_or("*");
            let partition = role_partition.unwrap_or_else(|| endpoint::partition(region));
            format!(
                "arn:{partition}:rds-db:{region}:{account}:dbuser:*/{}",
                user(login)
            )
        };
        self.logins.iter().map(resource).collect()
    }
}

/// Partition and account of a role ARN; `*` for an account that cannot be read.
fn partition_and_account(role_arn: &str) -> (Option<&str>, &str) {
    let mut fields = role_arn.split(':');
    let partition = fields
        .nth(1)
        .filter(|partition| partition.starts_with("aws"));
    let account = fields
        .nth(2)
        .filter(|account| account.chars().all(|c| c.is_ascii_digit()) && !account.is_empty());
    (partition, account.unwrap_or("*"))
}

fn policy(resources: &BTreeSet<String>) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "rds-db:connect", "Resource": resources}],
    })
    .to_string()
}

/// A user name as part of a resource pattern that matches it and, where IAM's syntax allows, nothing else.
fn user_pattern(user: Option<&str>) -> String {
    let Some(user) = user else {
        return "*".to_owned();
    };
    let mut pattern = String::with_capacity(user.len());
    for c in user.chars() {
        match c {
            // Wildcards and the variable sign lose their meaning in `${}` (IAM user guide, policy variables).
            '*' | '?' | '$' => {
                let _ = write!(pattern, "${{{c}}}");
            }
            // A policy's text ends at U+00FF (STS API reference, `Policy`): one character, whichever.
            c if u32::from(c) > 0xff || c.is_control() => pattern.push('?'),
            c => pattern.push(c),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::123456789012:role/ci-tests";

    fn login(region: &str, user: &str) -> Login {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Login {
            region: some(region),
            user: some(user),
        }
    }

    fn resources(role: &str, logins: Vec<Login>) -> Vec<String> {
        let policy = Scope { logins }.session_policy(role).unwrap();
        assert!(policy.chars().count() <= POLICY_CHARS_MAX);
        let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
        assert_eq!(policy["Version"], "2012-10-17");
        assert_eq!(policy["Statement"][0]["Action"], "rds-db:connect");
        assert_eq!(policy["Statement"][0]["Effect"], "Allow");
        serde_json::from_value(policy["Statement"][0]["Resource"].clone()).unwrap()
    }

    #[test]
    fn names_each_user_once() {
        let logins = vec![
            login("eu-west-1", "app"),
            login("eu-west-1", "app"),
            login("us-east-1", "ro"),
        ];
        assert_eq!(
            resources(ROLE, logins),
            [
                "arn:aws:rds-db:eu-west-1:123456789012:dbuser:*/app",
                "arn:aws:rds-db:us-east-1:123456789012:dbuser:*/ro",
            ]
        );
    }

    #[test]
    fn allows_every_user_where_the_clients_user_passes_through() {
        assert_eq!(
            resources(ROLE, vec![login("", "")]),
            ["arn:aws:rds-db:*:123456789012:dbuser:*/*"]
        );
    }

    #[test]
    fn the_partition_is_the_roles_or_the_regions() {
        let china = "arn:aws-cn:iam::123456789012:role/r";
        assert_eq!(
            resources(china, vec![login("cn-north-1", "u")]),
            ["arn:aws-cn:rds-db:cn-north-1:123456789012:dbuser:*/u"]
        );
        assert_eq!(
            resources("odd", vec![login("us-gov-west-1", "u")]),
            ["arn:aws-us-gov:rds-db:us-gov-west-1:*:dbuser:*/u"]
        );
    }

    #[test]
    fn wildcards_in_a_user_name_match_only_themselves() {
        assert_eq!(
            resources(ROLE, vec![login("r", "a*b?c$d\"e")]),
            ["arn:aws:rds-db:r:123456789012:dbuser:*/a${*}b${?}c${$}d\"e"]
        );
        assert_eq!(
            resources(ROLE, vec![login("r", "\u{fc}\u{4e2d}")]),
            ["arn:aws:rds-db:r:123456789012:dbuser:*/\u{fc}?"]
        );
    }

    #[test]
    fn a_policy_too_long_for_sts_becomes_broader() {
        let many = (0..50)
            .map(|n| login("eu-west-1", &format!("user_number_{n}")))
            .collect();
        assert_eq!(
            resources(ROLE, many),
            ["arn:aws:rds-db:eu-west-1:123456789012:dbuser:*/*"]
        );
        let regions = (0..50)
            .map(|n| login(&format!("eu-west-{n}"), "u"))
            .collect();
        assert_eq!(
            resources(ROLE, regions),
            ["arn:aws:rds-db:*:123456789012:dbuser:*/*"]
        );
    }

    #[test]
    fn no_iam_login_means_no_policy() {
        assert_eq!(Scope::default().session_policy(ROLE), None);
    }
}
