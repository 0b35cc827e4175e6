//! What somebody looks for: the query language of search, and how what matched is shown.
//!
//! On the line it stands beside the drafts: a text goes in, and either it is a [`Query`] or the caller learns what is wrong with
//! it. Nothing of it is ever read as SQL or as the language of a database; `docs/search.md` explains it to people.

use std::ops::Range;
use std::str::FromStr;

use serde::Serialize;
use shared::ids::{ConversationId, UserId};
use shared::time::Timestamp;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Characters of the longest query.
pub const LONGEST: usize = 256;

/// Words, phrases and operators that one query has at most.
pub const MOST_TERMS: usize = 16;

/// What somebody looks for. It asks for something: a word, a phrase or an operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// All of them must match, those that are `absent` must not.
    pub terms: Vec<Term>,
    /// Who sent it.
    pub from: Option<UserId>,
    /// Where it was sent.
    pub within: Option<ConversationId>,
    /// Whether it must have a link.
    pub link: bool,
    /// Whether it must have an attachment.
    pub attachment: bool,
    /// Sent then or later.
    pub since: Option<Timestamp>,
    /// Sent earlier.
    pub before: Option<Timestamp>,
}

/// Words that follow each other; at least one letter or digit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// As they were written, without quotes.
    pub words: String,
    /// Whether the last one is only the beginning of a word.
    pub beginning: bool,
    /// Whether they must not be there.
    pub absent: bool,
}

/// What is wrong with a query; follows the name of the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Nothing to look for.
    #[error("looks for nothing: it needs a word, a phrase or an operator, and words to leave out do not count")]
    Empty,
    /// Too much to look for.
    #[error("has more than {MOST_TERMS} words, phrases and operators")]
    TooManyTerms,
    /// An operator that is not offered.
    #[error(
        "has the operator `{0}:`, which is not one of from:, in:, has:, before:, after:; \
         a word with a colon goes between quotes"
    )]
    UnknownOperator(String),
    /// An operator with a value that it does not take.
    #[error("has `{operator}:` with a value that is not {wanted}")]
    BadValue {
        /// Which.
        operator: &'static str,
        /// What it takes.
        wanted: &'static str,
    },
    /// An operator that says two things.
    #[error("has `{0}:` twice")]
    Twice(&'static str),
    /// An operator behind a minus.
    #[error("has a minus before `{0}:`; only words and phrases can be left out")]
    AbsentOperator(String),
}

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let (mut query, mut pieces, mut rest) = (Self::default(), 0, text.trim_start());
        while !rest.is_empty() {
            let (absent, piece) = rest.strip_prefix('-').map_or((false, rest), |piece| (true, piece));
            let counts;
            (counts, rest) = match piece.strip_prefix('"') {
                // Whoever is still writing has not closed the quote yet.
                Some(phrase) => {
                    let (phrase, after) = phrase.split_once('"').unwrap_or((phrase, ""));
                    (query.take_term(phrase, false, absent), after)
                }
                None => {
                    let end = piece.find(|char: char| char.is_whitespace() || char == '"').unwrap_or(piece.len());
                    let (word, after) = piece.split_at(end);
                    (query.take_word(word, absent)?, after)
                }
            };
            pieces += usize::from(counts);
            if pieces > MOST_TERMS {
                return Err(QueryError::TooManyTerms);
            }
            rest = rest.trim_start();
        }
        let terms = query.terms.iter().filter(|term| !term.absent).count();
        let operators = pieces - query.terms.len();
        if terms + operators == 0 { Err(QueryError::Empty) } else { Ok(query) }
    }
}

impl Query {
    /// Takes words that follow each other, unless there is nothing in them to look for.
    fn take_term(&mut self, words: &str, beginning: bool, absent: bool) -> bool {
        let counts = words.contains(char::is_alphanumeric);
        if counts {
            self.terms.push(Term { words: words.to_owned(), beginning, absent });
        }
        counts
    }

