//! The body of a request: read within a time and a size, unpacked within the same size, and counted as long as it is held.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Refusal;
use super::records::Written;

/// From the head of a request to the end of its body.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// What is unpacked at a time.
const PIECE_BYTES: usize = 16 * 1024;
/// A frame may ask for a window of so many bytes, as a power of two: 8 MiB, above what a body may hold.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Memory for the bodies of all requests together.
#[derive(Debug)]
pub(super) struct Room {
    kbytes: Arc<Semaphore>,
}

/// What one request has of it, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    kbytes: Arc<Semaphore>,
    bytes: usize,
    held_kbytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new(bytes: u64) -> Self {
        let kbytes = usize::try_from(bytes / 1024).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Room { kbytes: Arc::new(Semaphore::new(kbytes)) }
    }

    pub(super) fn hold(&self) -> Held {
        Held { kbytes: Arc::clone(&self.kbytes), bytes: 0, held_kbytes: 0, permit: None }
    }
}

impl Held {
    /// # Errors
    /// 503 where there is no room for so many bytes more.
    fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes += bytes;
        let wanted = self.bytes.div_ceil(1024);
        let more = wanted.saturating_sub(self.held_kbytes);
        if more == 0 {
            return Ok(());
        }
        let full = || Refusal::unavailable("the server holds as many records as it may; come again");
        let count = u32::try_from(more).map_err(|_| full())?;
        let permit = Arc::clone(&self.kbytes).try_acquire_many_owned(count).map_err(|_| full())?;
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
        self.held_kbytes = wanted;
        Ok(())
    }
}

/// How a body is packed, by its `Content-Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    Not,
    Gzip,
    Zstd,
}

/// What the head of a request says of its body.
///
/// # Errors
/// 415 for what is not read, 413 for a length above `bytes_max`.
pub(super) fn announced(headers: &HeaderMap, bytes_max: usize) -> Result<(Written, Packed), Refusal> {
    let unsupported = |what: &str| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", what);
    let media = single(headers, header::CONTENT_TYPE).ok_or_else(|| {
        unsupported("the request has no Content-Type, or several; send application/json or application/x-ndjson")
    })?;
    let (media, parameters) = media.split_once(';').unwrap_or((media, ""));
    let written = match media.trim().to_ascii_lowercase().as_str() {
        "application/json" => Written::Json,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Written::Lines,
        _ => return Err(unsupported("send application/json or application/x-ndjson")),
    };
    let charset = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    if charset.is_some_and(|charset| !charset.eq_ignore_ascii_case("utf-8") && !charset.eq_ignore_ascii_case("utf8")) {
        return Err(unsupported("JSON is written in UTF-8"));
    }
    let packed = match headers.contains_key(header::CONTENT_ENCODING) {
        false => Packed::Not,
        true => match single(headers, header::CONTENT_ENCODING).map(|name| name.trim().to_ascii_lowercase()).as_deref()
        {
            Some("identity") => Packed::Not,
            Some("gzip" | "x-gzip") => Packed::Gzip,
            Some("zstd") => Packed::Zstd,
            _ => return Err(unsupported("a body is packed once, by gzip or zstd, or not at all")),
        },
    };
    let length = single(headers, header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > bytes_max as u64) {
        return Err(above(bytes_max));
    }
    Ok((written, packed))
}

/// A header's value where it stands once.
pub(super) fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// Reads a body to its end, and unpacks it.
///
/// # Errors
/// 413 above `bytes_max`, packed or unpacked; 408 where it takes too long; 400 where it is cut off or damaged; 503 where there is no room.
pub(super) async fn read(body: Body, packed: Packed, bytes_max: usize, held: Held) -> Result<(Bytes, Held), Refusal> {
    read_within(READ_WITHIN, body, packed, bytes_max, held).await
}

async fn read_within(
    time: Duration,
    body: Body,
    packed: Packed,
    bytes_max: usize,
    mut held: Held,
) -> Result<(Bytes, Held), Refusal> {
    let sent = tokio::time::timeout(time, collected(body, bytes_max, &mut held)).await.map_err(|_| {
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!("the body has not arrived within {} s", time.as_secs()),
        )
    })??;
    if packed == Packed::Not {
        return Ok((Bytes::from(sent), held));
    }
    let unpack = move || unpacked(&sent, packed, bytes_max, &mut held).map(|body| (Bytes::from(body), held));
    // It may be large inside, and other requests are served meanwhile.
    tokio::task::spawn_blocking(unpack).await.map_err(|_| Refusal::unavailable("the body was not unpacked"))?
}

async fn collected(body: Body, bytes_max: usize, held: &mut Held) -> Result<Vec<u8>, Refusal> {
    let mut sent = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Refusal::bad("the body ends before its length"))?;
        if sent.len() + piece.len() > bytes_max {
            return Err(above(bytes_max));
        }
        held.grow(piece.len())?;
        sent.extend_from_slice(&piece);
    }
    Ok(sent)
}

