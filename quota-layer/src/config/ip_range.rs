//! Ranges of IP addresses.

use std::{net::IpAddr, str::FromStr};

/// Addresses that begin with the same bits, such as `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IpRange {
    network: IpAddr,
    prefix_bits: u8,
}

impl IpRange {
    /// Whether the address is one of them; `::ffff:10.0.0.1` is the IPv4 address it stands for.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let host_bits = 32 - u32::from(self.prefix_bits);
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(host_bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let host_bits = 128 - u32::from(self.prefix_bits);
                let differing = network.to_bits() ^ address.to_bits();
                differing.checked_shr(host_bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for IpRange {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let network: IpAddr = address.parse().map_err(|_| ())?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| ())?
            }
            Some(_) => return Err(()),
        };
        (prefix_bits <= most)
            .then_some(Self {
                network,
                prefix_bits,
            })
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: &str, address: &str, expected: bool) {
        let range: IpRange = range.parse().unwrap();
        assert_eq!(range.contains(address.parse().unwrap()), expected);
    }

    #[test]
    fn a_range_holds_the_addresses_with_its_first_bits() {
        check("127.0.0.1/32", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("10.1.2.3/8", "10.200.0.1", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.0.0.0/8", "::ffff:10.0.0.1", true);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "2001:db8::1", true);
        check("2001:db8::/64", "2001:db8::ffff", true);
        check("2001:db8::/64", "2001:db8:0:1::", false);
        check("::1", "::1", true);
    }

    #[test]
    fn what_is_not_a_range_is_refused() {
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "host",
            "1.2.3.4/+8",
            "1.2.3.4/",
        ] {
            assert!(bad.parse::<IpRange>().is_err(), "{bad}");
        }
    }
}
