//! A question to the api that a connection asks over and over: one at a time, and whoever gives cause to ask anew waits for the answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long to wait, about, before the first time that is asked again what nobody answered.
const AGAIN: Duration = Duration::from_millis(500);
/// How often that time doubles.
const DOUBLINGS: u32 = 5;

/// Time between two times that the same is asked: longer each time, and never the same for all whom an outage left without an answer.
#[derive(Default)]
pub struct Patience(u32);

impl Patience {
    /// Waits.
    pub async fn wait(&mut self) {
        let wait = AGAIN * 2_u32.pow(self.0);
        self.0 = DOUBLINGS.min(self.0 + 1);
        tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.5))).await;
    }
}

/// An inquiry, and whether another one has to follow.
pub struct Inquiry<T> {
    under_way: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    again: bool,
}

impl<T> Default for Inquiry<T> {
    fn default() -> Self {
        Self { under_way: None, again: false }
    }
}

impl<T> Inquiry<T> {
    /// Whether the next one can begin. While one is under way it is noted that another has to follow: if it gave way instead, whoever
    /// gives cause to ask all the time would keep every answer from coming.
    pub fn may_begin(&mut self) -> bool {
        self.again = self.under_way.is_some();
        !self.again
    }

    /// Whether none is under way.
    pub const fn rests(&self) -> bool {
        self.under_way.is_none()
    }

    /// Begins one.
    pub fn begin(&mut self, asking: impl Future<Output = T> + Send + 'static) {
        self.under_way = Some(Box::pin(asking));
    }

    /// Its answer once it is there, and whether another one has to follow.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Option<(T, bool)> {
        match self.under_way.as_mut()?.as_mut().poll(cx) {
            Poll::Ready(answer) => {
                self.under_way = None;
                Some((answer, std::mem::take(&mut self.again)))
            }
            Poll::Pending => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn whoever_gives_cause_to_ask_all_the_time_is_answered_all_the_same() {
        let mut cx = Context::from_waker(Waker::noop());
        let (answer, asked) = oneshot::channel();
        let mut inquiry = Inquiry::default();
        assert!(inquiry.rests() && inquiry.may_begin());
        inquiry.begin(asked);
        for _ in 0..3 {
            assert!(!inquiry.may_begin() && inquiry.poll(&mut cx).is_none());
        }
        answer.send("no longer").expect("somebody waits");
        assert_eq!(inquiry.poll(&mut cx), Some((Ok("no longer"), true)));
        assert!(inquiry.may_begin());
        inquiry.begin(async { Ok("nor now") });
        assert_eq!(inquiry.poll(&mut cx), Some((Ok("nor now"), false)));
    }
}
