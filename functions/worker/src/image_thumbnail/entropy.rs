//! Whether the data of a JPEG file is all there.
//!
//! A JPEG has no checksum, and decoders are made for viewers: where the data runs out or its codes make no sense, they
//! go on with zeros, which show as a grey half. libjpeg warns of it; zune-jpeg does not, in its strict mode neither
//! once it has seen the end mark. So the codes are followed here first, as a decoder does, without making pixels of
//! them: every scan must have all its blocks and nothing left over, and every coefficient must come. Damage that
//! leaves a valid file with as many blocks cannot be told.
//! <https://www.w3.org/Graphics/JPEG/itu-t81.pdf>, from which the terms are

const END: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;
const HUFFMAN_TABLES: u8 = 0xc4;
const RESTART_INTERVAL: u8 = 0xdd;
const FIRST_RESTART: u8 = 0xd0;

/// Why a picture is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Some of it is missing or damaged: a decoder would make it up.
    NotWhole(&'static str),
    /// It is of a kind that the decoder does not read, or reads wrongly.
    Unreadable(&'static str),
    /// It has more pixels than may be opened.
    TooLarge,
}

const ENDS_EARLY: Flaw = Flaw::NotWhole("its data ends early");
const DAMAGED: Flaw = Flaw::NotWhole("its data is damaged");

/// The most scans that are read, the same as zune-jpeg's: a scan of a few bytes can go through all blocks.
const MOST_SCANS: u32 = 100;

/// What is wrong with a JPEG file, which may have `most_pixels`.
pub fn check(file: &[u8], most_pixels: u64) -> Result<(), Flaw> {
    let mut jpeg = Jpeg::default();
    let mut rest = file;
    loop {
        let (marker, after) = next_marker(rest).ok_or(Flaw::NotWhole("it ends before its end mark"))?;
        rest = after;
        match marker {
            END => return jpeg.has_all(),
            // TEM, restarts and the start of the image have nothing behind them.
            0x01 | 0xd0..=0xd8 => continue,
            _ => {}
        }
        let (segment, after) = split_segment(rest).ok_or(ENDS_EARLY)?;
        rest = after;
        match marker {
            0xc0..=0xc2 => jpeg.start_frame(segment, marker == 0xc2, most_pixels)?,
            HUFFMAN_TABLES => jpeg.define_tables(segment)?,
            RESTART_INTERVAL => {
                let interval = segment.first_chunk().ok_or(DAMAGED)?;
                jpeg.restart_interval = u32::from(u16::from_be_bytes(*interval));
            }
            START_OF_SCAN => rest = jpeg.scan(segment, rest)?,
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Err(Flaw::Unreadable("a JPEG without loss, in stages or with arithmetic coding is not read"));
            }
            _ => {}
        }
    }
}

/// The next marker, and what follows it. In a scan's data 0xff is followed by 0; before a marker it may be repeated.
fn next_marker(file: &[u8]) -> Option<(u8, &[u8])> {
    let place = file.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))?;
    Some((file[place + 1], &file[place + 2..]))
}

/// What stands in the segment, and what follows it.
fn split_segment(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16::from_be_bytes(*file.first_chunk()?));
    let (segment, rest) = file.split_at_checked(length)?;
    Some((segment.get(2..)?, rest))
}

/// What has been read of the file.
#[derive(Default)]
struct Jpeg {
    dc_tables: [Option<Table>; 4],
    ac_tables: [Option<Table>; 4],
    /// In MCUs; 0 if there are no restarts.
    restart_interval: u32,
    frame: Option<Frame>,
    scans: u32,
}

struct Frame {
    progressive: bool,
    width: u32,
    height: u32,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// How many blocks an MCU of all components has of it, across and down.
    sampling: (u32, u32),
    /// How many low bits of each coefficient have not come.
    missing_bits: [u8; 64],
    /// Which coefficients of each block are not zero. Only a progressive file needs it.
    nonzero: Vec<u64>,
}

/// A component in a scan.
struct Part<'a> {
    component: usize,
    dc_table: Option<&'a Table>,
    ac_table: Option<&'a Table>,
    /// How many blocks of it are in an MCU of the scan.
    blocks: u32,
}