fn unpacked(sent: &[u8], packed: Packed, bytes_max: usize, held: &mut Held) -> Result<Vec<u8>, Refusal> {
    let damaged = |_| Refusal::bad("the packed body is cut off or damaged");
    let mut reader: Box<dyn Read + '_> = match packed {
        Packed::Not => Box::new(sent),
        Packed::Gzip => Box::new(MultiGzDecoder::new(sent)),
        Packed::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(sent).map_err(damaged)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged)?;
            Box::new(decoder)
        }
    };
    let (mut body, mut piece) = (Vec::new(), vec![0; PIECE_BYTES]);
    loop {
        let length = reader.read(&mut piece).map_err(damaged)?;
        if length == 0 {
            return Ok(body);
        }
        if body.len() + length > bytes_max {
            return Err(above(bytes_max));
        }
        held.grow(length)?;
        body.extend_from_slice(&piece[..length]);
    }
}

fn above(bytes_max: usize) -> Refusal {
    Refusal::too_large(format!(
        "the body holds more than {bytes_max} bytes, as sent or unpacked; send several requests"
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;

    use super::*;

    const MAX: usize = 100_000;

    async fn read_all(sent: Vec<u8>, packed: Packed) -> Result<Vec<u8>, u16> {
        let room = Room::new(1 << 20);
        match read(Body::from(sent), packed, MAX, room.hold()).await {
            Ok((body, _)) => Ok(body.to_vec()),
            Err(refusal) => Err(refusal.status.as_u16()),
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[tokio::test]
    async fn a_body_is_read_as_it_was_before_it_was_packed() {
        let text = b"{\"a\":1}\n".repeat(1_000);
        assert_eq!(read_all(text.clone(), Packed::Not).await.as_ref(), Ok(&text));
        assert_eq!(read_all(gzip(&text), Packed::Gzip).await.as_ref(), Ok(&text));
        assert_eq!(read_all(zstd::encode_all(&text[..], 3).unwrap(), Packed::Zstd).await.as_ref(), Ok(&text));
    }

    #[tokio::test]
    async fn what_is_too_large_cut_off_or_damaged_is_refused() {
        let bomb = vec![0; 50 << 20];
        assert_eq!(read_all(vec![b' '; MAX + 1], Packed::Not).await, Err(413));
        assert_eq!(read_all(gzip(&bomb), Packed::Gzip).await, Err(413));
        assert_eq!(read_all(zstd::encode_all(&bomb[..], 1).unwrap(), Packed::Zstd).await, Err(413));
        let packed = gzip(b"[1,2,3]");
        assert_eq!(read_all(packed[..packed.len() - 3].to_vec(), Packed::Gzip).await, Err(400));
        assert_eq!(read_all(b"[1,2,3]".to_vec(), Packed::Gzip).await, Err(400));
        assert_eq!(read_all(b"[1,2,3]".to_vec(), Packed::Zstd).await, Err(400));
    }

    #[tokio::test]
    async fn bodies_share_a_room_and_give_it_back() {
        let room = Room::new(10 * 1024);
        let body = || Body::from(vec![b' '; 6 * 1024]);
        let (first, held) = read(body(), Packed::Not, MAX, room.hold()).await.unwrap();
        assert_eq!(first.len(), 6 * 1024);
        let refused = read(body(), Packed::Not, MAX, room.hold()).await.expect_err("no room");
        assert_eq!((refused.status.as_u16(), refused.retry_after), (503, Some(1)));
        drop(held);
        assert!(read(body(), Packed::Not, MAX, room.hold()).await.is_ok());
        // What is inside counts, too.
        let refused = read(Body::from(gzip(&[b' '; 20 * 1024])), Packed::Gzip, MAX, room.hold()).await;
        assert_eq!(refused.expect_err("no room").status.as_u16(), 503);
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
        let room = Room::new(1 << 20);
        let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let refused =
            read_within(Duration::ZERO, endless, Packed::Not, MAX, room.hold()).await.expect_err("time is up");
        assert_eq!(refused.status.as_u16(), 408);
    }

    #[test]
    fn the_head_says_how_a_body_is_written_and_packed() {
        let said = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for &(name, value) in pairs {
                headers.append(name, HeaderValue::from_static(value));
            }
            announced(&headers, MAX).map_err(|refusal| refusal.status.as_u16())
        };
        let json = ("content-type", "Application/JSON; charset=\"UTF-8\"");
        assert_eq!(said(&[json]), Ok((Written::Json, Packed::Not)));
        let lines = ("content-type", "application/x-ndjson");
        assert_eq!(said(&[lines, ("content-encoding", "gzip")]), Ok((Written::Lines, Packed::Gzip)));
        assert_eq!(said(&[json, ("content-encoding", "zstd")]), Ok((Written::Json, Packed::Zstd)));
        for wrong in [
            &[][..],
            &[("content-type", "text/plain")],
            &[("content-type", "application/json; charset=latin1")],
            &[json, json],
            &[json, ("content-encoding", "br")],
            &[json, ("content-encoding", "gzip, gzip")],
            &[json, ("content-encoding", "gzip"), ("content-encoding", "gzip")],
        ] {
            assert_eq!(said(wrong), Err(415), "{wrong:?}");
        }
        assert_eq!(said(&[json, ("content-length", "100001")]), Err(413));
    }
}
