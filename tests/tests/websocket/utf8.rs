//! Section 6: text is UTF-8, wherever it is cut.

use fleet::raw::{FIN, Heard, MORE, TEXT, frame, text};

use crate::{Case, Cut, House, are_answered, case, error, in_pieces, ping_text, pong};

/// Text, whose letters take one to four bytes.
const GOOD: &[(&str, &[&str])] = &[
    ("6.2", &["Hello-µ@ßöäüàá-UTF-8!!"]),
    ("6.5", &["κόσμε", "Hello-µ@ß", "öäüàá-UTF-8!!", "\u{1f600}\u{10ffff}"]),
    ("6.6", &["κ", "κό", "κόσ", "κόσμ", "κόσμε"]),
    // The first and the last of each length, but for NUL, which JSON has no place for.
    ("6.7", &["\u{80}", "\u{800}", "\u{10000}"]),
    ("6.9", &["\u{7f}", "\u{7ff}", "\u{ffff}", "\u{10ffff}"]),
    ("6.11", &["\u{d7ff}", "\u{e000}", "\u{fffd}", "\u{10ffff}"]),
    // Of these it is agreed that they stand for nothing; they are text all the same.
    (
        "6.22",
        &[
            "\u{fffe}",
            "\u{ffff}",
            "\u{1fffe}",
            "\u{1ffff}",
            "\u{2fffe}",
            "\u{2ffff}",
            "\u{3fffe}",
            "\u{3ffff}",
            "\u{4fffe}",
            "\u{4ffff}",
            "\u{5fffe}",
            "\u{5ffff}",
            "\u{6fffe}",
            "\u{6ffff}",
            "\u{7fffe}",
            "\u{7ffff}",
            "\u{8fffe}",
            "\u{8ffff}",
            "\u{9fffe}",
            "\u{9ffff}",
            "\u{afffe}",
            "\u{affff}",
            "\u{bfffe}",
            "\u{bffff}",
            "\u{cfffe}",
            "\u{cffff}",
            "\u{dfffe}",
            "\u{dffff}",
            "\u{efffe}",
            "\u{effff}",
            "\u{ffffe}",
            "\u{fffff}",
            "\u{10fffe}",
            "\u{10ffff}",
        ],
    ),
    ("6.23", &["\u{fff9}", "\u{fffa}", "\u{fffb}", "\u{fffc}", "\u{fffd}", "\u{fffe}", "\u{ffff}"]),
];

/// What is no text.
const BAD: &[(&str, &[&[u8]])] = &[
    ("6.3", &[b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"]),
    ("6.6", &[b"\xce", b"\xce\xba\xe1", b"\xce\xba\xe1\xbd", b"\xce\xba\xe1\xbd\xb9\xcf", b"\xce\xba\xcf\x83\xce"]),
    // Of five and six bytes, which were given up.
    ("6.8", &[b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"]),
    ("6.10", &[b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"]),
    // Beyond the last letter there is.
    ("6.11", &[b"\xf4\x90\x80\x80"]),
    // Bytes that go on, and nothing to go on with.
    (
        "6.12",
        &[
            b"\x80", b"\xbf", b"\x80\xbf", b"\x80\xbf\x80", b"\x80\xbf\x80\xbf", b"\x80\xbf\x80\xbf\x80",
            b"\x80\xbf\x80\xbf\x80\xbf", b"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f",
        ],
    ),
    // Bytes that begin, and nothing goes on.
    ("6.13", &[b"\xc0 \xc1 \xc2 \xdf ", b"\xe0 \xe1 \xee \xef ", b"\xf0 \xf1 \xf6 \xf7 ", b"\xf8 \xf9 \xfa \xfb ", b"\xfc \xfd "]),
    // The last byte is missing.
    (
        "6.14",
        &[
            b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80", b"\xdf", b"\xef\xbf",
            b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf",
        ],
    ),
    ("6.15", &[b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80\xdf\xef\xbf\xf7\xbf\xbf\xfb\xbf\xbf\xbf\xfd\xbf\xbf\xbf\xbf"]),
    ("6.16", &[b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"]),
    // Longer than need be: a slash, the last that fits into fewer bytes, and NUL.
    ("6.17", &[b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf"]),
    ("6.18", &[b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf"]),
    ("6.19", &[b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80"]),
    // Halves of letters, as UTF-16 has them, alone and in pairs.
    (
        "6.20",
        &[
            b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbe\x80",
            b"\xed\xbf\xbf",
        ],
    ),
    (
        "6.21",
        &[
            b"\xed\xa0\x80\xed\xb0\x80", b"\xed\xa0\x80\xed\xbf\xbf", b"\xed\xad\xbf\xed\xb0\x80",
            b"\xed\xad\xbf\xed\xbf\xbf", b"\xed\xae\x80\xed\xb0\x80", b"\xed\xae\x80\xed\xbf\xbf",
            b"\xed\xaf\xbf\xed\xb0\x80", b"\xed\xaf\xbf\xed\xbf\xbf",
        ],
    ),
];

/// The same text whole, in pieces of a byte, and in pieces among which the first and the last are empty.
fn however_sent(name: &str, message: &[u8], heard: &Heard) -> [Case; 3] {
    let framed = |how: &str, frames: Vec<Vec<u8>>| Case {
        name: format!("{name} {how}"),
        frames,
        cut: Cut::Together,
        hears: vec![heard.clone()],
    };
    let around = vec![frame(TEXT, ""), frame(MORE, message), frame(FIN | MORE, "")];
    [
        framed("whole", vec![text(message)]),
        framed("in pieces", in_pieces(TEXT, message, 1)),
        framed("between nothing", around),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn section_6_text_is_utf_8_wherever_it_is_cut_and_what_is_not_ends_the_connection() {
    let house = House::as_shipped().await;
    let mut cases = vec![
        case("6.1.1", [text("")], [error("bad_request")]),
        case("6.1.2", [frame(TEXT, ""), frame(MORE, ""), frame(FIN | MORE, "")], [error("bad_request")]),
        case("6.7.1", [text("\0")], [error("bad_request")]),
    ];
    for (section, texts) in GOOD {
        cases.extend(texts.iter().flat_map(|text| however_sent(section, &ping_text(text), &pong(text))));
    }
    for (section, texts) in BAD {
        let heard = Heard::Close(Some(1007));
        cases.extend(texts.iter().flat_map(|bytes| however_sent(section, bytes, &heard)));
        cases.extend(texts.iter().flat_map(|bytes| however_sent(section, &ping_text(bytes), &heard)));
    }
    are_answered(&house, cases).await;
}

/// In a message of several pieces the end does not have to come for that. In a piece it does, which the suite calls not strict.
#[tokio::test(flavor = "multi_thread")]
async fn section_6_4_what_is_no_text_is_noticed_before_the_message_ends() {
    let house = House::as_shipped().await;
    let begun = |rest: &[u8]| [frame(TEXT, "κόσμε"), frame(MORE, rest)];
    let broken = || [Heard::Close(Some(1007))];
    are_answered(
        &house,
        [
            case("6.4.1", begun(b"\xf4\x90\x80\x80"), broken()).cut(Cut::Frames),
            case("6.4.2", begun(b"\xf4\x90"), broken()).cut(Cut::Frames),
            case("6.4.3", begun(b"\xf4\x90\x80\x80"), broken()).cut(Cut::Pieces(1)),
            case("6.4.4", [text(b"\xce\xba\xf4\x90")], broken()).cut(Cut::Pieces(1)),
        ],
    )
    .await;
}