impl Jpeg {
    /// Section B.2.2.
    fn start_frame(&mut self, segment: &[u8], progressive: bool, most_pixels: u64) -> Result<(), Flaw> {
        let [_, a, b, c, d, count, components @ ..] = segment else { return Err(DAMAGED) };
        let (height, width) = (u32::from(u16::from_be_bytes([*a, *b])), u32::from(u16::from_be_bytes([*c, *d])));
        if u64::from(width) * u64::from(height) > most_pixels {
            return Err(Flaw::TooLarge);
        }
        let components: Vec<_> = components.chunks_exact(3).take(usize::from(*count)).map(Component::new).collect();
        let sampled = |component: &Component| {
            let (across, down) = component.sampling;
            (1..=4).contains(&across) && (1..=4).contains(&down)
        };
        let fits = components.len() == usize::from(*count) && !components.is_empty() && components.iter().all(sampled);
        if !fits || self.frame.is_some() {
            return Err(DAMAGED);
        }
        self.frame = Some(Frame { progressive, width, height, components });
        Ok(())
    }

    /// Section B.2.4.2.
    fn define_tables(&mut self, mut segment: &[u8]) -> Result<(), Flaw> {
        while let Some((name, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk().ok_or(DAMAGED)?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total).ok_or(DAMAGED)?;
            let tables = if name >> 4 == 0 { &mut self.dc_tables } else { &mut self.ac_tables };
            let table = tables.get_mut(usize::from(name & 15)).ok_or(DAMAGED)?;
            *table = Some(Table::new(counts, symbols).ok_or(DAMAGED)?);
            segment = rest;
        }
        Ok(())
    }

    /// Follows a scan, and gives what comes after its data.
    fn scan<'a>(&mut self, header: &[u8], data: &'a [u8]) -> Result<&'a [u8], Flaw> {
        let frame = self.frame.as_mut().ok_or(DAMAGED)?;
        let (count, rest) = header.split_first().ok_or(DAMAGED)?;
        let (chosen, rest) = rest.split_at_checked(2 * usize::from(*count)).ok_or(DAMAGED)?;
        let [first, last, bits, ..] = *rest else { return Err(DAMAGED) };
        let (first, last, refines, missing_bits) =
            if frame.progressive { (first, last, bits >> 4 > 0, bits & 15) } else { (0, 63, false, 0) };
        self.scans += 1;
        if self.scans > MOST_SCANS {
            return Err(Flaw::Unreadable("it has more scans than are read"));
        }
        if !frame.progressive && usize::from(*count) != frame.components.len() {
            // zune-jpeg reads too few rows of those whose components differ in size, may lose the last rows of the
            // others, and tells neither.
            return Err(Flaw::Unreadable(
                "a JPEG whose colours are in separate scans is read only if it is progressive",
            ));
        }
        // Only one component's AC coefficients are in a scan of a progressive file, and no DC coefficients with them.
        let fits =
            last <= 63 && first <= last && (!frame.progressive || if first == 0 { last == 0 } else { *count == 1 });
        let parts = frame.parts(chosen, &self.dc_tables, &self.ac_tables).filter(|_| fits).ok_or(DAMAGED)?;
        let mcus = frame.mcus(&parts).ok_or(DAMAGED)?;
        let band = Band { first: u32::from(first), last: u32::from(last) };
        let only_ac = frame.progressive && first > 0;
        if only_ac {
            frame.components[parts[0].component].nonzero.resize(mcus, 0);
        }

        let mut data = Bits::new(data);
        let mut run = 0;
        let mut until_restart = self.restart_interval;
        let mut restart = FIRST_RESTART;
        for mcu in 0..mcus {
            if self.restart_interval > 0 {
                if until_restart == 0 {
                    if run > 0 {
                        return Err(DAMAGED);
                    }
                    data.restart(restart)?;
                    restart = if restart == FIRST_RESTART + 7 { FIRST_RESTART } else { restart + 1 };
                    until_restart = self.restart_interval;
                }
                until_restart -= 1;
            }
            for part in &parts {
                let (dc_table, ac_table) = (part.dc_table.ok_or(DAMAGED), part.ac_table.ok_or(DAMAGED));
                if only_ac {
                    let nonzero = &mut frame.components[part.component].nonzero[mcu];
                    let pass = if refines { Band::refine } else { Band::first_pass };
                    pass(&band, &mut data, ac_table?, nonzero, &mut run)?;
                    continue;
                }
                for _ in 0..part.blocks {
                    if refines {
                        data.take(1)?;
                        continue;
                    }
                    data.difference(dc_table?)?;
                    if !frame.progressive {
                        ALL_AC.first_pass(&mut data, ac_table?, &mut 0, &mut run)?;
                        if run > 0 {
                            return Err(DAMAGED);
                        }
                    }
                }
            }
        }
        if run > 0 {
            return Err(DAMAGED);
        }
        for part in &parts {
            frame.components[part.component].missing_bits[usize::from(first)..=usize::from(last)].fill(missing_bits);
        }
        data.finish()
    }

    /// The standard lets an encoder leave the last scans out; none in use does, but a cut between two scans.
    fn has_all(&self) -> Result<(), Flaw> {
        let frame = self.frame.as_ref().ok_or(ENDS_EARLY)?;
        let whole = frame.components.iter().all(|component| component.missing_bits == [0; 64]);
        if whole { Ok(()) } else { Err(Flaw::NotWhole("some of its scans are missing")) }
    }
}

