//! From the text of a filter to its condition and order.

use super::{
    Condition,
    error::FilterError,
    field::{Field, Literal, Shape},
    order::Order,
    token::{Token, tokens},
};
use crate::limits::{FILTER_DEPTH_MAX, FILTER_VALUES_MAX};

/// What may stand after a field.
const OPERATORS: &str = "=, !=, <, <=, >, >=, IN, NOT IN, BETWEEN, STARTS_WITH, IS NULL or IS NOT NULL";

/// Words that mean something to a filter, so that an attribute of such a name stands in backticks.
const KEYWORDS: [&str; 14] =
    ["AND", "OR", "NOT", "IN", "BETWEEN", "STARTS_WITH", "IS", "NULL", "ORDER", "BY", "ASC", "DESC", "TRUE", "FALSE"];

/// A filter as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// What must hold; [`Condition::ALWAYS`] when nothing is said.
    pub condition: Condition,
    /// The order, if one is given.
    pub order: Option<Order>,
}

/// Reads a filter such as `Status = 'Running' AND Customer = 'x' ORDER BY StartTime DESC`. An empty one lets every run through.
///
/// # Errors
/// [`FilterError`] names the column, what is wrong there and what may stand there.
pub fn parse(filter: &str) -> Result<Expression, FilterError> {
    let mut parser = Parser { filter, tokens: tokens(filter)?, at: 0, depth: 0, values: 0 };
    let has_condition = !matches!(parser.peek(), Token::End) && !parser.peek().is_word("ORDER");
    let condition = if has_condition { parser.any()? } else { Condition::ALWAYS };
    let order = if parser.takes("ORDER") { Some(parser.order()?) } else { None };
    match parser.peek() {
        Token::End => Ok(Expression { condition, order }),
        other => {
            let problem = format!("{} cannot follow here: AND, OR, ORDER BY or the end may", other.shown());
            Err(parser.refused(problem))
        }
    }
}

struct Parser<'a> {
    filter: &'a str,
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    values: usize,
}

