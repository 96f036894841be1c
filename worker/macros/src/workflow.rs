//! `#[workflow]`: an `async fn` becomes a function that returns a `Run`, and a type that carries its name.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Error, FnArg, LitStr, PatType, Result, Type, ext::IdentExt, spanned::Spanned};

use crate::{
    function::{Argument, Function, body_future, type_checks},
    settings::Settings,
};

const WHAT: &str = "a workflow";

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    match declare(options, item.clone()) {
        Ok(tokens) => tokens,
        Err(error) => {
            let error = error.to_compile_error();
            quote!(#error #item)
        }
    }
}

fn declare(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let settings = Settings::parse(options, &["name", "crate"])?;
    let private = settings.private_path()?;
    let function: Function = syn::parse2(item)?;
    let output = function.async_return_type(WHAT)?;
    let (context, input) = arguments(&function)?;

    let Function { attrs, vis, sig, body } = &function;
    let ident = &sig.ident;
    let name = settings.name()?.map_or_else(|| ident.unraw().to_string(), LitStr::value);
    let cfgs = function.cfgs();
    let marker = format_ident!("__workflow_{}", ident.unraw(), span = ident.span());

    let context = Argument::new(context, "__context");
    let input = input.map(|input| Argument::new(input, "__input"));
    let rebinds: Vec<_> = std::iter::once(&context.rebind).chain(input.iter().map(|input| &input.rebind)).collect();
    let future = body_future(body, output, &rebinds);
    let checks = type_checks(&private, input.as_ref().map(|input| &input.ty), output, "WorkflowError");
    let Argument { name: context_name, ty: context_type, .. } = &context;
    let input = input.iter().map(|Argument { name, ty, .. }| quote!(#name: #ty));
    let run = quote_spanned!(Span::call_site().located_at(output.span())=> #private::Run<#marker, #output>);

    Ok(quote! {
        #(#attrs)*
        #vis fn #ident(#context_name: #context_type, #(#input)*) -> #run {
            #checks
            #private::Run::new(#future)
        }

        #(#cfgs)*
        #[doc(hidden)]
        #[allow(non_camel_case_types, unreachable_pub)]
        #vis enum #marker {}

        #(#cfgs)*
        impl #private::WorkflowMeta for #marker {
            const NAME: &'static str = #name;
        }
    })
}

/// Gives the context and the input.
fn arguments(function: &Function) -> Result<(&PatType, Option<&PatType>)> {
    let mut typed = Vec::new();
    for input in &function.sig.inputs {
        match input {
            FnArg::Receiver(receiver) => {
                return Err(Error::new(receiver.span(), "a workflow is a free function: it has no `self`"));
            }
            FnArg::Typed(argument) => typed.push(argument),
        }
    }
    let (context, inputs) = typed.split_first().ok_or_else(|| {
        Error::new(function.sig.paren_token.span.join(), "a workflow takes its context first: `ctx: WorkflowContext`")
    })?;
    if let Type::Reference(reference) = context.ty.as_ref() {
        return Err(Error::new(reference.span(), "a workflow takes its context by value: `ctx: WorkflowContext`"));
    }
    if let Some(second) = inputs.get(1) {
        return Err(Error::new(second.span(), "a workflow has one input: put the values in a struct"));
    }
    let input = inputs.first().copied();
    if let Some(Type::Reference(reference)) = input.map(|input| input.ty.as_ref()) {
        return Err(Error::new(reference.span(), "a workflow owns its input: take it by value"));
    }
    Ok((context, input))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(item: TokenStream) -> String {
        declare(TokenStream::new(), item).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_a_workflow_is_refused_with_what_to_write() {
        assert_eq!(
            error(quote!(
                fn a(ctx: WorkflowContext) -> R {}
            )),
            "a workflow is an `async fn`"
        );
        assert!(
            error(quote!(
                async fn a<T>(ctx: WorkflowContext, t: T) -> R {}
            ))
            .contains("cannot be generic")
        );
        assert!(
            error(quote!(
                async fn a(ctx: WorkflowContext) {}
            ))
            .contains("returns a `Result`")
        );
        assert!(
            error(quote!(
                async fn a() -> R {}
            ))
            .contains("`ctx: WorkflowContext`")
        );
        assert!(
            error(quote!(
                async fn a(ctx: &WorkflowContext) -> R {}
            ))
            .contains("by value")
        );
        assert!(
            error(quote!(
                async fn a(ctx: WorkflowContext, a: u8, b: u8) -> R {}
            ))
            .contains("in a struct")
        );
        assert!(
            error(quote!(
                async fn a(ctx: WorkflowContext, a: &str) -> R {}
            ))
            .contains("owns its input")
        );
        assert!(
            error(quote!(
                async fn a(&self, ctx: WorkflowContext) -> R {}
            ))
            .contains("no `self`")
        );
    }

    #[test]
    fn all_that_is_wrong_with_a_signature_is_said_at_once() {
        let error = declare(
            TokenStream::new(),
            quote!(
                unsafe fn a<T>(ctx: WorkflowContext) {}
            ),
        )
        .unwrap_err();
        assert_eq!(error.into_iter().count(), 4);
    }

    #[test]
    fn the_original_stands_beside_an_error() {
        let item = quote!(fn a(ctx: WorkflowContext) -> R { half . });
        let expanded = expand(TokenStream::new(), item.clone()).to_string();
        assert!(expanded.contains("compile_error") && expanded.ends_with(&item.to_string()), "{expanded}");
    }

    #[test]
    fn a_half_typed_body_is_passed_on() {
        let expanded = declare(TokenStream::new(), quote!(async fn a(ctx: C) -> R { let x = ctx. ; })).unwrap();
        assert!(expanded.to_string().contains("{ let x = ctx . ; }"), "{expanded}");
    }
}
