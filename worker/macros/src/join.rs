//! `join!` and `try_join!`: all of several futures, polled in the order written.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Expr, Token, parse::Parser, punctuated::Punctuated};

use crate::select::{into_future, local};

/// What becomes of the futures' values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They are given as they are.
    Plain,
    /// They are `Result`s: the first error ends the wait.
    Fallible,
}

pub(crate) fn expand(input: TokenStream, kind: Kind) -> TokenStream {
    match Punctuated::<Expr, Token![,]>::parse_terminated.parse2(input) {
        Ok(expressions) if expressions.is_empty() && kind == Kind::Fallible => {
            refusal(Error::new(proc_macro2::Span::call_site(), "`try_join!` needs a future"))
        }
        Ok(expressions) => tokens(&expressions.into_iter().collect::<Vec<_>>(), kind),
        Err(error) => refusal(error),
    }
}

fn refusal(error: Error) -> TokenStream {
    let error = error.to_compile_error();
    quote!({ #error })
}

fn tokens(expressions: &[Expr], kind: Kind) -> TokenStream {
    let numbers = || 0..expressions.len();
    let futures: Vec<_> = numbers().map(|number| local(&format!("__future{number}"))).collect();
    let outputs: Vec<_> = numbers().map(|number| local(&format!("__output{number}"))).collect();
    let context = local("__context");
    let pending = local("__pending");
    let polled = local("__polled");
    let value = local("__value");

    let made = expressions.iter().zip(&futures).map(|(expression, future)| {
        let value = into_future(expression);
        quote!(let mut #future = ::core::pin::pin!(::core::option::Option::Some(#value));)
    });
    let unwrapped = match kind {
        Kind::Plain => TokenStream::new(),
        Kind::Fallible => quote! {
            let #value = match #value {
                ::core::result::Result::Ok(#value) => #value,
                ::core::result::Result::Err(#value) => {
                    return ::core::task::Poll::Ready(::core::result::Result::Err(#value));
                }
            };
        },
    };
    let all = match kind {
        Kind::Plain => quote!((#(#outputs,)*)),
        Kind::Fallible => quote!(::core::result::Result::Ok((#(#outputs,)*))),
    };
    quote! {{
        #(#made)*
        #(let mut #outputs = ::core::option::Option::None;)*
        ::core::future::poll_fn(|#context| {
            let mut #pending = false;
            #(
                if let ::core::option::Option::Some(#polled) = #futures.as_mut().as_pin_mut() {
                    match ::core::future::Future::poll(#polled, #context) {
                        ::core::task::Poll::Ready(#value) => {
                            #futures.set(::core::option::Option::None);
                            #unwrapped
                            #outputs = ::core::option::Option::Some(#value);
                        }
                        ::core::task::Poll::Pending => #pending = true,
                    }
                }
            )*
            if #pending {
                return ::core::task::Poll::Pending;
            }
            match (#(#outputs.take(),)*) {
                (#(::core::option::Option::Some(#outputs),)*) => ::core::task::Poll::Ready(#all),
                #[allow(unreachable_patterns)]
                _ => ::core::unreachable!("join! is polled after it was ready"),
            }
        })
        .await
    }}
}