    /// Takes what stands between spaces: an operator, or a word.
    fn take_word(&mut self, word: &str, absent: bool) -> Result<bool, QueryError> {
        let operator = word.split_once(':').filter(|(name, _)| {
            // `12:30` is a time of day.
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic())
        });
        match operator {
            Some((name, _)) if absent => Err(QueryError::AbsentOperator(name.to_owned())),
            Some((name, value)) => self.take_operator(name, value).map(|()| true),
            None => Ok(self.take_term(word, word.ends_with('*'), absent)),
        }
    }

    fn take_operator(&mut self, name: &str, value: &str) -> Result<(), QueryError> {
        // Telephones begin a sentence with a capital.
        match name.to_ascii_lowercase().as_str() {
            "from" => once(&mut self.from, "from", value.parse().ok(), "the id of a user"),
            "in" => once(&mut self.within, "in", value.parse().ok(), "the id of a conversation"),
            "before" => once(&mut self.before, "before", moment(value), A_MOMENT),
            "after" => once(&mut self.since, "after", moment(value), A_MOMENT),
            "has" => self.take_possession(value),
            _ => Err(QueryError::UnknownOperator(name.to_owned())),
        }
    }

    fn take_possession(&mut self, value: &str) -> Result<(), QueryError> {
        match value {
            "link" => self.link = true,
            "attachment" => self.attachment = true,
            _ => return Err(QueryError::BadValue { operator: "has", wanted: "`link` or `attachment`" }),
        }
        Ok(())
    }

    /// The parts of a found text that matched; none where nothing of the text was asked for.
    ///
    /// At most [`FRAGMENTS`] of at most [`FRAGMENT`] characters each, in the order of the text and without overlap. Each is a part
    /// of the text, character by character: plain text, whatever it looks like.
    #[must_use]
    pub fn highlights(&self, text: &str) -> Vec<Highlight> {
        let matched = self.matched(text);
        let mut highlights = Vec::new();
        let mut shown = 0;
        for first in &matched {
            if first.start < shown || highlights.len() == FRAGMENTS {
                continue;
            }
            let part = fragment(text, first, shown);
            shown = part.end;
            highlights.push(Highlight { runs: runs(text, &part, &matched) });
        }
        highlights
    }

    /// Where the text matches, in order and without overlap.
    fn matched(&self, text: &str) -> Vec<Range<usize>> {
        let words = words(text);
        let mut found = Vec::new();
        for term in self.terms.iter().filter(|term| !term.absent) {
            let wanted = self::words(&term.words);
            let Some((last, firsts)) = wanted.split_last() else { continue };
            for window in words.windows(wanted.len()) {
                let Some((end, begin)) = window.split_last() else { continue };
                let ends =
                    if term.beginning { end.folded.starts_with(&last.folded) } else { end.folded == last.folded };
                if ends && begin.iter().zip(firsts).all(|(word, first)| word.folded == first.folded) {
                    found.push(window[0].place.start..end.place.end);
                }
            }
        }
        found.sort_by_key(|range| (range.start, range.end));
        let mut joined: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for range in found {
            match joined.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        joined
    }
}

const A_MOMENT: &str = "an RFC 3339 date or time, such as 2026-01-31 or 2026-01-31T08:00:00Z";

fn once<T>(
    field: &mut Option<T>,
    operator: &'static str,
    value: Option<T>,
    wanted: &'static str,
) -> Result<(), QueryError> {
    let value = value.ok_or(QueryError::BadValue { operator, wanted })?;
    field.replace(value).map_or(Ok(()), |_| Err(QueryError::Twice(operator)))
}

/// A moment; a date is its first one, in UTC.
fn moment(text: &str) -> Option<Timestamp> {
    let day = format!("{text}T00:00:00Z");
    let moment = chrono::DateTime::parse_from_rfc3339(if text.len() == 10 { &day } else { text });
    Some(moment.ok()?.to_utc().into())
}

/// Fragments that one text is shown in at most.
pub const FRAGMENTS: usize = 3;

/// Characters of the longest fragment.
pub const FRAGMENT: usize = 240;

/// Characters before what matched.
const BEFORE: usize = 60;

/// A part of a text around what matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Highlight {
    /// The part, cut where matching begins and ends: one after the other they are the part.
    pub runs: Vec<Run>,
}

