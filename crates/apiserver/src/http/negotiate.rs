//! Which form the client wants the answer in.

use http::HeaderMap;
use http::header::ACCEPT;

/// A serialization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    #[default]
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// What all of the API can be told in.
pub const MEDIA_TYPES: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// What watches can be told in.
pub const STREAM_TYPES: [&str; 2] = [
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

impl Format {
    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        MEDIA_TYPES[self as usize]
    }
}

/// Another shape than the object's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// The object itself.
    #[default]
    Plain,
    /// `meta.k8s.io/v1` `Table`.
    Table,
    /// Metadata only; of one object or of a list.
    Partial,
    /// Aggregated discovery, with its version.
    Discovery(String),
}

/// What was agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agreed {
    /// The serialization.
    pub format: Format,
    /// The shape.
    pub shape: Shape,
}

struct Offer<'a> {
    media_type: &'a str,
    shape: Option<Shape>,
    quality: f32,
}

fn offer(text: &str) -> Offer<'_> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let (mut r#as, mut group, mut version, mut quality) = ("", "", "", 1.0);
    for part in parts {
        match part.split_once('=') {
            Some(("as", value)) => r#as = value,
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            Some(("q", value)) => quality = value.parse().unwrap_or(1.0),
            _ => {}
        }
    }
    let shape = match (r#as, group, version) {
        ("", _, _) => Some(Shape::Plain),
        ("Table", "meta.k8s.io", "v1") => Some(Shape::Table),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => {
            Some(Shape::Partial)
        }
        ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => {
            Some(Shape::Discovery(version.to_owned()))
        }
        _ => None,
    };
    Offer {
        media_type,
        shape,
        quality,
    }
}

/// Whether the client accepts any of the serializations, in whatever shape.
/// Upstream asks this first, and does not know `application/*`.
#[must_use]
pub fn accepts_known(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(ACCEPT).iter();
    let mut texts = texts
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    texts.any(|text| {
        let media_type = offer(text.trim()).media_type;
        media_type == "*/*" || MEDIA_TYPES.contains(&media_type)
    })
}

/// The best of what the client accepts; `None` if nothing fits. `allowed` says
/// which shapes the path can answer.
#[must_use]
pub fn negotiate(headers: &HeaderMap, allowed: impl Fn(&Shape) -> bool) -> Option<Agreed> {
    let texts: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect();
    if texts.is_empty() {
        return Some(Agreed::default());
    }
    let mut offers: Vec<Offer<'_>> = texts.into_iter().map(offer).collect();
    offers.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    for offer in offers {
        let format = match offer.media_type {
            "application/json" | "*/*" => Format::Json,
            "application/yaml" => Format::Yaml,
            "application/vnd.kubernetes.protobuf" => Format::Protobuf,
            _ => continue,
        };
        let Some(shape) = offer.shape else { continue };
        if shape == Shape::Plain || allowed(&shape) {
            return Some(Agreed { format, shape });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(accept: &str) -> Option<Agreed> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header"));
        negotiate(&headers, |shape| *shape == Shape::Table)
    }

    #[test]
    fn the_first_form_that_can_be_served_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(agreed(kubectl).expect("fits").shape, Shape::Table);
        assert_eq!(
            agreed("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"),
            None
        );
        assert_eq!(
            agreed("application/yaml;q=0.5, application/vnd.kubernetes.protobuf")
                .expect("fits")
                .format,
            Format::Protobuf
        );
        assert_eq!(agreed("text/html"), None);
        assert_eq!(agreed("application/*"), None);
        assert_eq!(agreed("*/*"), Some(Agreed::default()));
    }
}