impl Frame {
    /// The components of a scan, as its header names them.
    fn parts<'a>(
        &self,
        chosen: &[u8],
        dc_tables: &'a [Option<Table>],
        ac_tables: &'a [Option<Table>],
    ) -> Option<Vec<Part<'a>>> {
        let single = chosen.len() == 2;
        let part = |pair: &[u8]| {
            let component = self.components.iter().position(|component| component.id == pair[0])?;
            let (across, down) = self.components[component].sampling;
            Some(Part {
                component,
                dc_table: dc_tables.get(usize::from(pair[1] >> 4)).and_then(Option::as_ref),
                ac_table: ac_tables.get(usize::from(pair[1] & 15)).and_then(Option::as_ref),
                blocks: if single { 1 } else { across * down },
            })
        };
        chosen.chunks_exact(2).map(part).collect()
    }

    /// How many MCUs are in a scan of these components. Section A.2.
    fn mcus(&self, parts: &[Part<'_>]) -> Option<usize> {
        let most = |side: fn(&Component) -> u32| self.components.iter().map(side).max();
        let (across, down) = (most(|component| component.sampling.0)?, most(|component| component.sampling.1)?);
        let mcus = match parts {
            [] => return None,
            [part] => {
                let (own_across, own_down) = self.components[part.component].sampling;
                (self.width * own_across).div_ceil(8 * across) * (self.height * own_down).div_ceil(8 * down)
            }
            _ => self.width.div_ceil(8 * across) * self.height.div_ceil(8 * down),
        };
        usize::try_from(mcus).ok()
    }
}

impl Component {
    /// From its three bytes in the frame's header.
    fn new(bytes: &[u8]) -> Self {
        let sampling = (u32::from(bytes[1] >> 4), u32::from(bytes[1] & 15));
        Self { id: bytes[0], sampling, missing_bits: [u8::MAX; 64], nonzero: vec![] }
    }
}

/// Which coefficients of each block are in a scan, in zigzag order.
struct Band {
    first: u32,
    last: u32,
}

/// All but the DC coefficient.
const ALL_AC: Band = Band { first: 1, last: 63 };

impl Band {
    /// A block's coefficients when they first come. `run` is how many blocks from here on have none.
    /// Sections F.2.2.2 and G.2.2.
    fn first_pass(&self, data: &mut Bits<'_>, table: &Table, nonzero: &mut u64, run: &mut u32) -> Result<(), Flaw> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let mut place = self.first;
        while place <= self.last {
            let (zeros, length) = data.zeros_and_length(table)?;
            if length == 0 && zeros < 15 {
                *run = (1 << zeros) - 1 + data.take(zeros)?;
                return Ok(());
            }
            place += zeros;
            if length > 0 {
                if place > self.last {
                    return Err(DAMAGED);
                }
                data.take(length)?;
                *nonzero |= 1 << place;
            }
            place += 1;
        }
        Ok(())
    }