/// A stretch of text that matched, or that did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Run {
    /// The stretch: plain text, never markup.
    pub text: String,
    /// Whether it matched.
    pub matched: bool,
}

/// The part of the text to show around a match, not before `from`. Cut between words where there are any.
fn fragment(text: &str, around: &Range<usize>, from: usize) -> Range<usize> {
    if from == 0 && text.chars().nth(FRAGMENT).is_none() {
        return 0..text.len();
    }
    let before = &text[from..around.start];
    let mut start = before.char_indices().rev().nth(BEFORE - 1).map_or(from, |(at, _)| from + at);
    if start > from {
        let space = text[start..around.start].char_indices().find(|(_, char)| char.is_whitespace());
        start = space.map_or(start, |(at, char)| start + at + char.len_utf8());
    }
    let Some((length, _)) = text[start..].char_indices().nth(FRAGMENT) else { return start..text.len() };
    let end = start + length;
    let after = around.end.min(end);
    start..text[after..end].rfind(char::is_whitespace).map_or(end, |at| after + at)
}

/// A part of the text, cut where matching begins and ends.
fn runs(text: &str, part: &Range<usize>, matched: &[Range<usize>]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut add = |from: usize, to: usize, matched| {
        if from < to {
            runs.push(Run { text: text[from..to].to_owned(), matched });
        }
    };
    let mut at = part.start;
    for range in matched.iter().filter(|range| range.start < part.end && range.end > part.start) {
        let (start, end) = (range.start.max(part.start), range.end.min(part.end));
        add(at, start, false);
        add(start, end, true);
        at = end;
    }
    add(at, part.end, false);
    runs
}

/// A word of a text.
struct Word {
    place: Range<usize>,
    folded: String,
}

/// The words of a text as both databases split and fold them: see `migrations`.
fn words(text: &str) -> Vec<Word> {
    let is_part = |char: char| char.is_alphanumeric() || is_combining_mark(char);
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find(is_part).map(|found| at + found) {
        at = text[start..].find(|char| !is_part(char)).map_or(text.len(), |found| start + found);
        words.push(Word { place: start..at, folded: folded(&text[start..at]) });
    }
    words
}

