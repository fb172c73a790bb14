//! Which addresses are out in the open, and which lead back inside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` is one of the public internet. All others may lead to this machine, to its network or to the
/// platform's own services, whatever name led to them.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// IPv4 networks that are not of the public internet: network and length of its prefix.
/// <https://www.iana.org/assignments/iana-ipv4-special-registry>
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),           // "this network"
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // shared by customers of one provider (CGNAT)
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // this machine; in Lambda, the runtime's API
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local; in AWS, credentials, time and DNS
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays, deprecated
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarking
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, and broadcast
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |&(network, prefix): &(Ipv4Addr, u32)| (address.to_bits() ^ network.to_bits()) >> (32 - prefix) == 0;
    !SPECIAL_V4.iter().any(within)
}

/// All of IPv6 that is given to networks of the public internet so far. Loopback, link-local, site-local, unique local,
/// multicast, discard and IPv4-compatible addresses lie outside.
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What is special within it.
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, benchmarking, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4, deprecated: holds an IPv4 address
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Where a network without IPv4 finds the rest of the internet (NAT64): the last 32 bits are an IPv4 address.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |&(network, prefix): &(Ipv6Addr, u32)| (address.to_bits() ^ network.to_bits()) >> (128 - prefix) == 0;
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    if within(&NAT64) {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    within(&GLOBAL_UNICAST) && !SPECIAL_V6.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INSIDE: &str = "\
        0.0.0.0 0.255.255.255 10.0.0.1 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 \
        127.255.255.255 169.254.0.1 169.254.100.1 169.254.169.123 169.254.169.253 169.254.169.254 \
        169.254.170.2 172.16.0.0 172.31.255.255 192.0.0.8 192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1 \
        192.168.255.255 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.255 \
        240.0.0.1 255.255.255.254 255.255.255.255 :: ::1 ::7f00:1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 \
        ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 \
        64:ff9b::169.254.169.254 64:ff9b::10.0.0.1 64:ff9b:1::8.8.8.8 100::1 100:0:0:1::1 2001::1 \
        2001:0:808:808::1 2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff::1 2001:db8::1 2002:7f00:1::1 \
        2002:a9fe:a9fe::1 2002:808:808::1 3fff::1 3fff:fff:ffff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 \
        fdff::1 fe80::1 febf::1 fec0::1 feff::1 ff02::1 ff0e::1";

    const OUTSIDE: &str = "\
        1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 \
        128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 \
        192.0.3.0 192.88.98.255 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 203.0.112.255 \
        203.0.114.0 223.255.255.255 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2000::1 2001:200::1 \
        2001:4860:4860::8888 2001:db7:ffff::1 2001:db9::1 2003::1 2600:1f00::1 2a00:1450::1 3ffe::1 \
        3fff:1000::1";

    #[test]
    fn what_leads_inside_is_not_public() {
        for inside in INSIDE.split_whitespace() {
            assert!(!is_public(inside.parse().expect(inside)), "{inside}");
        }
    }

    #[test]
    fn what_lies_beside_it_is_public() {
        for outside in OUTSIDE.split_whitespace() {
            assert!(is_public(outside.parse().expect(outside)), "{outside}");
        }
    }

    /// An IPv6 address of eight groups, two of which hold an IPv4 address.
    fn v6(groups: [u16; 8]) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(groups))
    }

    proptest! {
        #[test]
        fn no_disguise_makes_an_address_public(bits: u32) {
            let plain = is_public(IpAddr::V4(Ipv4Addr::from_bits(bits)));
            let [a, b, c, d] = bits.to_be_bytes();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            prop_assert_eq!(is_public(v6([0, 0, 0, 0, 0, 0xffff, high, low])), plain, "IPv4-mapped");
            prop_assert_eq!(is_public(v6([0x64, 0xff9b, 0, 0, 0, 0, high, low])), plain, "NAT64");
            prop_assert!(!is_public(v6([0, 0, 0, 0, 0, 0, high, low])), "IPv4-compatible");
            prop_assert!(!is_public(v6([0, 0, 0, 0, 0xffff, 0, high, low])), "IPv4-translated");
            prop_assert!(!is_public(v6([0x2002, high, low, 0, 0, 0, 0, 1])), "6to4");
            prop_assert!(!is_public(v6([0x2001, 0, 0x808, 0x808, 0, 0, !high, !low])), "Teredo");
        }

        #[test]
        fn nothing_within_a_special_network_is_public(index in 0..SPECIAL_V4.len(), bits: u32, wide: u128) {
            let (network, prefix) = SPECIAL_V4[index];
            let address = Ipv4Addr::from_bits(network.to_bits() | (bits & (u32::MAX >> prefix)));
            prop_assert!(!is_public(IpAddr::V4(address)), "{}", address);
            let (network, prefix) = SPECIAL_V6[index % SPECIAL_V6.len()];
            let address = Ipv6Addr::from_bits(network.to_bits() | (wide & (u128::MAX >> prefix)));
            prop_assert!(!is_public(IpAddr::V6(address)), "{}", address);
        }

        #[test]
        fn what_the_standard_library_calls_special_is_not_public(bits: u32, wide: u128) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_private() || address.is_loopback() || address.is_link_local();
            let special = special || address.is_multicast() || address.is_documentation() || address.is_unspecified();
            prop_assert!(!(special && is_public(IpAddr::V4(address))), "{}", address);
            let address = Ipv6Addr::from_bits(wide);
            let special = address.is_loopback() || address.is_multicast() || address.is_unspecified();
            let special = special || address.is_unique_local() || address.is_unicast_link_local();
            prop_assert!(!(special && is_public(IpAddr::V6(address))), "{}", address);
        }
    }
}
