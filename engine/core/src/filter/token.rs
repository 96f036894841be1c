//! The words of a filter, each with its column.

use super::error::FilterError;
use crate::limits::FILTER_BYTES_MAX;

/// A word of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name or a keyword.
    Word(String),
    /// A name in backticks: always that of an attribute.
    Name(String),
    /// A text in quotes.
    Text(String),
    /// A number as it is written.
    Number(String),
    /// A comparison, a bracket or a comma.
    Symbol(&'static str),
    /// Nothing more.
    End,
}

/// What stands alone, the longer ones first.
const SYMBOLS: [&str; 11] = ["<=", ">=", "!=", "<>", "==", "=", "<", ">", "(", ")", ","];

impl Token {
    /// Says what it is, for an error.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Name(name) => format!("the attribute `{name}`"),
            Self::Text(text) => format!("the text '{text}'"),
            Self::Number(number) => format!("the number {number}"),
            Self::Symbol(symbol) => format!("`{symbol}`"),
            Self::End => "the end".to_owned(),
        }
    }

    /// Whether it is a keyword, in any case of letters.
    pub(super) fn is_word(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Takes a filter apart; the last word is [`Token::End`].
pub(super) fn tokens(filter: &str) -> Result<Vec<(Token, usize)>, FilterError> {
    let refused = |column: usize, problem: String| FilterError { column, problem, filter: filter.to_owned() };
    if filter.len() > FILTER_BYTES_MAX {
        let problem = format!("it has {} bytes, the limit is {FILTER_BYTES_MAX}: ask in several lists", filter.len());
        return Err(FilterError { column: 1, problem, filter: String::new() });
    }
    let chars: Vec<char> = filter.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&first) = chars.get(at) {
        let column = at + 1;
        let rest = &chars[at..];
        let (token, length) = match first {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '\0' => return Err(refused(column, "a filter has no character NUL".to_owned())),
            '\'' | '"' | '`' => {
                let (text, length) = quoted(rest, first).map_err(|problem| refused(column, problem))?;
                (if first == '`' { Token::Name(text) } else { Token::Text(text) }, length)
            }
            c if c.is_alphabetic() || c == '_' => {
                let is_part = |c: &&char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
                let word: String = rest.iter().take_while(is_part).collect();
                let length = word.chars().count();
                (Token::Word(word), length)
            }
            c if c.is_ascii_digit() || (matches!(c, '-' | '+') && rest.get(1).is_some_and(char::is_ascii_digit)) => {
                let number = number(rest);
                let length = number.len();
                (Token::Number(number), length)
            }
            other => {
                let begins = |symbol: &&&str| symbol.chars().zip(rest).filter(|(a, b)| a == *b).count() == symbol.len();
                let Some(symbol) = SYMBOLS.iter().find(begins) else {
                    let problem = format!("`{other}` has no meaning here: texts stand in quotes, such as 'a'");
                    return Err(refused(column, problem));
                };
                (Token::Symbol(symbol), symbol.len())
            }
        };
        found.push((token, column));
        at += length;
    }
    found.push((Token::End, chars.len() + 1));
    Ok(found)
}

/// Reads what stands in quotes, where a doubled quote stands for one; gives its length with the quotes.
fn quoted(rest: &[char], quote: char) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut at = 1;
    loop {
        match rest.get(at) {
            None => return Err(format!("there is no {quote} that ends what begins here")),
            Some('\0') => return Err("a text has no character NUL".to_owned()),
            Some(&c) if c == quote && rest.get(at + 1) == Some(&quote) => {
                text.push(quote);
                at += 2;
            }
            Some(&c) if c == quote => return Ok((text, at + 1)),
            Some(&c) => {
                text.push(c);
                at += 1;
            }
        }
    }
}

fn number(rest: &[char]) -> String {
    let mut number = String::new();
    for &c in rest {
        let after_exponent = number.ends_with(['e', 'E']);
        let is_sign = matches!(c, '-' | '+') && (number.is_empty() || after_exponent);
        if !(is_sign || c.is_ascii_alphanumeric() || c == '.') {
            break;
        }
        number.push(c);
    }
    number
}
