//! Whether brackets pair up. The parser relies on it: behind an error it skips to a bracket's end.

use super::super::{ERROR_LIMIT, FormulaError};
use super::{Bracket, Lexer, Token, TokenKind};

impl Lexer<'_> {
    /// Reports brackets that close nothing, close another kind, or are never closed.
    pub(super) fn check_brackets(&mut self) {
        let mut open: Vec<(Token, Bracket)> = Vec::new();
        let mut errors = Vec::new();
        let map = self.map;
        for &token in &self.tokens {
            match token.kind {
                TokenKind::Open(bracket) => open.push((token, bracket)),
                TokenKind::Close(bracket) => match open.pop() {
                    Some((_, opened)) if opened == bracket => {}
                    Some((opener, opened)) => {
                        let message =
                            format!("`{}` does not match `{}`", bracket.close(), opened.open());
                        let error = FormulaError::new(message, map(token.range()))
                            .help(format!("`{}` closes it", opened.close()))
                            .related(map(opener.range()), "opened here");
                        errors.push((token.start as usize, error));
                        // Which of the two is wrong decides how all later ones pair up.
                        open.clear();
                        break;
                    }
                    None => {
                        let message = format!("`{}` closes nothing", bracket.close());
                        let help = format!("remove it, or add `{}` before it", bracket.open());
                        let error = FormulaError::new(message, map(token.range())).help(help);
                        errors.push((token.start as usize, error));
                        if errors.len() >= ERROR_LIMIT {
                            open.clear();
                            break;
                        }
                    }
                },
                _ => {}
            }
        }
        if let Some(&(opener, bracket)) = open.last() {
            let end = self.text.trim_end().len();
            let message = match open.len() {
                1 => format!("`{}` is never closed", bracket.open()),
                count => format!(
                    "{count} brackets are never closed; the innermost is `{}`",
                    bracket.open()
                ),
            };
            let mut error = FormulaError::new(message, map(opener.range()))
                .related(map(end..end), "the formula ends here");
            if open.len() <= 8 {
                let closers: String = open.iter().rev().map(|(_, it)| it.close()).collect();
                error = error.help(format!("add `{closers}`"));
            }
            errors.push((opener.start as usize, error));
        }
        self.errors.extend(errors);
    }
}
