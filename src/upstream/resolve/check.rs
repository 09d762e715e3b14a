//! Which addresses a name may resolve to (SEC-14): rebinding a third party's name must not reach what is ours.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum Refused {
    Loopback,
    /// Cloud metadata services are here; their other addresses count as such.
    LinkLocal,
    Unspecified,
    Multicast,
    Reserved,
    /// Allowed with `private = true`.
    Private,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Loopback => "a loopback address; if that is meant, put the address itself into the URL",
            Refused::LinkLocal => "a link-local address, where cloud metadata is served",
            Refused::Unspecified => "the unspecified address",
            Refused::Multicast => "a multicast address",
            Refused::Reserved => "a reserved address",
            Refused::Private => "a private address; if that is meant, set `private = true`",
        })
    }
}

/// Whether a name may resolve to this address; `private` allows the private ranges.
pub(in crate::upstream) fn is_allowed(address: IpAddr, private: bool) -> Result<(), Refused> {
    let refused = match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    };
    match refused {
        None => Ok(()),
        Some(Refused::Private) if private => Ok(()),
        Some(refused) => Err(refused),
    }
}

/// The ranges of the IANA IPv4 Special-Purpose Address Registry.
fn v4(address: Ipv4Addr) -> Option<Refused> {
    match address.octets() {
        // Metadata services of Alibaba Cloud and Azure, which are not link-local.
        [100, 100, 100, 200] | [168, 63, 129, 16] => Some(Refused::LinkLocal),
        [0, ..] => Some(Refused::Unspecified),
        [127, ..] => Some(Refused::Loopback),
        [169, 254, ..] => Some(Refused::LinkLocal),
        [224..=239, ..] => Some(Refused::Multicast),
        // RFC 1918; RFC 6598 (carrier-grade NAT); RFC 2544 (benchmarks), which some networks use inside.
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18..=19, ..] => {
            Some(Refused::Private)
        }
        [192, 0, 0, _] | [240..=255, ..] => Some(Refused::Reserved),
        _ => None,
    }
}

/// The ranges of the IANA IPv6 Special-Purpose Address Registry; an IPv4 address inside speaks for itself.
fn v6(address: Ipv6Addr) -> Option<Refused> {
    if address.is_unspecified() {
        return Some(Refused::Unspecified);
    }
    if address.is_loopback() {
        return Some(Refused::Loopback);
    }
    if let Some(inside) = ipv4_inside(address) {
        return v4(inside);
    }
    match address.segments() {
        // The metadata service of AWS.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => Some(Refused::LinkLocal),
        [0xfe80..=0xfebf, ..] => Some(Refused::LinkLocal),
        // Unique local (RFC 4193), and site-local, which came before it.
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some(Refused::Private),
        [0xff00..=0xffff, ..] => Some(Refused::Multicast),
        [0, ..] => Some(Refused::Reserved),
        _ => None,
    }
}

/// Mapped (`::ffff:a.b.c.d`), compatible (`::a.b.c.d`), NAT64 (RFC 6052, RFC 8215) and 6to4 (RFC 3056).
fn ipv4_inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0, 0] | [0, 0, 0, 0, 0xffff, 0] => of(g, h),
        [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, ..] => of(g, h),
        [0x2002, ..] => of(b, c),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, private: bool) -> Option<Refused> {
        is_allowed(address.parse().unwrap(), private).err()
    }

    /// SEC-14: loopback, link-local, unspecified and multicast never, in whichever form they are written.
    #[test]
    fn what_no_name_may_resolve_to_is_refused_even_where_private_is_allowed() {
        let table = [
            ("127.0.0.1", Refused::Loopback),
            ("127.255.0.1", Refused::Loopback),
            ("::1", Refused::Loopback),
            ("::ffff:127.0.0.1", Refused::Loopback),
            ("::127.0.0.1", Refused::Loopback),
            ("64:ff9b::127.0.0.1", Refused::Loopback),
            ("2002:7f00:1::", Refused::Loopback),
            ("169.254.169.254", Refused::LinkLocal),
            ("::ffff:169.254.169.254", Refused::LinkLocal),
            ("64:ff9b:1::169.254.169.254", Refused::LinkLocal),
            ("fd00:ec2::254", Refused::LinkLocal),
            ("100.100.100.200", Refused::LinkLocal),
            ("168.63.129.16", Refused::LinkLocal),
            ("fe80::1", Refused::LinkLocal),
            ("febf::1", Refused::LinkLocal),
            ("0.0.0.0", Refused::Unspecified),
            ("0.1.2.3", Refused::Unspecified),
            ("::", Refused::Unspecified),
            ("::ffff:0.0.0.0", Refused::Unspecified),
            ("224.0.0.1", Refused::Multicast),
            ("ff02::1", Refused::Multicast),
            ("255.255.255.255", Refused::Reserved),
            ("240.0.0.1", Refused::Reserved),
        ];
        for (address, refused) in table {
            assert_eq!(check(address, false), Some(refused), "{address}");
            assert_eq!(check(address, true), Some(refused), "{address}");
        }
    }

    /// SEC-14: private ranges only with `private = true`, carrier-grade NAT and unique local ones among them.
    #[test]
    fn private_addresses_need_to_be_allowed() {
        let addresses = [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "fc00::1",
            "fd12:3456::1",
            "::ffff:10.0.0.1",
        ];
        for address in addresses {
            assert_eq!(check(address, false), Some(Refused::Private), "{address}");
            assert_eq!(check(address, true), None, "{address}");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        for address in ["1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1"]
        {
            assert_eq!(check(address, false), None, "{address}");
        }
    }
}
