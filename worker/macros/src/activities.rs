//! `#[activities]`: methods become functions that return an `ActivityFuture`, their host learns to register them.

use proc_macro2::{Delimiter, Group, Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Attribute, Error, FnArg, Generics, ImplItem, LitStr, Meta, PatType, ReceiverKind, Result, Token, Type, braced,
    parse::{Parse, ParseStream, discouraged::Speculative},
    spanned::Spanned,
};

use crate::{
    activity_options::ActivityOptions,
    function::{Argument, Function, body_future, cfgs, combine, located, type_checks},
    settings::Settings,
};

const WHAT: &str = "an activity";

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    match declare(options, item.clone()) {
        Ok(tokens) => tokens,
        Err(error) => {
            let error = error.to_compile_error();
            let item = without_activity_attributes(item);
            quote!(#error #item)
        }
    }
}

/// An inherent `impl` block whose method bodies are unparsed.
struct Block {
    attrs: Vec<Attribute>,
    host: Type,
    inner_attrs: Vec<Attribute>,
    members: Vec<Member>,
}

enum Member {
    Activity(Box<Activity>),
    Other(TokenStream),
}

/// A method with `#[activity]`, which is taken off it.
struct Activity {
    method: Function,
    options: ActivityOptions,
}

impl Parse for Block {
    fn parse(input: ParseStream) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let impl_token = input
            .parse::<Token![impl]>()
            .map_err(|_| Error::new(input.span(), "`#[activities]` goes on an `impl` block"))?;
        let generics: Generics = input.parse()?;
        if !generics.params.is_empty() {
            return Err(Error::new(generics.span(), "activities cannot be generic: name the host's concrete type"));
        }
        let host: Type = input.parse()?;
        if input.peek(Token![for]) {
            return Err(Error::new(
                impl_token.span,
                "`#[activities]` goes on an `impl` block of the type itself, not of a trait",
            ));
        }
        if input.peek(Token![where]) {
            return Err(input.error("activities cannot be generic: remove the `where` clause"));
        }
        let content;
        braced!(content in input);
        let inner_attrs = content.call(Attribute::parse_inner)?;
        let mut members = Vec::new();
        let mut errors = Vec::new();
        while !content.is_empty() {
            match Member::parse(&content)? {
                Ok(member) => members.push(member),
                Err(error) => errors.push(error),
            }
        }
        match combine(errors) {
            Some(error) => Err(error),
            None => Ok(Self { attrs, host, inner_attrs, members }),
        }
    }
}

