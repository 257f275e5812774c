//! The application's side of a session.

use std::fmt;
use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;

/// A connection an application opened. It counts against the listener's bound for as long as it lives,
/// wrapped in TLS or not.
#[derive(Debug)]
pub struct ClientStream {
    socket: Socket,
    peer: Peer,
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Who connected, for logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP, from this address (IPv4 written as IPv4 also on a dual-stack socket).
    Tcp(SocketAddr),
    /// Over a unix socket, as the kernel vouches for it.
    Unix {
        /// User id.
        uid: u32,
        /// Process id, where the system tells (Linux, macOS), as seen from our pid namespace.
        pid: Option<i32>,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix {
                uid,
                pid: Some(pid),
            } => write!(f, "unix:uid={uid} pid={pid}"),
            Self::Unix { uid, pid: None } => write!(f, "unix:uid={uid}"),
        }
    }
}

impl ClientStream {
    /// A TCP connection from `peer`.
    pub fn tcp(stream: TcpStream, peer: SocketAddr) -> Self {
        let peer = Peer::Tcp(SocketAddr::new(peer.ip().to_canonical(), peer.port()));
        Self {
            socket: Socket::Tcp(stream),
            peer,
            permit: None,
        }
    }

    /// A unix socket connection. Fails when the kernel does not say who the peer is (it is gone already).
    pub fn unix(stream: UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let peer = Peer::Unix {
            uid: credentials.uid(),
            pid: credentials.pid(),
        };
        Ok(Self {
            socket: Socket::Unix(stream),
            peer,
            permit: None,
        })
    }

    /// The stream holds `permit` until it is dropped.
    pub fn holding(mut self, permit: OwnedSemaphorePermit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// Who connected.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// True when the peer is on this machine (in this network namespace): a unix socket or a loopback address.
    pub fn is_loopback(&self) -> bool {
        match self.peer {
            Peer::Tcp(address) => address.ip().is_loopback(),
            Peer::Unix { .. } => true,
        }
    }

    /// True for TCP, where TLS is offered if configured; Postgres never offers it on unix sockets.
    pub fn is_tcp(&self) -> bool {
        matches!(self.socket, Socket::Tcp(_))
    }

    /// The first byte that waits to be read, left where it is; `None` at the end of the stream. A unix socket
    /// cannot look ahead and answers `None` at once.
    ///
    /// Cancel safe.
    pub async fn peek(&self) -> io::Result<Option<u8>> {
        match &self.socket {
            Socket::Tcp(stream) => {
                let mut first = [0];
                let read = stream.peek(&mut first).await?;
                Ok((read > 0).then_some(first[0]))
            }
            Socket::Unix(_) => Ok(None),
        }
    }

    /// Waits until there is something to read, or the peer closed: an idle session needs no buffer meanwhile.
    /// May wake for nothing. Cancel safe.
    pub async fn readable(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Tcp(stream) => stream.readable().await,
            Socket::Unix(stream) => stream.readable().await,
        }
    }
}

impl AsyncRead for ClientStream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
