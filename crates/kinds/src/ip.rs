//! Addresses and networks as fields hold them, with apimachinery's texts.

use crate::field::{FieldError, FieldErrors, Path};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NOT_AN_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
const LEADING_ZEROS: &str = "must not have leading 0s";

/// An address in any form that Go's older parser took: leading zeros are read
/// as decimal.
pub(crate) fn sloppy(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6(address),
        });
    }
    let parts: Vec<&str> = text.split('.').collect();
    let mut bytes = [0_u8; 4];
    if parts.len() != bytes.len() {
        return None;
    }
    for (byte, part) in bytes.iter_mut().zip(parts) {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *byte = part
            .trim_start_matches('0')
            .parse()
            .or_else(|error| {
                let all_zeros = part.bytes().all(|b| b == b'0');
                if all_zeros { Ok(0) } else { Err(error) }
            })
            .ok()?;
    }
    Some(IpAddr::V4(Ipv4Addr::from(bytes)))
}

/// A network in sloppy form: its address as written and its prefix length.
pub(crate) fn sloppy_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address = sloppy(address)?;
    if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    (length <= most).then_some((address, length))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    }
}

fn masked(address: IpAddr, length: u8) -> u128 {
    let kept = u32::from(length);
    if kept == 0 {
        return 0;
    }
    bits(address) >> (128 - kept) << (128 - kept)
}

/// Whether a network contains an address of its family.
pub(crate) fn contains(network: (IpAddr, u8), address: IpAddr) -> bool {
    network.0.is_ipv4() == address.is_ipv4()
        && masked(network.0, network.1) == masked(address, network.1)
}

/// What is wrong with an address in canonical form (a text for people each).
pub(crate) fn ip_texts(text: &str) -> Vec<String> {
    let Some(address) = sloppy(text) else {
        return vec![NOT_AN_IP.to_owned()];
    };
    let mut texts = Vec::new();
    if is_mapped(text) {
        texts.push("must not be an IPv4-mapped IPv6 address".to_owned());
    } else if address.is_ipv4() && text.parse::<Ipv4Addr>().is_err() {
        texts.push(LEADING_ZEROS.to_owned());
    }
    texts
}

/// The same of an address that must be written in its shortest form.
pub(crate) fn canonical_texts(text: &str) -> Vec<String> {
    let mut texts = ip_texts(text);
    if let Some(address) = sloppy(text).filter(|_| texts.is_empty())
        && address.to_string() != text
    {
        texts.push(format!("must be in canonical form (\"{address}\")"));
    }
    texts
}

fn is_mapped(text: &str) -> bool {
    text.contains(':') && sloppy(text).is_some_and(|address| address.is_ipv4())
}

/// Complaints about an address that fields have always held: parsed strictly
/// unless it was there before.
pub(crate) fn valid_ip(errors: &mut FieldErrors, path: &Path, text: &str, known: &[&str]) {
    if known.contains(&text) {
        return;
    }
    let texts = ip_texts(text).into_iter();
    errors.extend(texts.map(|why| FieldError::invalid(path, text, why)));
}

/// Complaints about a network.
pub(crate) fn valid_cidr(errors: &mut FieldErrors, path: &Path, text: &str, known: &[&str]) {
    if known.contains(&text) {
        return;
    }
    let Some((address, length)) = sloppy_cidr(text) else {
        errors.push(FieldError::invalid(path, text, NOT_A_CIDR));
        return;
    };
    let (shown, prefix) = text.split_once('/').unwrap_or((text, ""));
    if is_mapped(shown) {
        let why = "must not have an IPv4-mapped IPv6 address";
        errors.push(FieldError::invalid(path, text, why));
        return;
    }
    if (address.is_ipv4() && shown.parse::<Ipv4Addr>().is_err())
        || (prefix.len() > 1 && prefix.starts_with('0'))
    {
        let why = "must not have leading 0s in IP or prefix length";
        errors.push(FieldError::invalid(path, text, why));
    }
    let base = masked(address, length);
    if base != bits(address) {
        let base = match address {
            IpAddr::V4(_) => {
                let low = u32::try_from(base >> 96).expect("a v4 address has 32 bits");
                IpAddr::V4(Ipv4Addr::from(low))
            }
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(base)),
        };
        let why = format!(
            "must not have bits set beyond the prefix length (did you mean \"{base}/{length}\"?)"
        );
        errors.push(FieldError::invalid(path, text, why));
    }
}

/// Complaints about an address that traffic for everybody cannot go to.
pub(crate) fn not_special(errors: &mut FieldErrors, path: &Path, text: &str) {
    let Some(address) = sloppy(text) else {
        let why = "must be a valid IP address";
        errors.push(FieldError::invalid(path, text, why));
        return;
    };
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    };
    let link_multicast = match address {
        IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    };
    let mut complain = |why: String| errors.push(FieldError::invalid(path, text, why));
    if address.is_unspecified() {
        complain(format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        complain("may not be in the loopback range (127.0.0.0/8, ::1/128)".into());
    }
    if link_local {
        complain("may not be in the link-local range (169.254.0.0/16, fe80::/10)".into());
    }
    if link_multicast {
        complain("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into());
    }
}

/// Whether a list of addresses holds both families.
pub(crate) fn is_dual_stack(addresses: &[Option<IpAddr>]) -> bool {
    let has = |is_v4: bool| addresses.iter().flatten().any(|a| a.is_ipv4() == is_v4);
    has(true) && has(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_upstream_reads_them() {
        let complaints = |text: &str| {
            let mut errors = FieldErrors::new();
            valid_cidr(&mut errors, &Path::new("c"), text, &[]);
            errors.into_iter().map(|e| e.message).collect::<Vec<_>>()
        };
        assert!(complaints("10.0.0.0/8").is_empty());
        assert!(complaints("2001:db8::/64").is_empty());
        assert_eq!(
            complaints("10.0.0.1/8"),
            [
                "Invalid value: \"10.0.0.1/8\": must not have bits set beyond the prefix length (did you mean \"10.0.0.0/8\"?)"
            ]
        );
        assert!(complaints("10.0.0.300/24")[0].contains("must be a valid CIDR value"));
        assert!(complaints("10.0.0.0/33")[0].contains("must be a valid CIDR value"));
        assert!(complaints("010.0.0.0/8")[0].contains("leading 0s"));
    }

    #[test]
    fn a_network_contains_its_own_family_only() {
        let net = sloppy_cidr("10.0.0.0/8").expect("a network");
        assert!(contains(net, sloppy("10.1.2.3").expect("an address")));
        assert!(!contains(net, sloppy("11.0.0.0").expect("an address")));
        assert!(!contains(net, sloppy("::a00:1").expect("an address")));
        let all = sloppy_cidr("::/0").expect("a network");
        assert!(contains(all, sloppy("2001:db8::1").expect("an address")));
    }

    #[test]
    fn addresses_that_mean_one_machine_only_are_refused() {
        for (text, bad) in [
            ("192.0.2.1", false),
            ("127.0.0.1", true),
            ("::1", true),
            ("169.254.1.1", true),
            ("fe80::1", true),
            ("224.0.0.5", true),
            ("0.0.0.0", true),
            ("x", true),
        ] {
            let mut errors = FieldErrors::new();
            not_special(&mut errors, &Path::new("a"), text);
            assert_eq!(!errors.is_empty(), bad, "{text}");
        }
    }
}
