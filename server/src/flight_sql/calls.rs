//! What stands before a call: nobody's body is read before it is known who sends it, and then only so much of it and for
//! so long.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

use super::connections::Peer;
use super::service::FlightSql;

/// Bytes of a call's message. Statements have a quarter of it at most; handles and filters are short.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a message that carries parameters.
pub(super) const PUT_BYTES_MAX: usize = 17 * 1024 * 1024;
/// The method that carries them.
const DO_PUT: &str = "DoPut";
/// How long a call's body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(30);
const PUT_WITHIN: Duration = Duration::from_secs(120);

/// What gRPC answers to a message that is too long, which nothing else here does.
const OUT_OF_RANGE: &str = "11";

/// See the module's first lines.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    service: Arc<FlightSql>,
    short: FlightServiceServer<FlightSql>,
    long: FlightServiceServer<FlightSql>,
}

impl Calls {
    pub(super) fn new(service: Arc<FlightSql>) -> Self {
        let up_to = |bytes| FlightServiceServer::from_arc(Arc::clone(&service)).max_decoding_message_size(bytes);
        let (short, long) = (up_to(MESSAGE_BYTES_MAX), up_to(PUT_BYTES_MAX));
        Calls { service, short, long }
    }
}

impl NamedService for Calls {
    const NAME: &'static str = <FlightServiceServer<FlightSql> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let put = request.uri().path().rsplit('/').next() == Some(DO_PUT);
        let (mut inner, bytes_max, within) = match put {
            true => (self.long.clone(), PUT_BYTES_MAX, PUT_WITHIN),
            false => (self.short.clone(), MESSAGE_BYTES_MAX, BODY_WITHIN),
        };
        let service = Arc::clone(&self.service);
        Box::pin(async move {
            let peer = request.extensions().get::<Arc<Peer>>().cloned();
            let address = peer.as_ref().map(|peer| peer.address);
            // What is not text is no credential that was ever handed out. Owned: a body cannot be shared between threads.
            let authorization = request.headers().get("authorization");
            let authorization = authorization.map(|value| value.to_str().unwrap_or_default().to_owned());
            match service.authenticate(authorization.as_deref(), address).await {
                Ok(caller) => _ = request.extensions_mut().insert(caller),
                Err(status) => return Ok(status.into_http()),
            }
            if let Some(peer) = peer {
                peer.welcome();
            }
            let timed = |body| Body::new(Timed { body, patience: Box::pin(sleep(within)) });
            let response = inner.call(request.map(timed)).await?;
            if response.headers().get("grpc-status").is_some_and(|code| code == OUT_OF_RANGE) {
                return Ok(too_long(bytes_max).into_http());
            }
            Ok(response)
        })
    }
}

fn too_long(bytes_max: usize) -> Status {
    Status::resource_exhausted(format!("the call carries a message of more than {bytes_max} bytes"))
}

/// A body that fails when it takes too long to arrive.
struct Timed {
    body: Body,
    patience: Pin<Box<Sleep>>,
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(self.patience.as_mut().poll(cx));
        Poll::Ready(Some(Err(Status::deadline_exceeded("the call's body takes too long to arrive"))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body::Body as _;

    use super::*;

    /// A body of which nothing more comes.
    struct Half(Option<Bytes>);

    impl http_body::Body for Half {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None => Poll::Pending,
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_ends_the_call() {
        let body = Body::new(Half(Some(Bytes::from_static(b"half"))));
        let mut timed = Timed { body, patience: Box::pin(sleep(Duration::from_millis(20))) };
        let first = poll_fn(|cx| Pin::new(&mut timed).poll_frame(cx)).await.expect("a frame").expect("a frame");
        assert_eq!(first.into_data().ok(), Some(Bytes::from_static(b"half")));
        let status = poll_fn(|cx| Pin::new(&mut timed).poll_frame(cx)).await.expect("an end").expect_err("too late");
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    }
}
