//! Places in an expression's text. The parser forgets where its nodes stood,
//! so the checker's walk finds them again: names in the order of the text.

/// The tokens of an expression that complaints point at.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    text: &'a str,
}

impl<'a> Source<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text }
    }

    /// Where `.field` stands: the offset of the dot.
    pub(crate) fn select(&self, field: &str) -> usize {
        self.find(|rest| {
            let after = rest.strip_prefix('.')?.trim_start();
            starts_with_word(after.strip_prefix('?').unwrap_or(after), field)
        })
    }

    /// Where a name stands on its own.
    pub(crate) fn name(&self, name: &str) -> usize {
        let mut before = None;
        for (at, letter) in self.unquoted() {
            let fresh = !before.is_some_and(|c: char| is_word(c) || c == '.');
            if fresh && starts_with_word(&self.text[at..], name).is_some() {
                return at;
            }
            before = Some(letter);
        }
        0
    }

    /// Where a function's arguments begin: the offset of its parenthesis.
    pub(crate) fn call(&self, function: &str) -> usize {
        let mut before = None;
        for (at, letter) in self.unquoted() {
            let fresh = !before.is_some_and(is_word);
            before = Some(letter);
            if !fresh || starts_with_word(&self.text[at..], function).is_none() {
                continue;
            }
            let after = &self.text[at + function.len()..];
            let gap = after.len() - after.trim_start().len();
            if after.trim_start().starts_with('(') {
                return at + function.len() + gap;
            }
        }
        self.name(function)
    }

    /// Where an operator stands.
    pub(crate) fn operator(&self, operator: &str) -> usize {
        let word = operator.trim_matches('_').trim_start_matches('@');
        match operator {
            "_[_]" => self.find(|rest| rest.starts_with('[').then_some(())),
            "_?_:_" => self.find(|rest| rest.starts_with('?').then_some(())),
            "@in" => self.name("in"),
            _ => self.find(|rest| {
                let after = rest.strip_prefix(word)?;
                let longer = word.len() == 1 && after.starts_with('=');
                (!longer).then_some(())
            }),
        }
    }

    fn find(&self, matches: impl Fn(&str) -> Option<()>) -> usize {
        self.unquoted()
            .find(|(at, _)| matches(&self.text[*at..]).is_some())
            .map_or(0, |(at, _)| at)
    }

    /// The letters outside of quotes.
    fn unquoted(&self) -> impl Iterator<Item = (usize, char)> + use<'a> {
        let mut quote = None;
        let mut escaped = false;
        self.text.char_indices().filter(move |(_, letter)| {
            match quote {
                Some(_) if escaped => escaped = false,
                Some(_) if *letter == '\\' => escaped = true,
                Some(open) if *letter == open => quote = None,
                Some(_) => {}
                None if matches!(letter, '"' | '\'') => quote = Some(*letter),
                None => return true,
            }
            false
        })
    }

    /// A complaint in the words and the drawing of cel-go.
    pub(crate) fn complaint(&self, at: usize, what: &str) -> String {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = self.text[start..at].chars().count();
        let content = self.text[start..].lines().next().unwrap_or_default();
        let dots = ".".repeat(column);
        format!(
            "ERROR: <input>:{line}:{}: {what}\n | {content}\n | {dots}^",
            column + 1
        )
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn starts_with_word(text: &str, word: &str) -> Option<()> {
    let after = text.strip_prefix(word)?;
    (!after.starts_with(is_word)).then_some(())
}
