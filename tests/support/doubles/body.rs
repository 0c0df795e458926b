//! A body that follows a script.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

/// A body that gives what it was told to, in that order, and counts what is done to it.
///
/// It knows its length only when `with_known_length` was called, and then also says that it has
/// ended as soon as nothing is left.
#[derive(Debug, Default)]
#[must_use]
pub struct ScriptedBody {
    steps: VecDeque<Step>,
    has_known_length: bool,
    counts: BodyCounts,
}

#[derive(Debug)]
enum Step {
    Frame(Frame<Bytes>),
    Error(&'static str),
    Stall,
}

/// What was done to a body; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct BodyCounts(Arc<(AtomicU64, AtomicU64)>);

impl BodyCounts {
    /// How often it was polled.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// How often it was dropped.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.0.1.load(Ordering::Relaxed)
    }
}

impl ScriptedBody {
    /// A body with nothing in it yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Then a piece of data.
    pub fn data(self, data: impl Into<Bytes>) -> Self {
        self.then(Step::Frame(Frame::data(data.into())))
    }

    /// Then trailers with one field.
    pub fn trailer(self, name: &'static str, value: &'static str) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        self.then(Step::Frame(Frame::trailers(trailers)))
    }

    /// Then an error with this text.
    pub fn error(self, text: &'static str) -> Self {
        self.then(Step::Error(text))
    }

    /// Then nothing ever again, not even the end.
    pub fn stall(self) -> Self {
        self.then(Step::Stall)
    }

    /// Tells its length and its end ahead, as a body from memory does.
    pub fn with_known_length(mut self) -> Self {
        self.has_known_length = true;
        self
    }

    /// The counts, which stay readable when the body is gone.
    #[must_use]
    pub fn counts(&self) -> BodyCounts {
        self.counts.clone()
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.counts.0.0.fetch_add(1, Ordering::Relaxed);
        if matches!(self.steps.front(), Some(Step::Stall)) {
            return Poll::Pending;
        }
        Poll::Ready(self.steps.pop_front().map(|step| match step {
            Step::Frame(frame) => Ok(frame),
            Step::Error(text) => Err(io::Error::other(text)),
            Step::Stall => unreachable!("a stall is never taken out"),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.has_known_length && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.has_known_length {
            return SizeHint::default();
        }
        let lengths = self.steps.iter().map(|step| match step {
            Step::Frame(frame) => frame.data_ref().map_or(0, Bytes::len),
            Step::Error(_) | Step::Stall => 0,
        });
        let length = u64::try_from(lengths.sum::<usize>()).expect("a length fits in 64 bits");
        SizeHint::with_exact(length)
    }
}

impl Drop for ScriptedBody {
    fn drop(&mut self) {
        self.counts.0.1.fetch_add(1, Ordering::Relaxed);
    }
}