impl Member {
    /// Parses one member; the inner error leaves the rest of the block readable.
    fn parse(content: ParseStream) -> Result<Result<Self>> {
        let ahead = content.fork();
        let Ok(mut method) = ahead.parse::<Function>() else {
            let item: ImplItem = content.parse()?;
            return Ok(Ok(Self::Other(item.into_token_stream())));
        };
        content.advance_to(&ahead);
        let (activity, others) = method.attrs.into_iter().partition::<Vec<_>, _>(is_activity);
        method.attrs = others;
        let Some(attribute) = activity.first() else {
            let Function { attrs, vis, sig, body } = method;
            return Ok(Ok(Self::Other(quote!(#(#attrs)* #vis #sig #body))));
        };
        if let Some(second) = activity.get(1) {
            return Ok(Err(Error::new(second.span(), "`#[activity]` is given twice")));
        }
        let tokens = match &attribute.meta {
            Meta::Path(_) => TokenStream::new(),
            Meta::List(list) => list.tokens.clone(),
            Meta::NameValue(pair) => {
                return Ok(Err(Error::new(pair.span(), "options go in parentheses: `#[activity(name = \"…\")]`")));
            }
        };
        Ok(ActivityOptions::parse(tokens, &method.sig.ident)
            .map(|options| Self::Activity(Box::new(Activity { method, options }))))
    }
}

fn is_activity(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == "activity")
}

fn declare(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let private = Settings::parse(options, &["crate"])?.private_path()?;
    let Block { attrs, host, inner_attrs, members } = syn::parse2(item)?;
    let mut slots = 0;
    let mut methods = Vec::new();
    let mut registrations = Vec::new();
    let mut metas = Vec::new();
    let mut errors = Vec::new();
    let cfgs = cfgs(&attrs);
    let cfgs = quote!(#(#cfgs)*);
    for member in &members {
        match member {
            Member::Other(tokens) => methods.push(tokens.clone()),
            Member::Activity(activity) => {
                let slot = Literal::usize_unsuffixed(slots);
                slots += 1;
                registrations.push(activity.registration());
                let meta = activity.meta(&private, &host, &slot);
                metas.push(quote!(#cfgs #meta));
                match activity.method(&private, &slot) {
                    Ok(tokens) => methods.push(tokens),
                    Err(error) => errors.push(error),
                }
            }
        }
    }
    if slots == 0 {
        errors.push(Error::new(
            host.span(),
            "no method of this block is an activity: put `#[activity]` on those that are",
        ));
    }
    if let Some(error) = combine(errors) {
        return Err(error);
    }
    Ok(quote! {
        #(#attrs)*
        impl #host {
            #(#inner_attrs)*
            #(#methods)*
        }

        #(#metas)*

        #cfgs
        impl #private::ActivitiesHost for #host {
            fn register(
                self: #private::Arc<Self>,
                table: &mut #private::ActivityTable,
            ) -> ::core::result::Result<(), #private::RegistrationError> {
                #(#registrations)*
                ::core::result::Result::Ok(())
            }
        }
    })
}

impl Activity {
    /// Builds the method that returns an `ActivityFuture`.
    fn method(&self, private: &TokenStream, slot: &Literal) -> Result<TokenStream> {
        let output = self.method.async_return_type(WHAT)?;
        let Function { attrs, vis, sig, body } = &self.method;
        let (context, input) = self.arguments()?;
        let Type::Reference(context_reference) = context.ty.as_ref() else {
            return Err(Error::new(context.ty.span(), "an activity borrows its context: `ctx: &ActivityContext`"));
        };
        let context_type = &context_reference.elem;
        let context = Argument::new(context, "__context");
        let input = input.map(|input| Argument::new(input, "__input"));
        let rebinds: Vec<_> = std::iter::once(&context.rebind).chain(input.iter().map(|input| &input.rebind)).collect();
        let future = body_future(body, output, &rebinds);
        let checks = type_checks(private, input.as_ref().map(|input| &input.ty), output, "ActivityError");
        let ident = &sig.ident;
        let context_name = &context.name;
        let input = input.iter().map(|Argument { name, ty, .. }| quote!(#name: #ty));
        // At the method's name, where the compiler then says it when the future is not `Send`.
        let private_here = located(private, ident.span());
        let future = quote_spanned!(Span::call_site().located_at(ident.span())=>
            #private_here::ActivityFuture::new(#future)
        );
        Ok(quote! {
            #(#attrs)*
            #vis fn #ident<'activity>(
                &'activity self,
                #context_name: &'activity #context_type,
                #(#input)*
            ) -> #private::ActivityFuture<'activity, Self, #slot, #output> {
                #checks
                #future
            }
        })
    }

    /// Builds the constant that carries the name and the options.
    fn meta(&self, private: &TokenStream, host: &Type, slot: &Literal) -> TokenStream {
        let cfgs = self.method.cfgs();
        let name = LitStr::new(&self.options.name, self.method.sig.ident.span());
        let setters = &self.options.setters;
        let timeout = if self.options.has_timeout { quote!(HasTimeout) } else { quote!(NoTimeout) };
        quote! {
            #(#cfgs)*
            impl #private::ActivityMeta<#slot> for #host {
                type Timeout = #private::#timeout;
                const META: #private::Meta = #private::Meta::new(#name)#setters;
            }
        }
    }

    /// Builds the statement that adds the activity to a table.
    fn registration(&self) -> TokenStream {
        let cfgs = self.method.cfgs();
        let ident = &self.method.sig.ident;
        quote!(#(#cfgs)* table.add(&self, Self::#ident)?;)
    }

    /// Gives the context and the input.
    fn arguments(&self) -> Result<(&PatType, Option<&PatType>)> {
        let sig = &self.method.sig;
        let mut inputs = sig.inputs.iter();
        let shared_self = matches!(
            inputs.next(),
            Some(FnArg::Receiver(receiver)) if matches!(receiver.kind, ReceiverKind::Reference(_, None, None))
        );
        if !shared_self {
            return Err(Error::new(sig.paren_token.span.open(), "an activity borrows its host: `&self` comes first"));
        }
        let mut typed = inputs.filter_map(|input| match input {
            FnArg::Typed(argument) => Some(argument),
            FnArg::Receiver(_) => None,
        });
        let context = typed.next().ok_or_else(|| {
            Error::new(
                sig.paren_token.span.close(),
                "an activity takes its context after `&self`: `ctx: &ActivityContext`",
            )
        })?;
        let input = typed.next();
        if let Some(second) = typed.next() {
            return Err(Error::new(second.span(), "an activity has one input: put the values in a struct"));
        }
        if let Some(Type::Reference(reference)) = input.map(|input| input.ty.as_ref()) {
            return Err(Error::new(reference.span(), "an activity owns its input: take it by value"));
        }
        Ok((context, input))
    }
}

/// Takes `#[activity]` off the methods, on tokens, because this runs where the item could not be parsed.
fn without_activity_attributes(item: TokenStream) -> TokenStream {
    item.into_iter()
        .map(|tree| match tree {
            TokenTree::Group(block) if block.delimiter() == Delimiter::Brace => {
                let mut kept = Vec::new();
                for tree in block.stream() {
                    let opens_attribute =
                        matches!(kept.last(), Some(TokenTree::Punct(punct)) if punct.as_char() == '#');
                    if opens_attribute && names_activity(&tree) {
                        kept.pop();
                    } else {
                        kept.push(tree);
                    }
                }
                let mut stripped = Group::new(Delimiter::Brace, kept.into_iter().collect());
                stripped.set_span(block.span());
                TokenTree::Group(stripped)
            }
            other => other,
        })
        .collect()
}

/// Tells whether a tree is `[activity]`, `[activity(…)]` or one of them with a path.
fn names_activity(tree: &TokenTree) -> bool {
    let TokenTree::Group(group) = tree else { return false };
    let path = group.stream().into_iter().take_while(|tree| matches!(tree, TokenTree::Ident(_) | TokenTree::Punct(_)));
    matches!(path.last(), Some(TokenTree::Ident(ident)) if ident == "activity")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(method: TokenStream) -> String {
        declare(TokenStream::new(), quote!(impl Host { #[activity] #method })).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_an_activity_is_refused_with_what_to_write() {
        assert_eq!(
            error(quote!(
                fn a(&self, ctx: &C) -> R {}
            )),
            "an activity is an `async fn`"
        );
        assert!(
            error(quote!(
                async fn a(ctx: &C) -> R {}
            ))
            .contains("`&self` comes first")
        );
        assert!(
            error(quote!(
                async fn a(&mut self, ctx: &C) -> R {}
            ))
            .contains("`&self` comes first")
        );
        assert!(
            error(quote!(
                async fn a(&self) -> R {}
            ))
            .contains("after `&self`")
        );
        assert!(
            error(quote!(
                async fn a(&self, ctx: C) -> R {}
            ))
            .contains("`ctx: &ActivityContext`")
        );
        assert!(
            error(quote!(
                async fn a(&self, ctx: &C, a: u8, b: u8) -> R {}
            ))
            .contains("in a struct")
        );
        assert!(
            error(quote!(
                async fn a(&self, ctx: &C, a: &str) -> R {}
            ))
            .contains("owns its input")
        );
        assert!(
            error(quote!(
                async fn a(&self, ctx: &C) {}
            ))
            .contains("returns a `Result`")
        );
    }

    #[test]
    fn only_an_inherent_block_with_an_activity_is_one() {
        let error = |item| declare(TokenStream::new(), item).unwrap_err().to_string();
        assert!(error(quote!(impl Host { fn a() {} })).contains("no method"));
        assert!(error(quote!(impl Trait for Host {})).contains("not of a trait"));
        assert!(
            error(quote!(
                impl<T> Host<T> {}
            ))
            .contains("cannot be generic")
        );
        assert!(
            error(quote!(
                struct Host;
            ))
            .contains("goes on an `impl` block")
        );
    }

    #[test]
    fn the_errors_of_all_methods_are_said_at_once() {
        let item = quote!(impl Host {
            #[activity(timeout = "1s")] async fn a(&self, ctx: &C) -> R {}
            #[activity(heartbeat = "1")] async fn b(&self, ctx: &C) -> R {}
        });
        assert_eq!(declare(TokenStream::new(), item).unwrap_err().into_iter().count(), 2);
    }

    #[test]
    fn the_original_stands_beside_an_error_without_the_inner_attribute() {
        let item = quote!(impl Host {
            #[doc = "kept"] #[activity(timeout = "1s")] async fn a(&self, ctx: &C) -> R { x. }
            #[dacapo::activity] async fn b(&self) -> R {}
        });
        let original = quote!(impl Host {
            #[doc = "kept"] async fn a(&self, ctx: &C) -> R { x. }
            async fn b(&self) -> R {}
        });
        let expanded = expand(TokenStream::new(), item).to_string();
        assert!(expanded.contains("compile_error") && expanded.ends_with(&original.to_string()), "{expanded}");
    }

    #[test]
    fn a_cfg_is_copied_to_all_that_is_generated() {
        let item = quote!(impl Host { #[activity] #[cfg(feature = "x")] async fn a(&self, ctx: &C) -> R {} });
        let expanded = declare(TokenStream::new(), item).unwrap().to_string();
        assert_eq!(expanded.matches("cfg (feature = \"x\")").count(), 3, "{expanded}");
    }
}
