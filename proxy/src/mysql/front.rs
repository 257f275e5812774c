//! The application's side up to its handshake response: who it is, over which stream (protocol.md C.1, C.2).

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::io::ReadBuf;

use super::told::Told;
use super::wire::Capabilities;
use super::wire::Header;
use super::wire::handshake::FirstPacket;
use super::wire::handshake::Greeting;
use super::wire::handshake::Response;
use super::wire::packet::HEADER_BYTES;
use super::wire::packet::put_packet;
use crate::net::ClientStream;
use crate::session::AppStream;
use crate::tls::ClientAcceptor;

/// A handshake response may be this long: attributes alone may take 64 KiB.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;

/// What a client may be offered: what the relay can pass through. Compression, TLS and several authentication factors
/// are this side's own affair; the others change what the relay must understand (protocol.md C.1).
const NOT_OFFERED: [Capabilities; 11] = [
    Capabilities::COMPRESS,
    Capabilities::SSL,
    Capabilities::OPTIONAL_RESULTSET_METADATA,
    Capabilities::ZSTD_COMPRESSION_ALGORITHM,
    Capabilities::QUERY_ATTRIBUTES,
    Capabilities::MULTI_FACTOR_AUTHENTICATION,
    Capabilities::CAPABILITY_EXTENSION,
    Capabilities::SSL_VERIFY_SERVER_CERT,
    Capabilities::REMEMBER_OPTIONS,
    Capabilities::MARIADB_CLIENT_PROGRESS,
    Capabilities::MARIADB_CLIENT_COM_MULTI,
];
/// What the login on this side needs, whatever the server can do.
const ALWAYS_OFFERED: [Capabilities; 6] = [
    Capabilities::CONNECT_WITH_DB,
    Capabilities::PROTOCOL_41,
    Capabilities::SECURE_CONNECTION,
    Capabilities::PLUGIN_AUTH,
    Capabilities::CONNECT_ATTRS,
    Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA,
];

/// The application's stream, and where in its present exchange it stands.
#[derive(Debug)]
pub struct ClientIo {
    stream: AppStream,
    /// Sequence number of the next packet to send.
    next: u8,
}

/// Why there is no next packet.
#[derive(Debug)]
pub enum ReadError {
    /// The connection broke, or ended.
    Broken(io::Error),
    /// It is too long, or in parts.
    Malformed,
}

/// What a client wants.
#[derive(Debug)]
pub enum Hello {
    /// Nothing: it closed.
    Gone,
    /// What it sent is no handshake response.
    Malformed,
    /// It speaks the protocol of before 4.1.
    Old,
    /// A session.
    Session(Response),
}

/// What a client is offered where the server can do this.
pub fn offered(upstream: Capabilities, tls: bool) -> Capabilities {
    let not_offered: Capabilities = NOT_OFFERED.into_iter().collect();
    let always: Capabilities = ALWAYS_OFFERED.into_iter().collect();
    let tls = if tls {
        Capabilities::SSL
    } else {
        Capabilities::NONE
    };
    (upstream - not_offered) | always | tls
}

/// Greets, and reads up to the handshake response, inside TLS where the client asks for it. The caller bounds the time.
pub async fn hello(
    io: &mut ClientIo,
    greeting: &Greeting,
    acceptor: Option<&ClientAcceptor>,
) -> io::Result<Hello> {
    let mut payload = Vec::new();
    greeting.put(&mut payload);
    io.send(&payload).await?;
    let mut inside_tls = false;
    loop {
        let packet = match io.receive(RESPONSE_BYTES_MAX).await {
            Ok(packet) => packet,
            // A health check, or a client that changed its mind: no error, no log.
            Err(ReadError::Broken(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Hello::Gone);
            }
            Err(ReadError::Broken(error)) => return Err(error),
            Err(ReadError::Malformed) => return Ok(Hello::Malformed),
        };
        match (FirstPacket::parse(&packet), acceptor) {
            (Ok(FirstPacket::Ssl), Some(acceptor)) if !inside_tls => {
                inside_tls = true;
                io.stream.begin_tls(acceptor).await?;
            }
            (Ok(FirstPacket::Response(response)), _) => return Ok(Hello::Session(response)),
            (Ok(FirstPacket::Old), _) => return Ok(Hello::Old),
            (Ok(FirstPacket::Ssl) | Err(_), _) => return Ok(Hello::Malformed),
        }
    }
}

impl ClientIo {
    /// A client that has not been greeted.
    pub fn new(stream: ClientStream) -> Self {
        Self {
            stream: AppStream::Plain(stream),
            next: 0,
        }
    }

    /// Sends one packet in its turn.
    pub async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
        self.next = put_packet(&mut out, self.next, |out| out.extend_from_slice(payload));
        self.write_all(&out).await?;
        self.flush().await
    }

    /// Reads exactly one packet of at most `limit` bytes, never a byte more. Not cancel safe.
    pub async fn receive(&mut self, limit: usize) -> Result<Vec<u8>, ReadError> {
        let (sequence, payload) = receive(self, limit).await?;
        self.next = sequence.wrapping_add(1);
        Ok(payload)
    }

    /// The next packet sent will have this sequence number.
    pub fn continue_at(&mut self, sequence: u8) {
        self.next = sequence;
    }

    /// Sends an ERR packet and says goodbye.
    pub async fn fatal(&mut self, told: &Told) -> io::Result<()> {
        // Before the client has said what it can do there is no SQLSTATE (protocol.md C.3).
        let payload = told.payload(self.next > 0);
        self.send(&payload).await?;
        self.shutdown().await
    }
}

/// Reads exactly one packet of at most `limit` bytes, never a byte more: its sequence number and payload. Not cancel
/// safe.
pub async fn receive<R>(io: &mut R, limit: usize) -> Result<(u8, Vec<u8>), ReadError>
where
    R: AsyncRead + Unpin,
{
    let mut header = [0; HEADER_BYTES];
    io.read_exact(&mut header)
        .await
        .map_err(ReadError::Broken)?;
    match Header::parse(&header) {
        Some(header) if header.payload <= limit && !header.is_continued() => {
            let mut payload = vec![0; header.payload];
            io.read_exact(&mut payload)
                .await
                .map_err(ReadError::Broken)?;
            Ok((header.sequence, payload))
        }
        _ => Err(ReadError::Malformed),
    }
}

impl AsyncRead for ClientIo {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientIo {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
