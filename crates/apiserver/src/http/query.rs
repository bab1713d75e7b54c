//! The query of a URL.

/// Names and values, decoded, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// From the part after the question mark.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or_default().split('&');
        let pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        });
        Self(pairs.collect())
    }

    /// The first value; empty if there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// The first value, if the name is there.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let own = self.0.iter().filter(move |(own, _)| own == name);
        own.map(|(_, value)| value.as_str())
    }

    /// A switch: there without a value, or with one that is not `0` or `false`.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.find(name)
            .is_some_and(|value| !matches!(value, "0" | "false"))
    }
}

/// Decodes `%xx` (and, in queries, `+`); malformed escapes stay as they are.
#[must_use]
pub fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let byte = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if plus_is_space && bytes[at] == b'+' {
                    b' '
                } else {
                    bytes[at]
                });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_switches_read() {
        let query = Query::parse(Some(
            "labelSelector=a%3Db%2Cc&x=1+2&watch&off=false&bad=%zz",
        ));
        assert_eq!(query.get("labelSelector"), "a=b,c");
        assert_eq!(query.get("x"), "1 2");
        assert!(query.is_set("watch") && !query.is_set("off") && !query.is_set("none"));
        assert_eq!(query.get("bad"), "%zz");
    }
}
