//! The options of an attribute: `key = value` pairs, checked against the keys that the attribute knows.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Error, Ident, LitFloat, LitInt, LitStr, Path, Result, Token, bracketed,
    ext::IdentExt,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
    token,
};

/// The options given to one attribute.
pub(crate) struct Settings(Vec<Setting>);

struct Setting {
    key: Ident,
    value: Value,
}

enum Value {
    Text(LitStr),
    Integer(LitInt),
    Float(LitFloat),
    List(Vec<LitStr>),
    /// The key alone.
    Flag,
}

impl Settings {
    /// Parses the tokens between an attribute's parentheses; `known` are the keys that it has.
    pub(crate) fn parse(tokens: TokenStream, known: &[&str]) -> Result<Self> {
        let settings = Punctuated::<Setting, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut seen: Vec<Setting> = Vec::new();
        for setting in settings {
            if !known.iter().any(|key| setting.key == key) {
                let known = known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
                return Err(Error::new(
                    setting.key.span(),
                    format!("unknown option `{}`; there is: {known}", setting.key),
                ));
            }
            if seen.iter().any(|other| other.key == setting.key) {
                return Err(Error::new(setting.key.span(), format!("option `{}` is given twice", setting.key)));
            }
            seen.push(setting);
        }
        Ok(Self(seen))
    }

    /// Gives the path of what the generated code uses: `__private` of `dacapo`, or of the crate that `crate` names.
    pub(crate) fn private_path(&self) -> Result<TokenStream> {
        match self.text("crate")? {
            Some(text) => {
                let path = text.parse_with(Path::parse_mod_style)?;
                Ok(quote!(#path::__private))
            }
            None => Ok(quote!(::dacapo::__private)),
        }
    }

    /// Gives the text of an option.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&LitStr>> {
        match self.value(key) {
            None => Ok(None),
            Some((_, Value::Text(text))) => Ok(Some(text)),
            Some((key, _)) => Err(Error::new(key.span(), format!("`{key}` takes a text: `{key} = \"…\"`"))),
        }
    }

    /// Gives the name under which something is stored, when one is given.
    pub(crate) fn name(&self) -> Result<Option<&LitStr>> {
        let name = self.text("name")?;
        match name {
            Some(text) if text.value().trim().is_empty() => Err(Error::new(text.span(), "a name cannot be empty")),
            _ => Ok(name),
        }
    }

    /// Gives the whole number of an option.
    pub(crate) fn integer(&self, key: &str) -> Result<Option<&LitInt>> {
        match self.value(key) {
            None => Ok(None),
            Some((_, Value::Integer(number))) => Ok(Some(number)),
            Some((key, _)) => Err(Error::new(key.span(), format!("`{key}` takes a whole number: `{key} = 5`"))),
        }
    }

    /// Gives the number of an option, which may be written as a whole one, and where it stands.
    pub(crate) fn number(&self, key: &str) -> Result<Option<(f64, proc_macro2::Span)>> {
        match self.value(key) {
            None => Ok(None),
            Some((_, Value::Integer(number))) => Ok(Some((number.base10_parse()?, number.span()))),
            Some((_, Value::Float(number))) => Ok(Some((number.base10_parse()?, number.span()))),
            Some((key, _)) => Err(Error::new(key.span(), format!("`{key}` takes a number: `{key} = 2.0`"))),
        }
    }

    /// Gives the texts of an option.
    pub(crate) fn list(&self, key: &str) -> Result<&[LitStr]> {
        match self.value(key) {
            None => Ok(&[]),
            Some((_, Value::List(texts))) => Ok(texts),
            Some((key, _)) => Err(Error::new(key.span(), format!("`{key}` takes a list: `{key} = [\"…\", \"…\"]`"))),
        }
    }

    /// Tells whether an option without a value is there.
    pub(crate) fn flag(&self, key: &str) -> Result<bool> {
        match self.value(key) {
            None => Ok(false),
            Some((_, Value::Flag)) => Ok(true),
            Some((key, _)) => Err(Error::new(key.span(), format!("`{key}` takes no value: write `{key}` alone"))),
        }
    }

    fn value(&self, key: &str) -> Option<(&Ident, &Value)> {
        self.0.iter().find(|setting| setting.key == key).map(|setting| (&setting.key, &setting.value))
    }
}

impl Parse for Setting {
    fn parse(input: ParseStream) -> Result<Self> {
        let key = input.call(Ident::parse_any)?;
        if input.is_empty() || input.peek(Token![,]) {
            return Ok(Self { key, value: Value::Flag });
        }
        input.parse::<Token![=]>()?;
        Ok(Self { key, value: input.parse()? })
    }
}

impl Parse for Value {
    fn parse(input: ParseStream) -> Result<Self> {
        if input.peek(LitStr) {
            return Ok(Self::Text(input.parse()?));
        }
        if input.peek(LitInt) {
            return Ok(Self::Integer(input.parse()?));
        }
        if input.peek(LitFloat) {
            return Ok(Self::Float(input.parse()?));
        }
        if input.peek(token::Bracket) {
            let texts;
            bracketed!(texts in input);
            let texts = Punctuated::<LitStr, Token![,]>::parse_terminated(&texts)?;
            return Ok(Self::List(texts.into_iter().collect()));
        }
        Err(input.error("expected a text, a number or a list of texts"))
    }
}