type Read<T> = Result<T, FilterError>;

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        // The last one is the end, which nothing goes past.
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn takes(&mut self, keyword: &str) -> bool {
        let takes = self.peek().is_word(keyword);
        if takes {
            self.next();
        }
        takes
    }

    fn takes_symbol(&mut self, symbol: &'static str) -> bool {
        let takes = *self.peek() == Token::Symbol(symbol);
        if takes {
            self.next();
        }
        takes
    }

    fn needs(&mut self, keyword: &str) -> Read<()> {
        if self.takes(keyword) { Ok(()) } else { Err(self.instead(keyword)) }
    }

    fn needs_symbol(&mut self, symbol: &'static str) -> Read<()> {
        if self.takes_symbol(symbol) { Ok(()) } else { Err(self.instead(&format!("`{symbol}`"))) }
    }

    fn instead(&self, wanted: &str) -> FilterError {
        self.refused(format!("{wanted} must stand here, not {}", self.peek().shown()))
    }

    /// Refuses what stands at the place where the parser is.
    fn refused(&self, problem: String) -> FilterError {
        self.refused_at(self.at, problem)
    }

    fn refused_at(&self, at: usize, problem: String) -> FilterError {
        FilterError { column: self.tokens[at].1, problem, filter: self.filter.to_owned() }
    }

    fn any(&mut self) -> Read<Condition> {
        let mut any = vec![self.all()?];
        while self.takes("OR") {
            any.push(self.all()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Condition::Any(any) })
    }

    fn all(&mut self) -> Read<Condition> {
        let mut all = vec![self.one()?];
        while self.takes("AND") {
            all.push(self.one()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Condition::All(all) })
    }

    fn one(&mut self) -> Read<Condition> {
        let begins_deeper = self.peek().is_word("NOT") || *self.peek() == Token::Symbol("(");
        if !begins_deeper {
            return self.test();
        }
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            let problem = format!("more than {FILTER_DEPTH_MAX} brackets and NOTs are open: write it flatter");
            return Err(self.refused(problem));
        }
        let condition = if self.takes("NOT") {
            self.one()?.negated()
        } else {
            self.next();
            let inner = self.any()?;
            self.needs_symbol(")")?;
            inner
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn test(&mut self) -> Read<Condition> {
        let field = self.field()?;
        let at = self.at;
        let negated = self.takes("NOT");
        let operator_at = self.at;
        let condition = match self.next() {
            Token::Word(word) if word.eq_ignore_ascii_case("IN") => {
                let (values, at) = self.values()?;
                field.test(Shape::OneOf, &values).map_err(|problem| self.refused_at(at, problem))?
            }
            Token::Word(word) if word.eq_ignore_ascii_case("BETWEEN") => {
                let from = self.compared(&field, Shape::AtLeast)?;
                self.needs("AND")?;
                from.and(self.compared(&field, Shape::AtMost)?)
            }
            Token::Word(word) if word.eq_ignore_ascii_case("STARTS_WITH") => {
                let value = self.value()?;
                field.starts_with(&value).map_err(|problem| self.refused_at(operator_at, problem))?
            }
            Token::Word(word) if word.eq_ignore_ascii_case("IS") && !negated => {
                let is_there = self.takes("NOT");
                self.needs("NULL")?;
                let exists = field.exists();
                return Ok(if is_there { exists } else { exists.negated() });
            }
            Token::Symbol(symbol) if !negated => match symbol {
                "=" | "==" => self.compared(&field, Shape::OneOf)?,
                "!=" | "<>" => field.exists().and(self.compared(&field, Shape::OneOf)?.negated()),
                "<" => self.compared(&field, Shape::Less)?,
                "<=" => self.compared(&field, Shape::AtMost)?,
                ">" => self.compared(&field, Shape::More)?,
                ">=" => self.compared(&field, Shape::AtLeast)?,
                _ => return Err(self.no_operator(at)),
            },
            _ => return Err(self.no_operator(at)),
        };
        Ok(if negated { field.exists().and(condition.negated()) } else { condition })
    }

    fn no_operator(&self, at: usize) -> FilterError {
        let shown = self.tokens[at].0.shown();
        self.refused_at(at, format!("{OPERATORS} may follow a field, not {shown}"))
    }

    fn field(&mut self) -> Read<Field> {
        let at = self.at;
        match self.next() {
            Token::Name(name) => Ok(Field::Attribute(name)),
            Token::Word(word) if !KEYWORDS.iter().any(|it| it.eq_ignore_ascii_case(&word)) => {
                Field::named(&word).map_err(|problem| self.refused_at(at, problem))
            }
            other => {
                let shown = other.shown();
                let problem = format!(
                    "a field must stand here, not {shown}: Status, WorkflowId, WorkflowType, TaskQueue, RunId, StartTime, \
                     CloseTime, ExecutionDuration, HistoryLength, or the name of a search attribute"
                );
                Err(self.refused_at(at, problem))
            }
        }
    }

    fn compared(&mut self, field: &Field, shape: Shape) -> Read<Condition> {
        let at = self.at;
        let value = self.value()?;
        field.test(shape, &[value]).map_err(|problem| self.refused_at(at, problem))
    }

    /// Reads a list of values in brackets; gives the place of the first.
    fn values(&mut self) -> Read<(Vec<Literal>, usize)> {
        self.needs_symbol("(")?;
        let at = self.at;
        let mut values = vec![self.value()?];
        while self.takes_symbol(",") {
            values.push(self.value()?);
        }
        self.needs_symbol(")")?;
        Ok((values, at))
    }

    fn value(&mut self) -> Read<Literal> {
        self.values += 1;
        if self.values > FILTER_VALUES_MAX {
            let problem = format!("it compares with more than {FILTER_VALUES_MAX} values: ask in several lists");
            return Err(self.refused(problem));
        }
        let at = self.at;
        match self.next() {
            Token::Text(text) => Ok(Literal::Text(text)),
            Token::Number(number) if number.parse::<f64>().is_ok_and(f64::is_finite) => Ok(Literal::Number(number)),
            Token::Number(number) => Err(self.refused_at(at, format!("`{number}` is no number"))),
            Token::Word(word) if word.eq_ignore_ascii_case("true") => Ok(Literal::Bool(true)),
            Token::Word(word) if word.eq_ignore_ascii_case("false") => Ok(Literal::Bool(false)),
            Token::Word(word) if word.eq_ignore_ascii_case("null") => {
                Err(self.refused_at(at, "nothing equals NULL: write IS NULL or IS NOT NULL".to_owned()))
            }
            Token::Word(word) => {
                Err(self.refused_at(at, format!("a value must stand here: a text needs quotes, such as '{word}'")))
            }
            other => {
                let shown = other.shown();
                let problem =
                    format!("a value must stand here, not {shown}: a text in quotes, a number, true or false");
                Err(self.refused_at(at, problem))
            }
        }
    }

    fn order(&mut self) -> Read<Order> {
        self.needs("BY")?;
        let at = self.at;
        let by = self.field()?.order().map_err(|problem| self.refused_at(at, problem))?;
        let descending = if self.takes("DESC") {
            true
        } else {
            self.takes("ASC");
            false
        };
        if *self.peek() == Token::Symbol(",") {
            let problem = "a list is ordered by one field, and where that is equal by the run id";
            return Err(self.refused(problem.to_owned()));
        }
        Ok(Order { by, descending })
    }
}
