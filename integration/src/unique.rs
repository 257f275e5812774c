//! Random names in the shapes AWS and GitLab give them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;

/// A version 4 UUID, as in `RequestId` and `jti`.
pub(crate) fn uuid() -> String {
    let hex: String = bytes(16).iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-4{}-a{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

/// An identifier like `ASIA...`: `prefix` and sixteen of `A-Z2-7`.
pub(crate) fn aws_id(prefix: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letter = |byte: u8| {
        ALPHABET
            .get(usize::from(byte % 32))
            .copied()
            .map_or('A', char::from)
    };
    prefix
        .chars()
        .chain(bytes(16).into_iter().map(letter))
        .collect()
}

/// `length` characters of base64 with its `+` and `/`, as secret keys and session tokens have.
pub(crate) fn base64_text(length: usize) -> String {
    let mut text = STANDARD.encode(bytes(length * 3 / 4 + 3));
    text.truncate(length);
    text
}

fn bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    // The system's generator has no way to fail on a Linux that started a process.
    let filled = SystemRandom::new().fill(&mut bytes);
    debug_assert!(filled.is_ok(), "getrandom failed");
    bytes
}
