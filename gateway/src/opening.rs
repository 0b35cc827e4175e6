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
    use std::future::{pending, ready};
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn what_opens_is_neither_held_nor_has_room_while_what_it_opened_runs() {
        let held = Arc::new(());
        let (weak, large) = (Arc::downgrade(&held), [1_u8; 10_000]);
        let mut task = Box::pin(opened(async move {
            ready(large.len()).await;
            drop((held, large));
            Some(pending())
        }));
        assert!(size_of_val(&*task) < 100);
        assert!(task.as_mut().now_or_never().is_none());
        assert_eq!(weak.strong_count(), 0);
    }

    #[test]
    fn what_did_not_open_is_over() {
        assert!(opened(ready(None::<std::future::Pending<()>>)).now_or_never().is_some());
    }
}
