//! Where commands read and write, and how the output is to look.
//!
//! Commands print through a [`Console`] only, so that they run in tests as they run in a shell.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::status::Complaint;
use crate::render::{Layout, visible};

/// What a process is given: its streams, and its environment.
pub struct Streams<'a> {
    /// Standard input.
    pub input: &'a mut dyn Read,
    /// Standard output, for results.
    pub out: &'a mut dyn Write,
    /// Standard error, for everything else.
    pub err: &'a mut dyn Write,
    /// Whether a person sees standard output.
    pub out_is_terminal: bool,
    /// Whether a person sees standard error.
    pub err_is_terminal: bool,
    /// Reads an environment variable.
    pub variable: fn(&str) -> Option<String>,
}

/// When to write colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum ColourChoice {
    /// On a terminal, unless `NO_COLOR` is set; elsewhere if `CLICOLOR_FORCE` or `FORCE_COLOR` is
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The streams of a command, with the looks that were asked for.
pub(super) struct Console<'a> {
    /// Standard input.
    pub input: &'a mut dyn Read,
    /// Standard output.
    pub out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    err_is_terminal: bool,
    /// How to lay out standard output.
    pub layout: Layout,
    /// How to lay out standard error.
    pub error_layout: Layout,
}

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Bold,
    Heading,
    Error,
    Note,
    Code,
}

/// Columns of a terminal that does not say how many it has.
const USUAL_WIDTH: usize = 80;
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=400;

impl<'a> Console<'a> {
    pub fn new(streams: &'a mut Streams<'_>, colour: ColourChoice) -> Console<'a> {
        let layout = |is_terminal| layout(colour, is_terminal, streams.variable);
        Console {
            layout: layout(streams.out_is_terminal),
            error_layout: layout(streams.err_is_terminal),
            input: &mut *streams.input,
            out: &mut *streams.out,
            err: &mut *streams.err,
            err_is_terminal: streams.err_is_terminal,
        }
    }

    /// Writes to standard output.
    pub fn print(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes())
    }

    /// Writes to standard error. If that fails there is nobody left to tell.
    pub fn print_error(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes());
    }

    /// Shows how far long work has come, where a person sees standard error; nothing elsewhere.
    pub fn progress<'p>(&'p mut self, what: &'p str) -> Progress<'p> {
        let shown = self.err_is_terminal;
        Progress {
            err: shown.then_some(&mut *self.err),
            what,
            begun: Instant::now(),
            written: None,
        }
    }

    /// Tells what went wrong.
    pub fn complain(&mut self, complaint: &Complaint) {
        self.tell(Style::Error, "error", &complaint.message);
        if let Some(help) = &complaint.help {
            self.tell(Style::Note, "  help", help);
        }
    }

    /// Tells something that is good to know.
    pub fn note(&mut self, message: &str) {
        self.tell(Style::Note, "note", message);
    }

    fn tell(&mut self, style: Style, name: &str, message: &str) {
        let name = paint(self.error_layout, style, &format!("{name}:"));
        let text = format!("{name} {}\n", visible::lines(message));
        self.print_error(&text);
    }
}

/// One line that says how far work has come, and is gone when the work is done.
pub(super) struct Progress<'a> {
    err: Option<&'a mut dyn Write>,
    what: &'a str,
    begun: Instant,
    written: Option<Instant>,
}

/// Work that takes less than this shows nothing, and a line stands at least so long.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(100);

impl Progress<'_> {
    /// So much is done of so much.
    pub fn at(&mut self, done: usize, total: usize) {
        self.line(|what, spent| {
            let share = done as f64 / total.max(1) as f64;
            let filled = (share * 20.0) as usize;
            let bar: String = (0..20)
                .map(|at| if at < filled { '#' } else { '.' })
                .collect();
            // What is left takes as long as what is done, share by share.
            let left = spent / share.max(1e-6) - spent;
            format!("{what} [{bar}] {done} of {total}, {left:.0} s left")
        });
    }

    /// Somebody else works, for so many seconds at most, and does not say how far it has come.
    pub fn waits(&mut self, limit: u64) {
        self.line(|what, spent| format!("{what}: {spent:.0} s of at most {limit} s"));
    }

    /// Writes a line of what is done and the seconds it has taken, if it is time for one.
    fn line(&mut self, text: impl FnOnce(&str, f64) -> String) {
        let Some(err) = &mut self.err else { return };
        let now = Instant::now();
        let early = now - self.begun < PATIENCE;
        if early || self.written.is_some_and(|last| now - last < PAUSE) {
            return;
        }
        self.written = Some(now);
        let spent = (now - self.begun).as_secs_f64();
        let _ = write!(err, "\r\x1b[K{}", text(self.what, spent));
        let _ = err.flush();
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let (Some(err), Some(_)) = (&mut self.err, self.written) {
            let _ = write!(err, "\r\x1b[K");
            let _ = err.flush();
        }
    }
}

impl Style {
    /// What begins and what ends text in this style.
    pub fn escapes(self) -> (&'static str, &'static str) {
        let begin = match self {
            Style::Bold => "\x1b[1m",
            Style::Heading => "\x1b[1;32m",
            Style::Error => "\x1b[1;31m",
            Style::Note => "\x1b[1;36m",
            Style::Code => "\x1b[36m",
        };
        (begin, "\x1b[0m")
    }
}

/// The text in a style, where there are colours.
pub(super) fn paint(layout: Layout, style: Style, text: &str) -> String {
    let (begin, end) = style.escapes();
    match layout.colour {
        true => format!("{begin}{text}{end}"),
        false => text.to_owned(),
    }
}

