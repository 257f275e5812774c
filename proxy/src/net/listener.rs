//! Where applications connect: bind, accept, bound, back-off.

use std::fmt;
use std::io;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use config::Listen;
use socket2::Domain;
use socket2::Protocol;
use socket2::SockRef;
use socket2::Socket;
use socket2::Type;
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::accept::Backoff;
use super::accept::Complaint;
use super::accept::Next;
use super::stream::ClientStream;
use super::tcp;
use super::unix;
use super::unix::UnixSocket;
use crate::fault::Blame;
use crate::fault::ClientError;
use crate::fault::Fault;
use crate::fault::Retry;

/// Connections the kernel keeps for us until they are accepted. A test suite opens hundreds at once; the
/// kernel cuts this down to `net.core.somaxconn` (4096 since Linux 5.4).
const BACKLOG: i32 = 1024;

/// A bound address that yields clients, never more at a time than its semaphore has permits.
#[derive(Debug)]
pub struct Listener {
    socket: Bound,
    local: Listen,
    clients: Arc<Semaphore>,
    backoff: Backoff,
    cannot_accept: Complaint,
    no_room: Complaint,
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

impl Listener {
    /// Listens at `listen`. `option` names what the user would change, for the error: "`listen` of database
    /// `app`". Each client takes one permit of `clients` and gives it back when its stream is dropped;
    /// without a permit nothing is accepted, and clients wait in the kernel's backlog.
    ///
    /// A unix socket's path is the socket file itself. It is made with mode 0777 and removed when the
    /// listener is dropped; a file left by a dead process is replaced.
    pub async fn bind(
        listen: &Listen,
        option: &str,
        clients: Arc<Semaphore>,
    ) -> Result<Self, NetError> {
        let (socket, local) = match listen {
            Listen::Tcp(address) => {
                let listener = bind_tcp(*address, option)?;
                let local = listener
                    .local_addr()
                    .map_err(|error| NetError::new(listen, option, error))?;
                (Bound::Tcp(listener), Listen::Tcp(local))
            }
            Listen::Unix(path) => {
                let socket = unix::bind(path).await.map_err(|reason| NetError {
                    listen: listen.clone(),
                    option: option.to_owned(),
                    reason,
                })?;
                (Bound::Unix(socket), listen.clone())
            }
        };
        Ok(Self {
            socket,
            local,
            clients,
            backoff: Backoff::default(),
            cannot_accept: Complaint::default(),
            no_room: Complaint::default(),
        })
    }

    /// Where it listens: as asked for, with port 0 replaced by the port the kernel chose.
    pub fn local(&self) -> &Listen {
        &self.local
    }

    /// The next client. Waits for a permit first, so that a client beyond the bound waits in the backlog
    /// instead of being accepted and starved. Failures of `accept` are logged and retried here.
    /// Pending for ever once the semaphore is closed. Cancel safe.
    pub async fn accept(&mut self) -> ClientStream {
        let permit = self.permit().await;
        loop {
            match self.accept_once().await {
                Ok(stream) => {
                    self.backoff.succeeded();
                    return stream.holding(permit);
                }
                Err(error) => match self.backoff.failed(&error) {
                    Next::AtOnce => {
                        tracing::debug!(listen = %self.local, %error, "client left before accept")
                    }
                    Next::After(pause) => {
                        if self.cannot_accept.is_due() {
                            tracing::warn!(listen = %self.local, %error, "cannot accept clients for now");
                        }
                        sleep(pause).await;
                    }
                },
            }
        }
    }

    async fn permit(&mut self) -> OwnedSemaphorePermit {
        if let Ok(permit) = Arc::clone(&self.clients).try_acquire_owned() {
            return permit;
        }
        if self.no_room.is_due() {
            tracing::warn!(listen = %self.local, "no room for more clients: the next ones wait");
        }
        match Arc::clone(&self.clients).acquire_owned().await {
            Ok(permit) => permit,
            Err(_closed) => std::future::pending().await,
        }
    }

    async fn accept_once(&self) -> io::Result<ClientStream> {
        match &self.socket {
            Bound::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Fails only when the peer is gone, which the first read reports better.
                stream.set_nodelay(true).ok();
                Ok(ClientStream::tcp(stream, peer))
            }
            Bound::Unix(socket) => ClientStream::unix(socket.listener.accept().await?.0),
        }
    }
}

