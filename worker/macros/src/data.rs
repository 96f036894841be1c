//! `#[data]`: the serde derives, by way of Dacapo's own copy of serde.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Result};

use crate::settings::Settings;

pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    match derive(options, &item) {
        Ok(tokens) => tokens,
        Err(error) => {
            let error = error.to_compile_error();
            quote!(#error #item)
        }
    }
}

fn derive(options: TokenStream, item: &TokenStream) -> Result<TokenStream> {
    let private = Settings::parse(options, &["crate"])?.private_path()?;
    syn::parse2::<DeriveInput>(item.clone())?;
    let serde = quote!(#private::serde).to_string().replace(' ', "");
    Ok(quote! {
        #[derive(#private::serde::Serialize, #private::serde::Deserialize)]
        #[serde(crate = #serde)]
        #item
    })
}
