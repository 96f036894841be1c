//! Patterns of `select!`: whether one always matches, and the same test without its bindings.

use syn::{Ident, Pat, PatWild, Token, ext::IdentExt};

/// Tells whether a pattern matches every value, as far as its form shows; a struct's pattern may be an enum's too.
pub(crate) fn always_matches(pattern: &Pat) -> bool {
    match pattern {
        Pat::Wild(_) | Pat::Rest(_) => true,
        Pat::Ident(ident) => match &ident.subpat {
            Some((_, inner)) => always_matches(inner),
            None => is_binding(&ident.ident),
        },
        Pat::Paren(paren) => always_matches(&paren.pat),
        Pat::Reference(reference) => always_matches(&reference.pat),
        Pat::Tuple(tuple) => tuple.elems.iter().all(always_matches),
        Pat::Type(typed) => always_matches(&typed.pat),
        _ => false,
    }
}

/// Puts `_` in the place of every binding: matching against what is left moves nothing.
pub(crate) fn remove_bindings(pattern: &mut Pat) {
    match pattern {
        Pat::Ident(ident) => match ident.subpat.take() {
            Some((_, mut inner)) => {
                remove_bindings(&mut inner);
                *pattern = *inner;
            }
            None if is_binding(&ident.ident) => *pattern = wild(),
            None => {}
        },
        Pat::Or(or) => or.cases.iter_mut().for_each(remove_bindings),
        Pat::Paren(paren) => remove_bindings(&mut paren.pat),
        Pat::Reference(reference) => remove_bindings(&mut reference.pat),
        Pat::Slice(slice) => slice.elems.iter_mut().for_each(remove_bindings),
        Pat::Struct(structure) => {
            for field in &mut structure.fields {
                // `Order { id }` is short for `Order { id: id }`, which has a place for the `_`.
                if field.colon_token.is_none() {
                    field.colon_token = Some(<Token![:]>::default());
                    *field.pat = wild();
                } else {
                    remove_bindings(&mut field.pat);
                }
            }
        }
        Pat::Tuple(tuple) => tuple.elems.iter_mut().for_each(remove_bindings),
        Pat::TupleStruct(structure) => structure.elems.iter_mut().for_each(remove_bindings),
        Pat::Type(typed) => remove_bindings(&mut typed.pat),
        _ => {}
    }
}

/// Tells bindings from constants and variants (`None`), which only their case tells apart here.
fn is_binding(ident: &Ident) -> bool {
    !ident.unraw().to_string().trim_start_matches('_').starts_with(char::is_uppercase)
}

fn wild() -> Pat {
    Pat::Wild(PatWild { attrs: Vec::new(), underscore_token: <Token![_]>::default() })
}

#[cfg(test)]
mod tests {
    use quote::{ToTokens, quote};
    use syn::parse::Parser;

    use super::*;

    fn parse(tokens: proc_macro2::TokenStream) -> Pat {
        Pat::parse_multi_with_leading_vert.parse2(tokens).unwrap()
    }

    #[test]
    fn the_form_shows_which_patterns_always_match() {
        for tokens in [
            quote!(a),
            quote!(_),
            quote!(mut a),
            quote!((a, _)),
            quote!(_a),
            quote!(a @ _),
            quote!(&a),
            quote!((a, ..)),
        ] {
            assert!(always_matches(&parse(tokens.clone())), "{tokens}");
        }
        for tokens in [
            quote!(None),
            quote!(Some(a)),
            quote!(3),
            quote!(LIMIT),
            quote!((a, None)),
            quote!(a @ 1..=3),
            quote!(A | B),
        ] {
            assert!(!always_matches(&parse(tokens.clone())), "{tokens}");
        }
    }

    #[test]
    fn bindings_become_wildcards_and_the_test_stays() {
        for (written, left) in [
            (quote!(Some(a)), quote!(Some(_))),
            (quote!(Some(ref mut a)), quote!(Some(_))),
            (quote!(Order { id, ref b, c: Some(d), .. }), quote!(Order { id: _, b: _, c: Some(_), .. })),
            (quote!([first, rest @ ..]), quote!([_, ..])),
            (quote!(a @ (1 | 2)), quote!((1 | 2))),
            (quote!(Ok(None) | Err(e)), quote!(Ok(None) | Err(_))),
            (quote!((&a, LIMIT)), quote!((&_, LIMIT))),
        ] {
            let mut pattern = parse(written);
            remove_bindings(&mut pattern);
            assert_eq!(pattern.to_token_stream().to_string(), left.to_string());
        }
    }
}