    /// One more bit of each of a block's coefficients: for those that were zero by codes, for the others as they lie
    /// between. Section G.1.2.3.
    fn refine(&self, data: &mut Bits<'_>, table: &Table, nonzero: &mut u64, run: &mut u32) -> Result<(), Flaw> {
        let before = *nonzero;
        let was_zero = |place: u32| (before >> place) & 1 == 0;
        let mut place = self.first;
        while place <= self.last && *run == 0 {
            let (mut zeros, length) = data.zeros_and_length(table)?;
            if length == 0 && zeros < 15 {
                *run = (1 << zeros) + data.take(zeros)?;
                break;
            }
            if length > 1 {
                return Err(DAMAGED);
            }
            data.take(length)?; // its sign
            while place <= self.last {
                if !was_zero(place) {
                    data.take(1)?;
                } else if zeros > 0 {
                    zeros -= 1;
                } else {
                    break;
                }
                place += 1;
            }
            if length == 1 {
                if place > self.last {
                    return Err(DAMAGED);
                }
                *nonzero |= 1 << place;
            }
            place += 1;
        }
        if *run > 0 {
            for _ in (place..=self.last).filter(|place| !was_zero(*place)) {
                data.take(1)?;
            }
            *run -= 1;
        }
        Ok(())
    }
}

/// A Huffman table. Section C.2.
struct Table {
    /// For each length of a code, 1 to 16: where the codes of this length end, in the first 16 bits of what follows.
    ends: [u32; 16],
    /// For each length: which of the symbols is its first.
    firsts: [u32; 16],
    symbols: Box<[u8]>,
}

impl Table {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Self { ends: [0; 16], firsts: [0; 16], symbols: symbols.into() };
        let (mut end, mut first) = (0, 0);
        for (index, count) in counts.iter().enumerate() {
            table.firsts[index] = first;
            first += u32::from(*count);
            end += u32::from(*count) << (15 - index);
            table.ends[index] = end;
        }
        (end <= 1 << 16).then_some(table)
    }
}

