//! What it takes to open something is given back once it is open.

use futures_util::future::OptionFuture;

/// Runs `opening`, and then what it opened, if it did.
///
/// An `async fn` holds its arguments, and room for what it waits for, as long as it runs; and what is opened here may be open for days.
/// So `opening` is boxed, with all that it holds, and the box is gone when what it opened begins.
pub(crate) fn opened<F: Future<Output = ()>>(opening: impl Future<Output = Option<F>>) -> impl Future<Output = ()> {
    let opening = Box::pin(opening);
    async move {
        // In one expression: a variable would have room of its own for what was opened.
        OptionFuture::from(opening.await).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Pending, pending, ready};

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn what_opens_takes_no_room_in_the_task_and_what_it_opened_runs() {
        let large = [1_u8; 10_000];
        let mut task = Box::pin(opened(async move {
            ready(large).await;
            Some(pending())
        }));
        assert!(size_of_val(&*task) < 100);
        assert!(task.as_mut().now_or_never().is_none());
    }

    #[test]
    fn what_did_not_open_is_over() {
        assert!(opened(ready(None::<Pending<()>>)).now_or_never().is_some());
    }
}
