//! What goes out: frames from the send queue to the transport, behind each shared body what is this connection's own.

use std::io;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use serde_json::json;
use shared::protocol::answer;
use shared::sabotage;
use shared::time::Timestamp;

use super::Session;
use crate::clock;
use crate::frame::{EntryFrame, Frame, WholeFrame};
use crate::metrics::METRICS;
use crate::standing::Step;
use crate::transport::Transport;

/// Frames are joined up to so many bytes a write.
const JOINED: usize = 64 * 1024;

impl<T: Transport> Session<T> {
    /// Writes at once when nothing waits, joins when something does. What joins the waiting `frames` meanwhile has woken the
    /// task again.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, mut frames: usize) -> Poll<io::Result<()>> {
        loop {
            frames -= self.load(frames);
            let before = self.transport.loaded();
            if before == 0 {
                self.connection.stalled_at.store(0, Ordering::Relaxed);
                return Poll::Ready(Ok(()));
            }
            match self.transport.poll_write(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // Nobody else waits for a slow reader.
                    self.passing = None;
                    let took_some = self.transport.loaded() < before;
                    if took_some || self.connection.stalled_at.load(Ordering::Relaxed) == 0 {
                        self.connection.stalled_at.store(clock::millis(), Ordering::Relaxed);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Loads some of the waiting `frames`, up to one joined write, and says how many.
    pub(super) fn load(&mut self, frames: usize) -> usize {
        let mut taken = 0;
        let mut oldest: Option<Timestamp> = None;
        let mut events = 0;
        let mut passed_over = false;
        while taken < frames && self.transport.loaded() < JOINED {
            // Fewer than waited, if a flood or a new start dropped some.
            let Some(frame) = self.connection.queue.pop() else {
                taken = frames;
                break;
            };
            taken += 1;
            let committed_at = match frame {
                Frame::Whole(frame) => {
                    let committed_at = frame.committed_at;
                    self.transport.load(frame);
                    committed_at
                }
                Frame::Entry(frame) => match self.standing.step(&frame) {
                    Step::Next if sabotage::goes_wrong("swallows") => None,
                    Step::Next if self.connection.door.shows(frame.entry.topic) => Some(self.load_entry(&frame)),
                    Step::Next => {
                        passed_over = true;
                        None
                    }
                    Step::Repeat => None,
                    Step::Hole => {
                        METRICS.gaps("connection").increment(1);
                        self.connection.queue.catch_up();
                        None
                    }
                },
            };
            if let Some(at) = committed_at {
                events += 1;
                oldest.get_or_insert(at);
            }
        }
        if passed_over {
            self.load_cursor();
        }
        if let Some(at) = oldest {
            METRICS.deliveries.increment(events);
            let micros = (Timestamp::now().as_micros() - at.as_micros()).max(0);
            METRICS.latency.record(micros as f64 / 1e6);
        }
        taken
    }

    /// Loads an entry with the tail that is this client's own.
    fn load_entry(&mut self, frame: &EntryFrame) -> Timestamp {
        let EntryFrame { feed, entry, committed_at, .. } = frame;
        if entry.revokes {
            self.ask_permits();
        }
        let prev = self.standing.tell(*feed);
        let cursor = self.cursor();
        let tail = entry.body.tail(entry.unread, &self.connection.channel(*feed), entry.seq, prev, &cursor);
        self.transport.load_entry(entry.body.as_bytes(), tail.as_bytes(), &cursor);
        *committed_at
    }

    /// Moves the client over entries that its door does not show.
    fn load_cursor(&mut self) {
        self.standing.tell_all();
        let cursor = self.cursor();
        let mut event = answer::own_event("cursor", &json!({ "cursor": cursor }));
        // The cursor stands where durable events carry it.
        event.truncate(event.len() - 1);
        event.push_str(&format!(r#","cursor":"{cursor}"}}"#));
        self.transport.load(WholeFrame::answer(&event));
    }
}
