//! One direction of a session: bytes read, looked at, and written on.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

/// Bytes moved at a time. Two of the largest TLS records.
pub const CHUNK_BYTES: usize = 32 * 1024;

/// One direction. At rest it holds no buffer: a chunk lives on the stack of who moves it, and memory is taken only
/// for what could not be written yet (at most a chunk; then reading stops, so that back-pressure reaches the sender)
/// and for the few bytes that must be looked at again.
#[derive(Debug)]
pub struct Lane<E> {
    /// Read and not understood yet: looked at again.
    pub held: Vec<u8>,
    /// To be written.
    unsent: Vec<u8>,
    /// How much of `unsent` is written.
    sent: usize,
    /// Written, but perhaps still in the writer's own buffer.
    unflushed: bool,
    /// `held` must be looked at again although nothing new came.
    pub again: bool,
    /// Bytes passed on, for the log line at the end.
    pub bytes: u64,
    /// Why this direction ends, once what is before it has been written.
    pub stop: Option<E>,
}

impl<E> Lane<E> {
    /// A direction in which `early` was read already.
    pub fn new(early: Vec<u8>) -> Self {
        Self {
            again: !early.is_empty(),
            held: early,
            unsent: Vec::new(),
            sent: 0,
            unflushed: false,
            bytes: 0,
            stop: None,
        }
    }

    /// Adds bytes of our own behind what was passed on; they go with the next flush.
    pub fn insert(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.unsent);
        self.unflushed = true;
    }

    /// Bytes that wait for the writer.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// True when everything passed on was taken by the writer.
    pub fn is_written(&self) -> bool {
        self.unsent.is_empty()
    }
}

/// What reading brought.
pub enum Read {
    /// The end of the stream; there may be bytes before it.
    End(Option<io::Error>),
    /// Something to look at.
    More,
}

impl<E> Lane<E> {
    /// Puts what was held and all there is to read into `chunk`. Pending when there is nothing new to look at.
    #[inline]
    pub fn poll_fill<R>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        chunk: &mut ReadBuf<'_>,
    ) -> Poll<Read>
    where
        R: AsyncRead + Unpin,
    {
        chunk.put_slice(&self.held);
        while chunk.remaining() > 0 {
            let before = chunk.filled().len();
            let end = match Pin::new(&mut *reader).poll_read(cx, chunk) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if chunk.filled().len() > before => continue,
                Poll::Ready(result) => Read::End(result.err()),
            };
            self.held.clear();
            return Poll::Ready(end);
        }
        if chunk.filled().len() > self.held.len() || std::mem::take(&mut self.again) {
            self.held.clear();
            Poll::Ready(Read::More)
        } else {
            Poll::Pending
        }
    }

    /// Writes the first `pass` bytes of a chunk as far as the writer takes them, forgets the next `drop`, and keeps
    /// the rest.
    #[inline]
    pub fn pass<W>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
        chunk: &[u8],
        (pass, drop): (usize, usize),
    ) -> io::Result<()>
    where
        W: AsyncWrite + Unpin,
    {
        let (mut now, later) = chunk.split_at_checked(pass).unwrap_or((chunk, &[]));
        self.bytes += now.len() as u64;
        self.held
            .extend_from_slice(later.get(drop..).unwrap_or_default());
        while !now.is_empty() {
            match Pin::new(&mut *writer).poll_write(cx, now) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => now = now.get(written..).unwrap_or_default(),
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        self.unflushed = true;
        self.unsent.extend_from_slice(now);
        Ok(())
    }

    /// Writes what could not be written before.
    #[inline]
    pub fn poll_flush<W>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest @ [_, ..]) = self.unsent.get(self.sent..) {
            match ready!(Pin::new(&mut *writer).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.unsent = Vec::new();
        self.sent = 0;
        ready!(Pin::new(writer).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::mem::MaybeUninit;

    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_waits_and_then_leaves_no_memory() {
        let (mut source, mut reader) = duplex(100);
        let (mut writer, mut sink) = duplex(10);
        source.write_all(&[7; 60]).await.unwrap();
        let mut lane = Lane::<()>::new(Vec::new());
        poll_fn(|cx| {
            let mut memory = [MaybeUninit::uninit(); CHUNK_BYTES];
            let mut chunk = ReadBuf::uninit(&mut memory);
            assert!(lane.poll_fill(cx, &mut reader, &mut chunk).is_ready());
            lane.pass(cx, &mut writer, chunk.filled(), (40, 5)).unwrap();
            Poll::Ready(())
        })
        .await;
        assert_eq!(
            (lane.held.len(), lane.unsent.len(), lane.bytes),
            (15, 30, 40)
        );
        let read = async {
            let mut out = [0; 40];
            sink.read_exact(&mut out).await.unwrap();
        };
        tokio::join!(
            async {
                poll_fn(|cx| lane.poll_flush(cx, &mut writer))
                    .await
                    .unwrap()
            },
            read
        );
        assert!(lane.is_written());
        assert_eq!(
            lane.unsent.capacity(),
            0,
            "a session at rest holds no buffer"
        );
    }
}
