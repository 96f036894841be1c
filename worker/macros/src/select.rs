//! `select!`: the first of several futures, polled in the order written.

use proc_macro2::{Group, Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{
    Error, Expr, Pat, Result, Token,
    parse::{Parse, ParseStream},
    spanned::Spanned,
    token,
};

use crate::pattern::{always_matches, remove_bindings};

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    match syn::parse2::<Select>(input) {
        Ok(select) => select.tokens(),
        Err(error) => {
            let error = error.to_compile_error();
            quote!({ #error })
        }
    }
}

struct Select {
    branches: Vec<Branch>,
    otherwise: Option<TokenStream>,
}

/// `pattern = future, if guard => arm`.
struct Branch {
    pattern: Pat,
    future: Expr,
    guard: Option<Expr>,
    arm: TokenStream,
}

impl Parse for Select {
    fn parse(input: ParseStream) -> Result<Self> {
        let mut branches = Vec::new();
        let mut otherwise = None;
        while !input.is_empty() {
            if input.peek(Token![else]) {
                let token: Token![else] = input.parse()?;
                input.parse::<Token![=>]>()?;
                otherwise = Some(parse_arm(input)?);
                if !input.is_empty() {
                    return Err(Error::new(token.span, "`else` is the last branch of `select!`"));
                }
            } else {
                branches.push(input.parse()?);
            }
        }
        if branches.is_empty() {
            return Err(input.error("`select!` needs a branch: `value = future => expression`"));
        }
        Ok(Self { branches, otherwise })
    }
}

impl Parse for Branch {
    fn parse(input: ParseStream) -> Result<Self> {
        let pattern = Pat::parse_multi_with_leading_vert(input)?;
        if input.peek(Token![;]) && pattern.to_token_stream().to_string() == "biased" {
            return Err(Error::new(
                pattern.span(),
                "remove `biased;`: this `select!` always polls in the order written",
            ));
        }
        input.parse::<Token![=]>()?;
        let future = input.parse()?;
        let guard = if input.peek(Token![,]) {
            input.parse::<Token![,]>()?;
            input.parse::<Token![if]>()?;
            Some(input.parse()?)
        } else {
            None
        };
        input.parse::<Token![=>]>()?;
        Ok(Self { pattern, future, guard, arm: parse_arm(input)? })
    }
}

/// Parses an arm with its comma, which only the last one and blocks can go without.
fn parse_arm(input: ParseStream) -> Result<TokenStream> {
    if input.peek(token::Brace) {
        let block: Group = input.parse()?;
        input.parse::<Option<Token![,]>>()?;
        return Ok(block.into_token_stream());
    }
    let arm: Expr = input.parse()?;
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok(arm.into_token_stream())
}

impl Select {
    /// Builds the block: the futures live in an inner one, so that they are gone when the arm runs.
    fn tokens(&self) -> TokenStream {
        let numbers = || 0..self.branches.len();
        let types: Vec<_> = numbers().map(|number| local(&format!("T{number}"))).collect();
        let variants: Vec<_> = numbers().map(|number| local(&format!("Branch{number}"))).collect();
        let futures: Vec<_> = numbers().map(|number| local(&format!("__future{number}"))).collect();
        let guards: Vec<_> = numbers().map(|number| local(&format!("__guard{number}"))).collect();
        let context = local("__context");
        let pending = local("__pending");
        let selected = local("__selected");

        let evaluated = self.branches.iter().zip(&guards).filter_map(|(branch, guard)| {
            branch.guard.as_ref().map(|condition| quote!(let #guard: bool = #condition;))
        });
        let made = self.branches.iter().zip(&guards).zip(&futures).map(|((branch, guard), future)| {
            let value = into_future(&branch.future);
            let value = match branch.guard {
                Some(_) => {
                    quote!(if #guard { ::core::option::Option::Some(#value) } else { ::core::option::Option::None })
                }
                None => quote!(::core::option::Option::Some(#value)),
            };
            quote!(let mut #future = ::core::pin::pin!(#value);)
        });
        let polled = self
            .branches
            .iter()
            .zip(&futures)
            .zip(&variants)
            .map(|((branch, future), variant)| branch.poll(future, variant, &context, &pending));
        let arms = self.branches.iter().zip(&variants).map(|(branch, variant)| {
            let Branch { pattern, arm, .. } = branch;
            quote!(__DacapoSelected::#variant(#pattern) => #arm,)
        });
        let unmatched = self.branches.iter().any(|branch| !always_matches(&branch.pattern)).then(|| {
            quote! {
                #[allow(unreachable_patterns)]
                _ => ::core::unreachable!("select! takes a branch only when its pattern matches"),
            }
        });
        let otherwise = self.otherwise.clone().unwrap_or_else(|| {
            quote!(::core::panic!("every branch of select! is disabled and it has no `else` branch"))
        });
        quote! {{
            enum __DacapoSelected<#(#types),*> {
                #(#variants(#types),)*
                Disabled,
            }
            let #selected = {
                #(#evaluated)*
                #(#made)*
                ::core::future::poll_fn(|#context| {
                    let mut #pending = false;
                    #(#polled)*
                    if #pending {
                        ::core::task::Poll::Pending
                    } else {
                        ::core::task::Poll::Ready(__DacapoSelected::Disabled)
                    }
                })
                .await
            };
            match #selected {
                #(#arms)*
                __DacapoSelected::Disabled => #otherwise,
                #unmatched
            }
        }}
    }
}

impl Branch {
    /// Builds the polling of this branch's future; a value that does not match disables the branch.
    fn poll(&self, future: &Ident, variant: &Ident, context: &Ident, pending: &Ident) -> TokenStream {
        let value = local("__value");
        let mut polled = local("__polled");
        polled.set_span(polled.span().located_at(self.future.span()));
        let take = quote!(return ::core::task::Poll::Ready(__DacapoSelected::#variant(#value)););
        let take = if always_matches(&self.pattern) {
            take
        } else {
            let mut pattern = self.pattern.clone();
            remove_bindings(&mut pattern);
            quote! {
                let matches = match #value {
                    #pattern => true,
                    #[allow(unreachable_patterns)]
                    _ => false,
                };
                if matches {
                    #take
                }
            }
        };
        // At the user's expression, where the compiler has already said it when this is no future.
        let at_future = Span::mixed_site().located_at(self.future.span());
        let poll = quote_spanned!(at_future=> ::core::future::Future::poll(#polled, #context));
        quote! {
            if let ::core::option::Option::Some(#polled) = #future.as_mut().as_pin_mut() {
                match #poll {
                    ::core::task::Poll::Ready(#value) => {
                        #future.set(::core::option::Option::None);
                        #take
                    }
                    ::core::task::Poll::Pending => #pending = true,
                }
            }
        }
    }
}

/// Makes a future of an expression; what is none is said at the expression.
pub(crate) fn into_future(expression: &Expr) -> TokenStream {
    let span = Span::mixed_site().located_at(expression.span());
    quote_spanned!(span=> ::core::future::IntoFuture::into_future(#expression))
}

/// A name that code of the user neither sees nor hides.
pub(crate) fn local(name: &str) -> Ident {
    format_ident!("{name}", span = Span::mixed_site())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(tokens: TokenStream) -> std::result::Result<Select, String> {
        syn::parse2(tokens).map_err(|error| error.to_string())
    }

    #[test]
    fn commas_after_blocks_and_last_arms_are_optional() {
        let select = parse(quote! {
            a = first() => { a }
            Some(b) = second(), if ready && open => b,
            _ = third => return Err(x),
            else => 4
        });
        let select = select.unwrap();
        assert_eq!(select.branches.len(), 3);
        assert!(select.branches[1].guard.is_some() && select.otherwise.is_some());
    }

    #[test]
    fn what_is_no_select_is_refused() {
        assert!(parse(quote!()).err().unwrap().contains("needs a branch"));
        assert!(parse(quote!(else => 1)).err().unwrap().contains("needs a branch"));
        assert!(parse(quote!(else => 1, a = b => c)).err().unwrap().contains("the last branch"));
        assert!(parse(quote!(biased; a = b => c)).err().unwrap().contains("remove `biased;`"));
        assert!(parse(quote!(a = b => c d = e => f)).is_err());
    }
}