/// Listens on a TCP address; port 0 means any free one. `option` as in [`Listener::bind`].
///
/// Accepted sockets inherit keepalive. `[::]` takes IPv4 clients as well.
pub fn bind_tcp(address: SocketAddr, option: &str) -> Result<TcpListener, NetError> {
    bind_socket(address).map_err(|error| NetError::new(&Listen::Tcp(address), option, error))
}

fn bind_socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of a predecessor may linger in TIME_WAIT. Does not let two processes listen at once.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    tcp::keep_alive(&SockRef::from(&socket))?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Why nothing listens at an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {reason}")]
pub struct NetError {
    /// The address as asked for.
    pub listen: Listen,
    /// What the user would change.
    pub option: String,
    /// What is wrong with it.
    pub reason: NetReason,
}

/// What is wrong with a listening address.
#[derive(Debug)]
pub enum NetReason {
    /// Another process listens there.
    AddressInUse,
    /// The directory of the socket file does not exist.
    NoDirectory,
    /// The address belongs to no interface of this machine.
    NoSuchAddress,
    /// The path exists and is no socket: a directory, a file.
    NotASocket,
    /// A port below 1024, or a directory we may not write to.
    NotPermitted,
    /// The kernel takes 107 bytes (`sun_path`, unix(7)).
    PathTooLong,
    /// Anything else.
    System(io::Error),
}

impl NetError {
    fn new(listen: &Listen, option: &str, error: io::Error) -> Self {
        Self {
            listen: listen.clone(),
            option: option.to_owned(),
            reason: NetReason::from_io(error),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        let option = &self.option;
        match (&self.reason, &self.listen) {
            (NetReason::AddressInUse, Listen::Tcp(address)) => {
                let port = address.port();
                format!(
                    "stop what uses it (`ss -ltnp 'sport = :{port}'` shows it), or change {option}"
                )
            }
            (NetReason::AddressInUse, Listen::Unix(_)) => {
                format!("stop the process that answers there, or change {option}")
            }
            (NetReason::NoDirectory, _) => format!("create the directory, or change {option}"),
            (NetReason::NoSuchAddress, _) => {
                format!(
                    "use 127.0.0.1 (this machine only) or 0.0.0.0 (all its addresses) in {option}"
                )
            }
            (NetReason::NotASocket, Listen::Unix(path)) if path.is_dir() => {
                let file = path.join(".s.PGSQL.5432");
                format!(
                    "name the socket file in {option}, for example unix:{}",
                    file.display()
                )
            }
            (NetReason::NotASocket, _) => format!("remove it, or change {option}"),
            (NetReason::NotPermitted, Listen::Tcp(_)) => {
                format!("use a port of 1024 or above in {option}")
            }
            (NetReason::NotPermitted, Listen::Unix(_)) => {
                format!("use a directory this user may write to in {option}")
            }
            (NetReason::PathTooLong, _) => format!("use a path of at most 107 bytes in {option}"),
            (NetReason::System(_), _) => format!("check {option}"),
        }
    }
}

impl NetReason {
    /// Sorts an operating system error.
    pub(super) fn from_io(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::AddrInUse => Self::AddressInUse,
            ErrorKind::AddrNotAvailable => Self::NoSuchAddress,
            ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::System(error),
        }
    }
}

impl fmt::Display for NetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInUse => f.write_str("the address is in use"),
            Self::NoDirectory => f.write_str("its directory does not exist"),
            Self::NoSuchAddress => f.write_str("no interface of this machine has that address"),
            Self::NotASocket => f.write_str("the path exists and is not a socket"),
            Self::NotPermitted => f.write_str("permission denied"),
            Self::PathTooLong => f.write_str("the path is too long for a unix socket"),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl Fault for NetError {
    fn blame(&self) -> Blame {
        Blame::Config
    }

    fn retry(&self) -> Retry {
        match self.reason {
            NetReason::AddressInUse => Retry::Later,
            NetReason::NoDirectory
            | NetReason::NoSuchAddress
            | NetReason::NotASocket
            | NetReason::NotPermitted
            | NetReason::PathTooLong
            | NetReason::System(_) => Retry::Never,
        }
    }

    /// Nobody can be connected to a port that could not be opened: this is the text for the log and stderr.
    fn for_client(&self) -> ClientError {
        ClientError {
            sqlstate: "58000".into(),
            message: self.to_string(),
            detail: None,
            hint: Some(self.hint()),
        }
    }
}