/// How a stream is to look.
pub(super) fn layout(
    choice: ColourChoice,
    is_terminal: bool,
    variable: fn(&str) -> Option<String>,
) -> Layout {
    let columns = variable("COLUMNS").and_then(|text| text.trim().parse::<usize>().ok());
    Layout {
        colour: colour(choice, is_terminal, variable),
        unicode: !is_terminal || unicode(variable),
        width: columns
            .filter(|&columns| columns > 0)
            .unwrap_or(USUAL_WIDTH)
            .clamp(*WIDTHS.start(), *WIDTHS.end()),
    }
}

/// <https://no-color.org> goes before <https://bixense.com/clicolors> and Node's `FORCE_COLOR`.
fn colour(choice: ColourChoice, is_terminal: bool, variable: fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    let forces = |name: &str| set(name) && variable(name).is_some_and(|value| value != "0");
    match choice {
        ColourChoice::Always => true,
        ColourChoice::Never => false,
        ColourChoice::Auto if set("NO_COLOR") => false,
        ColourChoice::Auto if forces("CLICOLOR_FORCE") || forces("FORCE_COLOR") => true,
        ColourChoice::Auto => is_terminal && variable("TERM").as_deref() != Some("dumb"),
    }
}

/// Whether the locale can write more than ASCII; the first variable that is set decides.
fn unicode(variable: fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty());
    match locale {
        Some(locale) => {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        }
        // Windows says nothing and can; elsewhere the locale is then POSIX's.
        None => cfg!(windows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that a bar is drawn once the work takes long, and rubbed out at its end.
    #[test]
    fn progress_is_shown_when_work_is_long() {
        let drawn = |begun: Instant, tell: fn(&mut Progress<'_>)| {
            let mut text = Vec::new();
            let mut progress = Progress {
                err: Some(&mut text),
                what: "check",
                begun,
                written: None,
            };
            tell(&mut progress);
            drop(progress);
            String::from_utf8(text).unwrap()
        };
        let bar: fn(&mut Progress<'_>) = |progress| progress.at(1, 4);
        assert_eq!(drawn(Instant::now(), bar), "");
        let long_ago = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
        assert_eq!(
            drawn(long_ago, bar),
            "\r\x1b[Kcheck [#####...............] 1 of 4, 9 s left\r\x1b[K"
        );
        assert_eq!(
            drawn(long_ago, |progress| progress.waits(60)),
            "\r\x1b[Kcheck: 3 s of at most 60 s\r\x1b[K"
        );
    }

    /// Guards that a file or a pipe gets no bar.
    #[test]
    fn progress_is_for_people() {
        for (is_terminal, expected) in [(true, true), (false, false)] {
            let mut streams = Streams {
                input: &mut io::empty(),
                out: &mut io::sink(),
                err: &mut io::sink(),
                out_is_terminal: true,
                err_is_terminal: is_terminal,
                variable: |_| None,
            };
            let mut console = Console::new(&mut streams, ColourChoice::Auto);
            assert_eq!(console.progress("check").err.is_some(), expected);
        }
    }

    /// Guards the order in which the conventions for colours are asked.
    #[test]
    fn colours_follow_the_conventions() {
        type Variable = fn(&str) -> Option<String>;
        let none: Variable = |_| None;
        let no_color: Variable = |name| (name != "TERM").then(|| "1".to_owned());
        let force: Variable = |name| (name == "FORCE_COLOR").then(|| "1".to_owned());
        let force_zero: Variable = |name| (name == "FORCE_COLOR").then(|| "0".to_owned());
        let clicolor: Variable = |name| (name == "CLICOLOR_FORCE").then(|| "1".to_owned());
        let dumb: Variable = |name| (name == "TERM").then(|| "dumb".to_owned());
        for (choice, is_terminal, variable, expected) in [
            (ColourChoice::Auto, true, none, true),
            (ColourChoice::Auto, false, none, false),
            (ColourChoice::Auto, true, no_color, false),
            (ColourChoice::Always, false, no_color, true),
            (ColourChoice::Never, true, force, false),
            (ColourChoice::Auto, false, force, true),
            (ColourChoice::Auto, false, force_zero, false),
            (ColourChoice::Auto, false, clicolor, true),
            (ColourChoice::Auto, true, dumb, false),
        ] {
            assert_eq!(
                layout(choice, is_terminal, variable).colour,
                expected,
                "{choice:?}"
            );
        }
    }

    #[test]
    fn widths_and_characters_follow_the_environment() {
        let width = |variable| layout(ColourChoice::Auto, true, variable).width;
        assert_eq!(width(|_| None), 80);
        assert_eq!(width(|_| Some("132".to_owned())), 132);
        assert_eq!(width(|_| Some("1".to_owned())), 40);
        assert_eq!(width(|_| Some("wide".to_owned())), 80);
        let unicode = |variable| layout(ColourChoice::Auto, true, variable).unicode;
        assert!(unicode(|_| Some("de_DE.UTF-8".to_owned())));
        assert!(!unicode(|_| Some("C".to_owned())));
        assert!(unicode(|name| match name {
            "LC_ALL" => Some(String::new()),
            _ => Some("C.utf8".to_owned()),
        }));
        let piped = layout(ColourChoice::Auto, false, |_| Some("C".to_owned()));
        assert!(piped.unicode, "what is not a terminal has no locale");
    }
}
