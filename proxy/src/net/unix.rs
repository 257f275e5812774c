//! The file of a unix socket: made, taken over from a dead process, removed.

use std::fs;
use std::io;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::listener::NetReason;

/// Anybody on the machine may connect, as with a TCP port on loopback, and as libpq's users are used to:
/// PostgreSQL's `unix_socket_permissions`, PgBouncer's `unix_socket_mode` and Cloud SQL Auth Proxy's sockets
/// are all 0777. A container that shares the directory usually runs as another user. Who wants a private
/// socket puts it into a private directory.
const SOCKET_MODE: u32 = 0o777;
/// How long a living owner of the file may take to answer; a full backlog does not answer at all.
const OWNER_ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Someone else may bind or remove the file between two of our steps.
const BIND_ATTEMPTS_MAX: u32 = 3;

/// A listening unix socket. Dropping it removes the file, unless the file is no longer ours.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    _file: SocketFile,
}

/// Listens on the socket file `path`, replacing one whose owner is dead.
pub(super) async fn bind(path: &Path) -> Result<UnixSocket, NetReason> {
    for _ in 0..BIND_ATTEMPTS_MAX {
        match UnixListener::bind(path) {
            Ok(listener) => return owned(listener, path).map_err(NetReason::from_io),
            Err(error) if error.kind() == ErrorKind::AddrInUse => clear_stale(path).await?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(NetReason::NoDirectory);
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                return Err(NetReason::PathTooLong);
            }
            Err(error) => return Err(NetReason::from_io(error)),
        }
    }
    Err(NetReason::AddressInUse)
}

fn owned(listener: UnixListener, path: &Path) -> io::Result<UnixSocket> {
    let metadata = fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_path_buf(),
        device: metadata.dev(),
        inode: metadata.ino(),
    };
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(UnixSocket {
        listener,
        _file: file,
    })
}

/// Removes `path` if it is a socket nobody listens on.
async fn clear_stale(path: &Path) -> Result<(), NetReason> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => (),
        Ok(_) => return Err(NetReason::NotASocket),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(NetReason::from_io(error)),
    }
    match timeout(OWNER_ANSWERS_WITHIN, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "stale socket file removed");
            fs::remove_file(path)
                .or_else(gone_already)
                .map_err(NetReason::from_io)
        }
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => {
            Err(NetReason::NotPermitted)
        }
        // Connected, no answer, or a datagram socket: somebody lives there.
        Ok(_) | Err(_) => Err(NetReason::AddressInUse),
    }
}

fn gone_already(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| metadata.dev() == self.device && metadata.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "socket file not removed");
        }
    }
}
