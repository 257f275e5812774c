//! Where a value came from.

use std::fmt;

/// Where a value came from. Displayed, it is the place named in a [`Problem`](crate::Problem).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A URL on the command line: `URL argument 1`, or a key in its query: `URL argument 1, mode`.
    Argument(String),
    /// One of AWS's own variables.
    Aws(&'static str),
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File {
        /// `rds-sidecar.toml:7`
        line: String,
        /// `database[0].pool.mode`
        path: String,
    },
    /// A flag, with its dashes.
    Flag(String),
    /// One of GitLab's predefined variables.
    Gitlab(&'static str),
    /// A variable of ours (or the one `id_token_env` names), or a part of it: `RDS_SIDECAR_DATABASES URL 2`.
    Variable(String),
}

impl Origin {
    /// The same place, one level deeper: a key in the query of the URL found here.
    pub(crate) fn key(&self, key: &str) -> Self {
        match self {
            Self::Argument(place) => Self::Argument(format!("{place}, {key}")),
            Self::File { line, path } => Self::File {
                line: line.clone(),
                path: format!("{path}, {key}"),
            },
            Self::Variable(place) => Self::Variable(format!("{place}, {key}")),
            Self::Aws(_) | Self::Default | Self::Flag(_) | Self::Gitlab(_) => self.clone(),
        }
    }

    /// True where other users of the machine can read it in the process list.
    pub(crate) fn is_in_process_list(&self) -> bool {
        matches!(self, Self::Argument(_) | Self::Flag(_))
    }

    /// The words of `rds-sidecar config`: short, since the key stands beside them.
    pub fn comment(&self) -> String {
        match self {
            Self::File { line, .. } => line.clone(),
            Self::Gitlab(variable) => format!("GitLab {variable}"),
            Self::Argument(_)
            | Self::Aws(_)
            | Self::Default
            | Self::Flag(_)
            | Self::Variable(_) => self.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(place) | Self::Flag(place) | Self::Variable(place) => f.write_str(place),
            Self::Aws(variable) | Self::Gitlab(variable) => f.write_str(variable),
            Self::Default => f.write_str("default"),
            Self::File { line, path } => write!(f, "{line} {path}"),
        }
    }
}
