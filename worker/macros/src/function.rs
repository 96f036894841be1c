//! An annotated function with its body as the tokens that were written.

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, Error, Ident, Pat, PatType, Result, ReturnType, Safety, Signature, Type, Visibility,
    parse::{Parse, ParseStream},
    spanned::Spanned,
};

/// A function or method as it was written, its body unparsed.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig = input.parse()?;
        let body: Group = input.parse()?;
        if body.delimiter() != Delimiter::Brace {
            return Err(Error::new(body.span(), "expected the function's body"));
        }
        Ok(Self { attrs, vis, sig, body })
    }
}

impl Function {
    /// Gives the `#[cfg]`s, which what is generated beside the function must carry too.
    pub(crate) fn cfgs(&self) -> Vec<&Attribute> {
        cfgs(&self.attrs)
    }

    /// Gives the return type of an `async fn` without generics; `what` it is to become is named in the error.
    pub(crate) fn async_return_type(&self, what: &str) -> Result<&Type> {
        let sig = &self.sig;
        let mut problems: Vec<Error> = Vec::new();
        let mut refuse = |span: Span, why: String| problems.push(Error::new(span, why));
        if sig.asyncness.is_none() {
            refuse(sig.fn_token.span, format!("{what} is an `async fn`"));
        }
        if let Some(token) = &sig.constness {
            refuse(token.span(), format!("{what} cannot be `const`"));
        }
        if let Safety::Unsafe(token) = &sig.safety {
            refuse(token.span(), format!("{what} cannot be `unsafe`"));
        }
        if let Some(abi) = &sig.abi {
            refuse(abi.span(), format!("{what} cannot be `extern`"));
        }
        if !sig.generics.params.is_empty() {
            refuse(
                sig.generics.span(),
                format!("{what} cannot be generic: its name stands for one input and one output type"),
            );
        } else if let Some(clause) = &sig.generics.where_clause {
            refuse(clause.span(), format!("{what} cannot be generic: remove the `where` clause"));
        }
        let output = match &sig.output {
            ReturnType::Type(_, ty) => Some(ty.as_ref()),
            ReturnType::Default => {
                refuse(sig.paren_token.span.close(), format!("{what} returns a `Result`: write `-> Result<…, …>`"));
                None
            }
        };
        match (combine(problems), output) {
            (None, Some(output)) => Ok(output),
            (problem, _) => {
                Err(problem.unwrap_or_else(|| Error::new(sig.span(), format!("{what} returns a `Result`"))))
            }
        }
    }
}

/// Gives the `#[cfg]`s among attributes.
pub(crate) fn cfgs(attrs: &[Attribute]) -> Vec<&Attribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect()
}

/// Joins errors into one that reports them all.
pub(crate) fn combine(errors: impl IntoIterator<Item = Error>) -> Option<Error> {
    errors.into_iter().reduce(|mut all, error| {
        all.combine(error);
        all
    })
}

/// An argument, split into the name it has in the signature and the pattern it is bound to in the body.
pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    /// Binds the pattern inside the body's future, which makes the future own the whole argument.
    pub(crate) rebind: TokenStream,
}

impl Argument {
    /// Splits an argument; `fallback` names one that is a pattern.
    pub(crate) fn new(argument: &PatType, fallback: &str) -> Self {
        let PatType { attrs, pat, ty, .. } = argument;
        let simple = match pat.as_ref() {
            Pat::Ident(ident) if ident.by_ref.is_none() && ident.subpat.is_none() => Some(ident.ident.clone()),
            _ => None,
        };
        let (name, rebind) = match simple {
            Some(name) => (name.clone(), quote!(#(#attrs)* let #pat = #name;)),
            None => {
                let name = format_ident!("{fallback}", span = Span::mixed_site());
                (name.clone(), quote!(let #name = #name; #(#attrs)* let #pat = #name;))
            }
        };
        Self { name, ty: ty.as_ref().clone(), rebind }
    }
}

/// Builds the future of a function's body: `async move { … }` whose value has the type that was written.
///
/// Without the `return` that is never taken and the typed `let`, a mismatch in the body would be reported at the
/// attribute, and closures in it would lack the expected type.
pub(crate) fn body_future(body: &Group, output: &Type, rebinds: &[&TokenStream]) -> TokenStream {
    let block = quote_spanned!(Span::mixed_site().located_at(body.span())=>
        async move {
            if let ::core::option::Option::Some(__output) = ::core::option::Option::None::<#output> {
                #[allow(unreachable_code)]
                return __output;
            }
            #(#rebinds)*
            #[allow(clippy::let_unit_value, clippy::diverging_sub_expression)]
            let __output: #output = #body;
            #[allow(unreachable_code)]
            __output
        }
    );
    block
}

/// Moves the tokens of a path to where errors about what it leads to belong.
pub(crate) fn located(path: &TokenStream, at: Span) -> TokenStream {
    path.clone()
        .into_iter()
        .map(|mut tree| {
            tree.set_span(tree.span().located_at(at));
            tree
        })
        .collect()
}

/// Builds the statements that say at the user's own types what is wrong with them.
pub(crate) fn type_checks(private: &TokenStream, input: Option<&Type>, output: &Type, error: &str) -> TokenStream {
    let error = Ident::new(error, Span::call_site());
    let at_output = Span::call_site().located_at(output.span());
    let output = quote_spanned!(at_output=> let _ = #private::assert_outcome::<#private::#error, #output>;);
    let input = input.map(|input| {
        let at_input = Span::call_site().located_at(input.span());
        quote_spanned!(at_input=> let _ = #private::assert_data::<#input>;)
    });
    quote!(#input #output)
}
