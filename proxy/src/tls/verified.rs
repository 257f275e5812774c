//! The stream to a proven peer.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::Waker;

use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use tokio::io::AsyncBufRead;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio_rustls::client::TlsStream;

/// A TLS stream whose peer was proven to be the named database.
///
/// Holding one is the evidence: only [`UpstreamTls::connect`](super::UpstreamTls::connect) makes it, after the
/// certificate chain, its dates and its name were checked. What must not be sent to a stranger (a token, a password)
/// takes a `&mut Verified<S>`. It cannot be made by hand:
///
/// ```compile_fail,E0423
/// fn forge<S>(stream: tokio_rustls::client::TlsStream<S>) -> rds_sidecar::tls::Verified<S> {
///     rds_sidecar::tls::Verified(stream)
/// }
/// ```
///
/// `shutdown` sends `close_notify` first.
pub struct Verified<S>(TlsStream<S>);

/// What an idle connection shows without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleHealth {
    /// Nothing came, or only what TLS itself sends (session tickets, key updates).
    Alive,
    /// Closed, failed, or the server has said something nobody asked for. Not to be used again.
    Dead,
}

impl<S> Verified<S> {
    /// Only for a stream whose handshake ended well under this room's verifier.
    pub(super) fn new(stream: TlsStream<S>) -> Self {
        Self(stream)
    }

    /// The transport below.
    pub fn get_ref(&self) -> &S {
        self.0.get_ref().0
    }

    /// The certificate the server presented, DER (also after resumption): for SCRAM's `tls-server-end-point`
    /// channel binding (RFC 5929, 4).
    pub fn server_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.0
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first)
    }

    /// Whether the handshake resumed an earlier session: no certificate was sent, its proof is the earlier one's.
    pub fn resumed(&self) -> bool {
        self.0.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Version and cipher suite for people: `TLSv1_3 TLS13_AES_128_GCM_SHA256`.
    pub fn cipher(&self) -> String {
        let session = self.0.get_ref().1;
        match (
            session.protocol_version(),
            session.negotiated_cipher_suite(),
        ) {
            (Some(version), Some(suite)) => format!("{version:?} {:?}", suite.suite()),
            _ => "unknown".to_owned(),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Verified<S> {
    /// Looks at an idle connection without a round trip and without waiting (facts: protocol.md D.3).
    ///
    /// Looking at the socket alone would not do: TLS 1.3 tickets arrive after the handshake and look like data. So
    /// the session is driven over whatever came. It sees what the runtime's last turn of its I/O driver saw; call it
    /// between requests, never while an answer is awaited: a byte of it would be lost with the verdict.
    pub fn idle_health(&mut self) -> IdleHealth {
        let mut byte = [0_u8; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        // Without `unconstrained` a task that has used up its budget would be told "pending", that is alive.
        let read = tokio::task::unconstrained(std::future::poll_fn(|context| {
            Pin::new(&mut self.0).poll_read(context, &mut buffer)
        }));
        match std::pin::pin!(read).poll(&mut context) {
            Poll::Pending => IdleHealth::Alive,
            Poll::Ready(_) => IdleHealth::Dead,
        }
    }
}

impl<S> fmt::Debug for Verified<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verified").field(&self.cipher()).finish()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Verified<S> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncBufRead for Verified<S> {
    #[inline]
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().0).poll_fill_buf(context)
    }

    #[inline]
    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.0).consume(amount);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Verified<S> {
    #[inline]
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    #[inline]
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    #[inline]
    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
