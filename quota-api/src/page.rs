//! Where a list goes on.

use axum::extract::{FromRequestParts, OriginalUri};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Uri, request::Parts};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::problem::Problem;

/// Parameters that may differ between the pages of one list.
const OF_A_PAGE: [&str; 3] = ["cursor", "limit", "format"];

/// What a list is of: cursors of others don't fit it.
#[derive(Clone, Debug)]
pub(crate) struct List(String);

impl<S: Send + Sync> FromRequestParts<S> for List {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let OriginalUri(uri) = OriginalUri::from_request_parts(parts, state).await?;
        Ok(Self::of(&uri))
    }
}

impl List {
    fn of(uri: &Uri) -> Self {
        let mut pairs: Vec<&str> = uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !OF_A_PAGE.contains(&pair.split('=').next().unwrap_or("")))
            .collect();
        pairs.sort_unstable();
        let mut digest = Sha256::new_with_prefix(uri.path());
        for pair in pairs {
            digest.update("\n");
            digest.update(pair);
        }
        Self(URL_SAFE_NO_PAD.encode(&digest.finalize()[..6]))
    }

    /// The place that a cursor stands for.
    pub(crate) fn place<T: DeserializeOwned>(
        &self,
        cursor: Option<&str>,
    ) -> Result<Option<T>, Problem> {
        let bad = |detail| Problem::parameter("cursor", detail);
        let Some(cursor) = cursor else {
            return Ok(None);
        };
        let json = URL_SAFE_NO_PAD.decode(cursor).ok();
        let read = json.and_then(|json| serde_json::from_slice::<(String, T)>(&json).ok());
        match read {
            Some((list, place)) if list == self.0 => Ok(Some(place)),
            Some(_) => Err(bad(
                "It is of another list: keep all parameters but `limit` while you page.",
            )),
            None => Err(bad("It is none: take `next_cursor` of the page before.")),
        }
    }

    /// The cursor that stands for a place.
    pub(crate) fn cursor<T: Serialize>(&self, place: Option<T>) -> Option<String> {
        let json = serde_json::to_vec(&(&self.0, place?)).ok()?;
        Some(URL_SAFE_NO_PAD.encode(json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(uri: &str) -> List {
        List::of(&uri.parse().unwrap())
    }

    #[test]
    fn a_cursor_fits_its_list_only() {
        let cursor = list("/a?b=1&c=2&limit=3").cursor(Some(7)).unwrap();
        let place = |uri: &str| list(uri).place::<u32>(Some(&cursor)).ok().flatten();
        assert_eq!(place("/a?b=1&c=2&limit=3"), Some(7));
        assert_eq!(place("/a?cursor=x&c=2&limit=9&b=1"), Some(7));
        assert_eq!(place("/a?b=1&c=3"), None);
        assert_eq!(place("/b?b=1&c=2"), None);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for bad in ["", "?", "AAAA", "e30", "WyJ4Iiwi"] {
            assert!(list("/a").place::<u32>(Some(bad)).is_err(), "{bad}");
        }
    }
}
