//! Numbers in base 62, as text that survives copying: no sign that ends a word.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The last `N` digits of a number of 256 bits. For 30 of them, with a uniform number, no digit is likelier than another
/// by more than 2^-77.
pub fn digits<const N: usize>(mut number: [u8; 32]) -> [u8; N] {
    let mut digits = [0; N];
    for digit in digits.iter_mut().rev() {
        let rest = number.iter_mut().fold(0u16, |rest, octet| {
            let part = rest << 8 | u16::from(*octet);
            // Below 256: the rest is below 62.
            *octet = (part / 62).to_be_bytes()[1];
            part % 62
        });
        *digit = DIGITS[usize::from(rest)];
    }
    digits
}

pub fn of_u32<const N: usize>(number: u32) -> [u8; N] {
    let mut wide = [0; 32];
    wide[28..].copy_from_slice(&number.to_be_bytes());
    digits(wide)
}

pub fn is_digit(octet: u8) -> bool {
    octet.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(digits: &[u8]) -> u128 {
        digits.iter().fold(0, |value, digit| {
            let place = DIGITS.iter().position(|known| known == digit);
            value * 62 + place.expect("a digit") as u128
        })
    }

    proptest! {
        #[test]
        fn digits_are_those_of_the_number(number: u128, small: u32) {
            let mut wide = [0; 32];
            wide[16..].copy_from_slice(&number.to_be_bytes());
            prop_assert_eq!(value(&digits::<22>(wide)), number % 62u128.pow(21) + number / 62u128.pow(21) * 62u128.pow(21));
            prop_assert_eq!(value(&of_u32::<6>(small)), u128::from(small));
            prop_assert!(digits::<30>(wide).into_iter().all(is_digit));
        }
    }
}