/// The bits of a scan's data.
struct Bits<'a> {
    rest: &'a [u8],
    /// The next bits, from the top; zeros behind them.
    buffer: u32,
    /// How many of the buffer's bits are the data's.
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { rest: data, buffer: 0, count: 0 }
    }

    /// Fills the buffer, up to a marker. Section F.2.2.5.
    fn fill(&mut self) {
        while self.count <= 24 {
            let (byte, length) = match self.rest {
                [0xff, 0x00, ..] => (0xff, 2),
                [] | [0xff, ..] => return,
                [byte, ..] => (*byte, 1),
            };
            self.rest = &self.rest[length..];
            self.buffer |= u32::from(byte) << (24 - self.count);
            self.count += 8;
        }
    }

    /// The next bits, 16 at most.
    fn take(&mut self, length: u32) -> Result<u32, Flaw> {
        if length == 0 {
            return Ok(0);
        }
        self.fill();
        self.count = self.count.checked_sub(length).ok_or(ENDS_EARLY)?;
        let bits = self.buffer >> (32 - length);
        self.buffer <<= length;
        Ok(bits)
    }

    /// The symbol that the next code stands for. Section F.2.2.3.
    fn symbol(&mut self, table: &Table) -> Result<u8, Flaw> {
        self.fill();
        let next = self.buffer >> 16;
        let (index, length) = (0..16).zip(1..).find(|(index, _)| next < table.ends[*index]).ok_or(DAMAGED)?;
        let start = if index == 0 { 0 } else { table.ends[index - 1] };
        let symbol = table.firsts[index] + ((next - start) >> (16 - length));
        self.take(length)?;
        usize::try_from(symbol).ok().and_then(|symbol| table.symbols.get(symbol).copied()).ok_or(DAMAGED)
    }

    /// How many coefficients are zero, and how many bits the next one has, which are still to be taken.
    fn zeros_and_length(&mut self, table: &Table) -> Result<(u32, u32), Flaw> {
        let symbol = self.symbol(table)?;
        Ok((u32::from(symbol >> 4), u32::from(symbol & 15)))
    }

    /// By how much a DC coefficient differs from the last block's.
    fn difference(&mut self, table: &Table) -> Result<(), Flaw> {
        let length = u32::from(self.symbol(table)?);
        if length > 15 {
            return Err(DAMAGED);
        }
        self.take(length).map(drop)
    }

    /// Goes behind the marker of a restart, which must be the next.
    fn restart(&mut self, marker: u8) -> Result<(), Flaw> {
        match next_marker(self.finish()?) {
            Some((found, rest)) if found == marker => {
                *self = Self::new(rest);
                Ok(())
            }
            Some(_) | None => Err(DAMAGED),
        }
    }

    /// What follows the data: a marker. The last byte is filled up with bits, and some encoders add zeros.
    fn finish(&mut self) -> Result<&'a [u8], Flaw> {
        let left_over = self.buffer << (self.count % 8);
        let zeros = self.rest.iter().take_while(|byte| **byte == 0).count();
        self.rest = &self.rest[zeros..];
        match self.rest {
            [] | [0xff] => Err(ENDS_EARLY),
            [0xff, next, ..] if left_over == 0 && *next != 0 => Ok(self.rest),
            _ => Err(DAMAGED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: [(&str, &[u8]); 5] = [
        ("baseline", include_bytes!("fixtures/baseline.jpg")),
        ("progressive", include_bytes!("fixtures/progressive.jpg")),
        ("restarts", include_bytes!("fixtures/restarts.jpg")),
        ("grey, progressive, with restarts", include_bytes!("fixtures/grey.jpg")),
        ("CMYK, progressive", include_bytes!("fixtures/cmyk.jpg")),
    ];

    fn flaw(file: &[u8]) -> Option<Flaw> {
        check(file, 10_000).err()
    }

    #[test]
    fn the_end_mark_does_not_make_up_for_what_is_not_there() {
        for (kind, file) in WHOLE {
            assert_eq!(flaw(file), None, "{kind}");
            assert_eq!(flaw(&[file, b"what follows"].concat()), None, "{kind}");
            for length in 0..file.len() {
                assert!(matches!(flaw(&file[..length]), Some(Flaw::NotWhole(_))), "{kind}: {length} bytes");
            }
            for length in 2..file.len() - 2 {
                let cut = [&file[..length], b"\xff\xd9"].concat();
                assert!(matches!(flaw(&cut), Some(Flaw::NotWhole(_))), "{kind}: {length} bytes and the end mark");
            }
        }
    }

    /// In a baseline file without restarts, what is read across a hole may come out at as many blocks again.
    #[test]
    fn a_hole_between_two_markers_is_found() {
        for (kind, file) in &WHOLE[1..] {
            let start = file.windows(2).position(|pair| pair == b"\xff\xda").expect("a scan") + 14;
            for start in (start..file.len() - 110).step_by(7) {
                for length in [60, 100] {
                    let holed = [&file[..start], &file[start + length..]].concat();
                    assert!(flaw(&holed).is_some(), "{kind}: {length} bytes at {start}");
                }
            }
        }
    }

    #[test]
    fn fill_bytes_and_zeros_before_a_marker_are_no_damage() {
        let [(_, file), ..] = WHOLE;
        let body = &file[..file.len() - 2];
        for filling in [b"\xff".as_slice(), b"\xff\xff\xff", b"\0", b"\0\0\0\0\0\xff"] {
            assert_eq!(flaw(&[body, filling, b"\xff\xd9"].concat()), None, "{filling:?}");
        }
        for more in [b"\x01".as_slice(), b"\0\0\x80", b"\xff\0"] {
            assert_eq!(flaw(&[body, more, b"\xff\xd9"].concat()), Some(DAMAGED), "{more:?}");
        }
    }

    #[test]
    fn restarts_come_in_their_order() {
        let (_, file) = WHOLE[2];
        let is_restart = |pair: &[u8]| pair[0] == 0xff && (0xd0..=0xd7).contains(&pair[1]);
        let places: Vec<_> = (0..file.len() - 1).filter(|place| is_restart(&file[*place..place + 2])).collect();
        assert!(places.len() > 8, "their numbers go round");
        for place in places {
            let mut file = file.to_vec();
            file[place + 1] ^= 1;
            assert_eq!(flaw(&file), Some(DAMAGED), "at {place}");
        }
    }

    #[test]
    fn what_the_decoder_would_read_wrongly_is_not_given_to_it() {
        let separate = include_bytes!("fixtures/separate_scans.jpg");
        assert!(matches!(flaw(separate), Some(Flaw::Unreadable(_))));
        let [(_, file), ..] = WHOLE;
        let frame = file.windows(2).position(|pair| pair == b"\xff\xc0").expect("a frame");
        let mut arithmetic = file.to_vec();
        arithmetic[frame + 1] = 0xc9;
        assert!(matches!(flaw(&arithmetic), Some(Flaw::Unreadable(_))));
        assert_eq!(check(file, 77 * 53), Ok(()));
        assert_eq!(check(file, 77 * 53 - 1), Err(Flaw::TooLarge));
    }
}
