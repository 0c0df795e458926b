//! HTTP/1 clients that do what a well-behaved client does not, and responses as text.

mod parse;

use std::{fmt::Write, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Response;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request as it goes over the wire: nothing is checked, encoded or merged.
#[derive(Clone, Debug)]
#[must_use]
pub struct RawRequest {
    head: String,
    body: String,
}

impl RawRequest {
    /// A request with this method and request target, such as `//x` or `/%2e%2e/x`.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            head: format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n"),
            body: String::new(),
        }
    }

    /// With one header more; a name may come twice.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        writeln!(self.head, "{name}: {value}\r").expect("a String takes every line");
        self
    }

    /// With a body and its `content-length`.
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        let length = body.len().to_string();
        self.header("content-length", &length)
    }

    fn text(&self) -> String {
        format!("{}\r\n{}", self.head, self.body)
    }
}

/// One connection to a server.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    read: Vec<u8>,
}

impl RawClient {
    /// Connects to `server`.
    pub async fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server)
            .await
            .unwrap_or_else(|error| panic!("no connection to {server}: {error}"));
        stream.set_nodelay(true).expect("the socket is open");
        let read = Vec::new();
        Self { stream, read }
    }

    /// Sends a request and does not wait for the answer.
    pub async fn send(&mut self, request: &RawRequest) {
        self.send_bytes(request.text().as_bytes()).await;
    }

    /// Sends bytes as they are, such as half a request.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let sent = self.stream.write_all(bytes).await;
        sent.expect("the server still reads");
    }

    /// Sends a request and reads its answer.
    pub async fn request(&mut self, request: &RawRequest) -> Response<Bytes> {
        self.send(request).await;
        self.response().await
    }

    /// Reads one answer to a request that is not HEAD.
    pub async fn response(&mut self) -> Response<Bytes> {
        let answer = self.try_response(parse::HasBody::ByItsHead).await;
        answer.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Reads one answer to a HEAD request.
    pub async fn head_response(&mut self) -> Response<Bytes> {
        let answer = self.try_response(parse::HasBody::Never).await;
        answer.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Whether the server ends the connection without an answer, by closing or by resetting it.
    pub async fn ends_without_answer(&mut self) -> bool {
        let answer = self.try_response(parse::HasBody::ByItsHead).await;
        answer.is_err() && self.read.is_empty()
    }

    /// Closes in order (FIN), with the answer unread.
    pub async fn close(mut self) {
        // The server may have closed first.
        self.stream.shutdown().await.ok();
    }

    /// Resets the connection (RST).
    pub fn reset(self) {
        self.stream.set_zero_linger().expect("the socket is open");
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub async fn half_close(&mut self) {
        let done = self.stream.shutdown().await;
        done.expect("the server has not closed");
    }

    async fn try_response(&mut self, has_body: parse::HasBody) -> Result<Response<Bytes>, String> {
        let mut has_ended = false;
        loop {
            if let Some((response, length)) = parse::response(&self.read, has_body, has_ended)? {
                self.read.drain(..length);
                return Ok(response);
            }
            if has_ended {
                let text = String::from_utf8_lossy(&self.read);
                return Err(format!("the server closed after {text:?}"));
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
            let count = read
                .map_err(|_| format!("nothing came for {PATIENCE:?}"))?
                .map_err(|error| error.to_string())?;
            has_ended = count == 0;
        }
    }
}

/// Sends one request on a connection of its own.
pub async fn raw_request(server: SocketAddr, request: &RawRequest) -> Response<Bytes> {
    RawClient::connect(server).await.request(request).await
}

/// Reads the body of a response to its end.
pub async fn read_whole<B>(response: Response<B>) -> Response<Bytes>
where
    B: Body<Error: std::fmt::Debug>,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("the body is whole");
    Response::from_parts(head, body.to_bytes())
}

/// A response as text for comparisons: its status, those of its headers that `shows` names
/// (lower case), sorted, an empty line, and its body.
pub fn render(response: &Response<Bytes>, shows: impl Fn(&str) -> bool) -> String {
    let mut headers: Vec<String> = response
        .headers()
        .iter()
        .filter(|(name, _)| shows(name.as_str()))
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    headers.sort_unstable();
    format!(
        "{}\n{}\n{}",
        response.status().as_u16(),
        headers.concat(),
        String::from_utf8_lossy(response.body())
    )
}
