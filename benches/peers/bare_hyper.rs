//! Serves as the baseline of the benchmarks: hyper on one thread reads each body, stores nothing
//! and answers `success.`.
//!
//! `cargo run --release --example bare_hyper -- 127.0.0.1:5800`

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    // A body that breaks off ends its connection, so there is no client to answer.
    drop(request.into_body().collect().await);
    Ok(Response::new(Full::new(Bytes::from_static(b"success."))))
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5800".into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let io = TokioIo::new(stream);
                drop(http1::Builder::new().serve_connection(io, service_fn(answer)).await);
            });
        }
    })
}