/// A word without its case, and its Latin letters without accents.
fn folded(word: &str) -> String {
    let mut latin = false;
    let plain = word.chars().flat_map(char::to_lowercase).nfd().filter(|char| {
        let keep = !(latin && is_combining_mark(*char));
        latin = char.is_ascii_alphabetic() || (latin && !keep);
        keep
    });
    plain.nfc().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Query {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// The terms of a query, spelt in one way.
    fn terms(text: &str) -> Vec<String> {
        let spelt = |term: &Term| {
            let signs = [if term.absent { "-" } else { "" }, if term.beginning { "*" } else { "" }];
            format!("{}{}{}", signs[0], term.words.trim_end_matches('*'), signs[1])
        };
        parsed(text).terms.iter().map(spelt).collect()
    }

    #[test]
    fn words_phrases_beginnings_and_what_must_be_absent_are_told_apart() {
        assert_eq!(terms("red  wine"), ["red", "wine"]);
        assert_eq!(terms("\"red wine\" glass"), ["red wine", "glass"]);
        assert_eq!(terms("wine -red -\"very dry\""), ["wine", "-red", "-very dry"]);
        assert_eq!(terms("win* -gla*"), ["win*", "-gla*"]);
        assert_eq!(terms("red\"dry wine"), ["red", "dry wine"], "a quote that is not closed ends with the query");
        assert_eq!(terms("12:30 check-in :) -"), ["12:30", "check-in"]);
    }

    #[test]
    fn operators_are_read_into_their_types() {
        let id = ConversationId::new();
        let query = parsed(&format!(
            "from:a.b@c In:{id} has:link has:attachment before:2026-02-01 after:2026-01-31T10:00:00+01:00"
        ));
        assert_eq!((query.from, query.within), ("a.b@c".parse().ok(), Some(id)));
        assert!(query.link && query.attachment && query.terms.is_empty());
        assert_eq!(query.before.map(|at| at.to_string()).as_deref(), Some("2026-02-01T00:00:00.000000Z"));
        assert_eq!(query.since.map(|at| at.to_string()).as_deref(), Some("2026-01-31T09:00:00.000000Z"));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_in_words() {
        for (text, said) in [
            ("", "looks for nothing"),
            (" \t", "looks for nothing"),
            ("-red", "looks for nothing"),
            ("\"\" * :)", "looks for nothing"),
            ("to:bob", "`to:`"),
            ("https://example.org", "between quotes"),
            ("from:", "the id of a user"),
            ("from:\"bob\"", "the id of a user"),
            ("in:tour", "the id of a conversation"),
            ("has:wings", "`link` or `attachment`"),
            ("before:yesterday", "RFC 3339"),
            ("after:2026-02-30", "RFC 3339"),
            ("from:a from:b", "twice"),
            ("red -from:a", "minus"),
            (&"a ".repeat(17), "more than 16"),
        ] {
            let error = text.parse::<Query>().expect_err(text).to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    /// Highlights with what matched between brackets.
    fn shown(query: &str, text: &str) -> Vec<String> {
        let written = |run: &Run| if run.matched { format!("[{}]", run.text) } else { run.text.clone() };
        let highlights = parsed(query).highlights(text);
        highlights.iter().map(|highlight| highlight.runs.iter().map(written).collect()).collect()
    }

    #[test]
    fn what_matched_is_shown_as_it_was_written() {
        assert_eq!(shown("wine", "Red WINE, wines"), ["Red [WINE], wines"]);
        assert_eq!(shown("win*", "Red WINE, wines"), ["Red [WINE], [wines]"]);
        assert_eq!(shown("\"red wine\" wine", "red: wine wine"), ["[red: wine] [wine]"]);
        assert_eq!(shown("creme", "Crème brûlée"), ["[Crème] brûlée"]);
        assert_eq!(shown("и", "й и"), ["й [и]"]);
        assert_eq!(shown("b -c", "<b>c</b>"), ["<[b]>c</[b]>"]);
        assert_eq!(shown("has:link", "https://example.org"), [""; 0]);
    }

    #[test]
    fn of_a_long_text_only_the_parts_that_matched_are_shown() {
        let filler = "word ".repeat(100);
        let text = format!("{filler}one {filler}two {filler}two {filler}two");
        let shown = shown("one two", &text);
        assert_eq!(shown.len(), FRAGMENTS);
        assert!(shown[0].starts_with("word") && shown[0].contains("[one]") && shown[1].contains("[two]"), "{shown:?}");
    }

    proptest! {
        #[test]
        fn no_query_makes_parsing_panic_and_all_are_bounded(text in ".{0,256}") {
            if let Ok(query) = text.parse::<Query>() {
                prop_assert!(query.terms.len() <= MOST_TERMS);
                prop_assert!(query.terms.iter().all(|term| term.words.contains(char::is_alphanumeric)));
                prop_assert!(query.terms.iter().all(|term| !term.words.contains('"')));
            }
        }

        #[test]
        fn queries_that_look_like_queries_do_not_panic_either(text in r#"([-"* :a-c]|from:|in:|has:|before:2026-0|after:){0,30}"#) {
            let _ = text.parse::<Query>();
        }

        #[test]
        fn highlights_are_bounded_parts_of_the_text(text in r"([a-cÀ-ć\u{300}-\u{303} .🔔]{0,9}|a {0,300}b){0,60}") {
            let highlights = parsed("a* \"b c\" \"a b\" ć").highlights(&text);
            prop_assert!(highlights.len() <= FRAGMENTS);
            let mut rest = text.as_str();
            for highlight in highlights {
                let part: String = highlight.runs.iter().map(|run| run.text.as_str()).collect();
                prop_assert!(part.chars().count() <= FRAGMENT);
                prop_assert!(highlight.runs.iter().any(|run| run.matched));
                prop_assert!(highlight.runs.iter().all(|run| !run.text.is_empty()));
                let at = rest.find(&part);
                prop_assert!(at.is_some(), "{part:?} is not in {rest:?}");
                rest = &rest[at.unwrap_or(0) + part.len()..];
            }
        }
    }
}
