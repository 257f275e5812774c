//! What can be wrong with the certificate files of the configuration. Found at start, never by a client.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use rustls::pki_types::pem;
use thiserror::Error;

/// A certificate or key file that cannot be used, or a name no certificate can carry.
#[derive(Debug, Error)]
pub enum TlsSetupError {
    /// The server's own certificate and key are two different pairs.
    #[error("{} is not the private key of the certificate in {}", key.display(), cert.display())]
    KeyMismatch {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// No certificate can be made for this name.
    #[error("cannot make a certificate for {name:?}: {reason}")]
    Name {
        /// The name asked for.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The file holds something else, or nothing.
    #[error("{}: {reason}", path.display())]
    Useless {
        /// The file.
        path: PathBuf,
        /// Why it is of no use, with what to do.
        reason: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// rustls refuses the combination of provider and versions: our bug.
    #[error("the TLS library refused its own settings")]
    Library(#[source] rustls::Error),
}

impl TlsSetupError {
    pub(super) fn useless(path: &Path, reason: impl Into<String>) -> Self {
        Self::Useless {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// The whole file. An empty one is an error here, since "no certificate in it" hides what happened: most often a CI
/// variable that is not set in this job.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsSetupError> {
    let bytes = std::fs::read(path).map_err(|source| TlsSetupError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(TlsSetupError::useless(path, "the file is empty"));
    }
    Ok(bytes)
}

/// What is wrong with PEM text, in words.
pub(super) fn pem_reason(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!(
                "cut short: no {} line",
                String::from_utf8_lossy(end_marker).escape_debug()
            )
        }
        pem::Error::IllegalSectionStart { line } => {
            format!(
                "not PEM: {}",
                String::from_utf8_lossy(line).trim_end().escape_debug()
            )
        }
        pem::Error::Base64Decode(what) => format!("damaged: {what}"),
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "no such PEM section inside".to_owned(),
        _ => "not usable PEM".to_owned(),
    }
}
