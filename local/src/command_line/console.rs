//! Where a command speaks, and in which form.

use std::io::{self, IsTerminal as _, Stderr, Stdout, Write};

use client::Verbatim;

use super::text::plain;

/// Standard output and standard error, or what stands for them.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Whether what the API says is to be told in its own words.
    json: bool,
    watched: Watched,
    bar_is_up: bool,
}

/// What a person sees as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    Nothing,
    Err,
    OutAndErr,
}

/// The longest bar, in characters: less than the narrowest usual terminal has, so that it stays on one line.
const WIDTH: usize = 79;

impl<'a> Console<'a> {
    /// The console of this process.
    pub fn of_this_process(out: &'a mut Stdout, err: &'a mut Stderr) -> Self {
        let watched = match (out.is_terminal(), err.is_terminal()) {
            (_, false) => Watched::Nothing,
            (false, true) => Watched::Err,
            (true, true) => Watched::OutAndErr,
        };
        Self { watched, ..Self::unwatched(out, err) }
    }

    /// One that nobody watches as it is written.
    pub fn unwatched(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self { out, err, json: false, watched: Watched::Nothing, bar_is_up: false }
    }

    /// Whether to tell what the API says in its own words.
    pub fn tell_json(&mut self, json: bool) {
        self.json = json;
    }

    /// Whether what the API says is to be told in its own words.
    pub fn tells_json(&self) -> bool {
        self.json
    }

    /// Whether progress can be shown by a bar.
    pub fn has_bar(&self) -> bool {
        self.watched != Watched::Nothing
    }

    /// Whether progress that the bar shows need not be told in lines, too.
    pub fn bar_is_enough(&self) -> bool {
        self.watched == Watched::OutAndErr
    }

    /// Says what was asked for.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.clear_bar()?;
        writeln!(self.out, "{text}")
    }

    /// Tells an answer: in its own words, or as `text` has it.
    pub fn show<T>(&mut self, answer: &Verbatim<T>, text: impl FnOnce(&T) -> String) -> io::Result<()> {
        if self.json { self.say(answer.json()) } else { self.say(&text(answer)) }
    }

    /// Tells one answer of several, on one line if it is told in its own words.
    pub fn show_line<T>(&mut self, answer: &Verbatim<T>, text: impl FnOnce(&T) -> String) -> io::Result<()> {
        // In JSON, line breaks stand between words only.
        if self.json { self.say(&answer.json().replace(['\r', '\n'], " ")) } else { self.say(&text(answer)) }
    }

    /// Tells a list: in its own words, an array with one entry on a line; or as `text` has it.
    pub fn show_all<T>(&mut self, list: &[Verbatim<T>], text: impl FnOnce(&[Verbatim<T>]) -> String) -> io::Result<()> {
        if !self.json {
            return self.say(&text(list));
        }
        let lines: Vec<_> = list.iter().map(Verbatim::json).collect();
        self.say(&format!("[{}]", lines.join(",\n")))
    }

    /// Says what was not asked for.
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        self.clear_bar()?;
        writeln!(self.err, "dray: {}", plain(text))
    }

    /// Puts `line` where the last one was, if there is somebody to see it. The next word that is said takes its place.
    pub fn bar(&mut self, line: &str) -> io::Result<()> {
        if !self.has_bar() {
            return Ok(());
        }
        let line: String = plain(line).chars().take(WIDTH).collect();
        write!(self.err, "{CLEAR}{line}")?;
        self.bar_is_up = true;
        self.err.flush()
    }

    fn clear_bar(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.bar_is_up) {
            return Ok(());
        }
        write!(self.err, "{CLEAR}")?;
        self.err.flush()
    }
}

/// To the start of the line, and deletes it (ECMA-48, section 8.3.41).
const CLEAR: &str = "\r\x1b[2K";

/// A bar of so many percent, and what there is to say about it.
pub fn bar(percent: u64, message: &str) -> String {
    const LENGTH: usize = 30;
    let percent = percent.min(100);
    let done = usize::try_from(percent).unwrap_or(100) * LENGTH / 100;
    format!("[{}{}] {percent:>3} %  {message}", "#".repeat(done), "-".repeat(LENGTH - done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_percentage() {
        assert_eq!(bar(0, "rows"), format!("[{}]   0 %  rows", "-".repeat(30)));
        assert_eq!(bar(50, ""), format!("[{}{}]  50 %  ", "#".repeat(15), "-".repeat(15)));
        assert_eq!(bar(101, "x"), format!("[{}] 100 %  x", "#".repeat(30)));
    }

    #[test]
    fn a_bar_stays_on_one_line_and_gives_way_to_what_is_said() {
        let (mut out, mut err) = (vec![], vec![]);
        let mut console = Console { watched: Watched::Err, ..Console::unwatched(&mut out, &mut err) };
        console.bar("10 %\u{1b}[31m").expect("written");
        console.bar(&"x".repeat(200)).expect("written");
        console.say("said").expect("written");
        console.note("not asked for").expect("written");
        let bars = format!("{CLEAR}10 % [31m{CLEAR}{}{CLEAR}", "x".repeat(79));
        assert_eq!(String::from_utf8(err).expect("text"), format!("{bars}dray: not asked for\n"));
        assert_eq!(out, b"said\n");
    }

    #[test]
    fn nobody_sees_a_bar_that_nobody_watches() {
        let (mut out, mut err) = (vec![], vec![]);
        Console::unwatched(&mut out, &mut err).bar("10 %").expect("nothing to do");
        assert_eq!((out.len(), err.len()), (0, 0));
    }

    #[test]
    fn json_is_told_as_it_came() {
        let list: Vec<Verbatim<Vec<f64>>> = serde_json::from_str("[[1.0],\n[2.50,\n3]]").expect("JSON");
        let (mut out, mut err) = (vec![], vec![]);
        let mut console = Console::unwatched(&mut out, &mut err);
        console.tell_json(true);
        console.show(&list[1], |_| String::new()).expect("written");
        console.show_line(&list[1], |_| String::new()).expect("written");
        console.show_all(&list, |_| String::new()).expect("written");
        let told = "[2.50,\n3]\n[2.50, 3]\n[[1.0],\n[2.50,\n3]]\n";
        assert_eq!(String::from_utf8(out).expect("text"), told);
    }
}
