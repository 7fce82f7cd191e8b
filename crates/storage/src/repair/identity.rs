//! An identity that was damaged or lost: put right where that is certain, never guessed.

use crate::disk::{Disk, Mode, read_exact};
use crate::export;
use crate::ident::{self, Ident};
use crate::wal::replay::open_all;

/// An identity that can be brought back.
#[derive(Clone)]
pub struct Mended {
    pub ident: Ident,
    /// How it is known, for people.
    pub how: String,
}

/// The identity of a directory whose file is damaged or gone, if it is known for certain: a state
/// export has a copy, or one flipped bit explains the file. In the second case a file of the
/// write-ahead log has to agree with its secret.
///
/// # Errors
/// What the disk says.
pub fn mend(disk: &dyn Disk) -> std::io::Result<Option<Mended>> {
    for path in export::list(disk)? {
        if let Ok(head) = export::read_head(disk, &path) {
            return Ok(Some(Mended { ident: head.ident, how: format!("{path} has a copy of it") }));
        }
    }
    let Ok(file) = disk.open(ident::PATH, Mode::Read) else { return Ok(None) };
    let Ok(page) = read_exact(&*file, 0, ident::LEN) else { return Ok(None) };
    let Some((bit, ident)) = flipped(&page) else { return Ok(None) };
    let files = open_all(disk, ident.secret).map_err(std::io::Error::other)?;
    let agrees = files.iter().any(|file| file.header.is_some());
    let how = format!("bit {} of byte {} was flipped", bit % 8, bit / 8);
    Ok(agrees.then_some(Mended { ident, how }))
}

/// The one bit that makes the identity whole when it is flipped. CRC-32C tells all damages of up to
/// five bits of so few bytes apart, so that there is never a second.
fn flipped(page: &[u8]) -> Option<(usize, Ident)> {
    (0..ident::LEN * 8).find_map(|bit| {
        let mut page = page.to_vec();
        page[bit / 8] ^= 1 << (bit % 8);
        Some((bit, Ident::parse(&page).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Secret;

    #[test]
    fn each_flipped_bit_is_found_and_two_are_refused() {
        let ident = Ident { cluster: [9; 16], shards: 16, secret: Secret(0x1234_5678) };
        let page = ident.encode();
        for bit in 0..page.len() * 8 {
            let mut damaged = page;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (found, mended) = flipped(&damaged).expect("one bit");
            assert!(found == bit && mended == ident, "bit {bit}");
            let other = (bit + 13) % (page.len() * 8);
            damaged[other / 8] ^= 1 << (other % 8);
            assert!(flipped(&damaged).is_none(), "bits {bit} and {other}");
        }
    }
}
