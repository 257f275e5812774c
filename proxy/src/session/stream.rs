//! The application's stream, in clear text or inside TLS.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio_rustls::server::TlsStream;

use crate::net::ClientStream;
use crate::tls::ClientAcceptor;

/// What a client may send ahead of its session, while it waits in the queue. Then it is held back.
const EARLY_BYTES_MAX: usize = 16 * 1024;

/// The application's stream.
#[derive(Debug)]
pub enum AppStream {
    /// Gone: a TLS handshake on it failed. Reads as ended.
    Closed,
    /// In clear text: loopback, unix socket.
    Plain(ClientStream),
    /// Inside TLS.
    Tls(Box<TlsStream<ClientStream>>),
}

impl AppStream {
    /// Lets the client begin TLS, which it has asked for. Not cancel safe: the stream is then closed.
    ///
    /// # Errors
    /// The handshake failed, or there is TLS already.
    pub async fn begin_tls(&mut self, acceptor: &ClientAcceptor) -> io::Result<()> {
        match std::mem::replace(self, Self::Closed) {
            Self::Plain(stream) => {
                *self = Self::Tls(Box::new(acceptor.accept(stream).await?));
                Ok(())
            }
            Self::Closed | Self::Tls(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Resolves when the client closes. What it sends ahead meanwhile is kept in `early`. Cancel safe.
pub async fn client_gone<C: AsyncRead + Unpin>(client: &mut C, early: &mut Vec<u8>) {
    poll_fn(|cx| {
        while early.len() < EARLY_BYTES_MAX {
            let mut memory = [0; 1024];
            let mut chunk = ReadBuf::new(&mut memory);
            match Pin::new(&mut *client).poll_read(cx, &mut chunk) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !chunk.filled().is_empty() => {
                    early.extend_from_slice(chunk.filled());
                }
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    })
    .await;
}

impl AsyncRead for AppStream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Closed => Poll::Ready(Ok(())),
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for AppStream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Closed => Poll::Ready(Ok(0)),
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Closed => Poll::Ready(Ok(())),
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Closed => Poll::Ready(Ok(())),
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
