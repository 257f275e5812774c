//! What the probes answer.

use std::fmt;

use serde_json::Value;
use serde_json::json;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Ports are not all open yet.
    Starting,
    /// Ports are open: clients are accepted, and held until they can be served.
    Serving,
    /// No new clients; those connected may finish.
    Stopping,
}

/// Whether one thing that clients need is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Not there: what it waits for or why it failed.
    NotReady(String),
    /// There: a few words about it ("credentials until 12:34:56").
    Ready(String),
}

impl Condition {
    fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }

    fn text(&self) -> &str {
        match self {
            Self::NotReady(text) | Self::Ready(text) => text,
        }
    }

    fn json(&self) -> Value {
        json!({ "ready": self.is_ready(), "text": self.text() })
    }
}

/// All that `/startup` and `/readiness` know. Texts go to whoever asks: nothing secret may be in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Where the process is in its life.
    pub stage: Stage,
    /// Whether upstream logins have an identity.
    pub identity: Condition,
    /// Each database's name and whether it can be reached, in the order of the configuration.
    pub databases: Vec<(String, Condition)>,
}

impl Readiness {
    /// True when the ports are open, now or before.
    pub fn is_started(&self) -> bool {
        match self.stage {
            Stage::Starting => false,
            Stage::Serving | Stage::Stopping => true,
        }
    }

    /// True when a client that connects now can be served.
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Serving
            && self.identity.is_ready()
            && self
                .databases
                .iter()
                .all(|(_, condition)| condition.is_ready())
    }

    /// The same as a JSON object.
    pub(super) fn json(&self) -> Value {
        let databases: Vec<Value> = self
            .databases
            .iter()
            .map(|(name, condition)| {
                json!({ "name": name, "ready": condition.is_ready(), "text": condition.text() })
            })
            .collect();
        json!({
            "ready": self.is_ready(),
            "started": self.is_started(),
            "stage": self.stage.name(),
            "identity": self.identity.json(),
            "databases": databases,
        })
    }
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
        }
    }
}

/// "ready" or "not ready", then a line for each thing that matters.
impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}",
            if self.is_ready() {
                "ready"
            } else {
                "not ready"
            }
        )?;
        if self.stage != Stage::Serving {
            writeln!(f, "process: {}", self.stage.name())?;
        }
        writeln!(f, "identity: {}", self.identity.text())?;
        for (name, condition) in &self.databases {
            writeln!(f, "database {name}: {}", condition.text())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving() -> Readiness {
        Readiness {
            stage: Stage::Serving,
            identity: Condition::Ready("credentials until 12:34:56".to_owned()),
            databases: vec![(
                "app".to_owned(),
                Condition::Ready("3 connections".to_owned()),
            )],
        }
    }

    #[test]
    fn ready_needs_everything() {
        assert!(serving().is_ready());
        let reasons = [
            Readiness {
                stage: Stage::Starting,
                ..serving()
            },
            Readiness {
                stage: Stage::Stopping,
                ..serving()
            },
            Readiness {
                identity: Condition::NotReady("no ID token".to_owned()),
                ..serving()
            },
            Readiness {
                databases: vec![("app".to_owned(), Condition::NotReady("refused".to_owned()))],
                ..serving()
            },
        ];
        for readiness in reasons {
            assert!(!readiness.is_ready(), "{readiness}");
        }
    }

    #[test]
    fn started_stays_true_while_stopping() {
        assert!(
            !Readiness {
                stage: Stage::Starting,
                ..serving()
            }
            .is_started()
        );
        assert!(
            Readiness {
                stage: Stage::Stopping,
                ..serving()
            }
            .is_started()
        );
    }

    #[test]
    fn text_says_what_is_missing() {
        let readiness = Readiness {
            stage: Stage::Stopping,
            identity: Condition::NotReady("waiting for /builds/token.jwt".to_owned()),
            ..serving()
        };
        let expected = "not ready\nprocess: stopping\nidentity: waiting for /builds/token.jwt\n\
                        database app: 3 connections\n";
        assert_eq!(readiness.to_string(), expected);
    }
}
